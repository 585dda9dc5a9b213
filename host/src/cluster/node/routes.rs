//! What a node serves its coordinator below `/cluster/`: the remote side of the seam.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};

use crate::cluster::gate::Denied;
use crate::cluster::messages::{BindingsPage, HeldSession, StreamsMessage};
use crate::cluster::observe::instances::{
    InstanceCursor, InstanceQuery, MOST_INSTANCES, MOST_LINES, RunnerView, Since,
};
use crate::cluster::observe::logs::{MOST_LOG_LINES, lines_of};
use crate::cluster::own_drain::OwnDrain;
use crate::model::{GatewayStart, ServerName, SessionId};
use crate::net::{Body, collect, percent_decoded};
use crate::protocol::headers::{self, seam};
use crate::protocol::jsonrpc::{self, code};
use crate::seam::{CatalogQuery, Endpoint, Facts, Outcome};
use crate::sync::Seldom;

use super::door::Door;
use super::heard::Heard;

/// Bindings on one page.
const PAGE: usize = 1000;
/// Bytes of JSON on one page, about, which a coordinator takes well.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a coordinator's list of streams.
const MAX_STREAMS: usize = 1 << 20;

/// Returns held sessions after the given one, in order, and at most the given number.
pub type HeldPage =
    dyn Fn(Option<&(SessionId, ServerName)>, usize) -> Vec<HeldSession> + Send + Sync;

/// Notes that a gateway's start is there, for how long that counts, and which sessions of HTTP+SSE
/// have come back to it.
pub type NoteStreams = dyn Fn(GatewayStart, Duration, HashSet<SessionId>) + Send + Sync;

/// The handlers and what they answer from.
pub struct NodeRoutes {
    pub door: Arc<Door>,
    /// The lines about requests on connections without a handshake.
    pub unproved: Arc<Seldom>,
    /// For the coordinator that asks which sessions this node holds.
    pub held: Arc<HeldPage>,
    /// For coordinators that have streams of HTTP+SSE.
    pub streams: Arc<NoteStreams>,
    pub view: Arc<dyn RunnerView>,
    pub drain: Arc<OwnDrain>,
    pub heard: Arc<Heard>,
}

impl NodeRoutes {
    /// Answers one request below `/cluster/`. Unless its connection has begun with a handshake that
    /// has `proved` the caller to be the coordinator, only the handshake itself is answered.
    pub async fn serve(
        &self,
        endpoint: Arc<dyn Endpoint>,
        mut request: Request<Body>,
        (peer, local): (SocketAddr, SocketAddr),
        proved: bool,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if !proved {
            if path == seam::LINK_PATH {
                return self.door.open(request, peer, local).await;
            }
            return self.refuse_unproved(&request, peer).await;
        }
        if path == seam::ALIVE_PATH {
            self.heard.now();
            return alive();
        }
        let path = path.strip_prefix("/cluster/").unwrap_or("");
        if path == "bindings" {
            return self.bindings(request.uri().query().unwrap_or(""));
        }
        if path == "instances" {
            let look = look_of(request.uri().query().unwrap_or(""));
            return json(&self.view.instances(look).await);
        }
        if path == "logs" {
            return self.logs(request.uri().query().unwrap_or(""));
        }
        if let ("streams", &Method::POST) = (path, request.method()) {
            return self.note_streams(request.into_body()).await;
        }
        if let ("drain" | "undrain", &Method::POST) = (path, request.method()) {
            return self.order(path, request.uri().query().unwrap_or(""));
        }
        let Some((server, tail)) = server_in(path) else {
            return refuse(StatusCode::NOT_FOUND, "no such path below /cluster/");
        };
        match (tail, request.method()) {
            ("catalog", &Method::GET) => {
                let query = request.uri().query().unwrap_or("");
                let set = parameter(query, "set").and_then(|set| set.parse().ok()).unwrap_or(0);
                let session = parameter(query, "session").and_then(|id| SessionId::parse(&id));
                let extensions = parameter(query, "extensions").map(Into::into);
                endpoint.catalog(server, CatalogQuery { set, extensions, session }).await
            }
            ("mcp", _) => {
                let Some(facts) = Facts::read(request.headers()) else {
                    return refuse(
                        StatusCode::BAD_REQUEST,
                        "the session's headers are missing or invalid",
                    );
                };
                headers::strip_all_but_clients(request.headers_mut());
                endpoint.call(server, facts, request).await
            }
            _ => refuse(StatusCode::NOT_FOUND, "no such path below /cluster/servers/"),
        }
    }

    async fn refuse_unproved(&self, request: &Request<Body>, peer: SocketAddr) -> Response<Body> {
        let gate = &self.door.gate;
        let checked = gate.check(request.headers(), peer.ip()).await;
        let denied = checked.err().unwrap_or_else(|| gate.unproved());
        self.unproved.warn(|| {
            format!(
                "a request from {peer} to {} was refused, since its connection has not begun with \
                 a handshake: a coordinator of an earlier version has to be upgraded",
                request.uri().path()
            )
        });
        let status = match denied {
            Denied::Token => StatusCode::UNAUTHORIZED,
            Denied::Unproved | Denied::Address(_) => StatusCode::FORBIDDEN,
        };
        refuse(status, &denied.to_string())
    }

    fn logs(&self, query: &str) -> Response<Body> {
        let server = parameter(query, "server").and_then(|name| ServerName::parse(&name).ok());
        let Some(server) = server.filter(|server| self.view.hosts(server)) else {
            return refuse(StatusCode::NOT_FOUND, "no such server on this node");
        };
        let lines = parameter(query, "lines").and_then(|lines| lines.parse().ok());
        let lines = lines.unwrap_or(MOST_LOG_LINES).min(MOST_LOG_LINES);
        let after = parameter(query, "after").and_then(|number| number.parse().ok());
        let since = after.map_or(Since::Last(lines), Since::After);
        let follow = parameter(query, "follow").is_some_and(|follow| follow == "true");
        Response::new(lines_of(self.view.log(server, since, follow)))
    }

    async fn note_streams(&self, body: Body) -> Response<Body> {
        let Ok(text) = collect(body, MAX_STREAMS).await else {
            return refuse(StatusCode::BAD_REQUEST, "the list of streams is too long or broke off");
        };
        let message = serde_json::from_slice(&text).ok();
        let read = message.and_then(|StreamsMessage { start, lease_ms, sessions }| {
            let start = GatewayStart::new(start)?;
            let sessions = sessions.iter().filter_map(|id| SessionId::parse(id)).collect();
            Some((start, Duration::from_millis(lease_ms), sessions))
        });
        let Some((start, lease, sessions)) = read else {
            return refuse(StatusCode::BAD_REQUEST, "the list of streams is not understood");
        };
        (self.streams)(start, lease, sessions);
        json(&())
    }

    /// Drains, or takes sessions again.
    fn order(&self, path: &str, query: &str) -> Response<Body> {
        let deadline = parameter(query, "deadlineMs").and_then(|millis| millis.parse().ok());
        let taken = match path {
            "drain" => self.drain.begin(deadline.map(Duration::from_millis)).map(drop),
            _ => self.drain.take_back().map(drop),
        };
        match taken {
            Ok(()) => json(&self.drain.report()),
            Err(ending) => refuse(StatusCode::CONFLICT, &ending.to_string()),
        }
    }

    fn bindings(&self, query: &str) -> Response<Body> {
        let after = parameter(query, "after").unwrap_or_default();
        let after = after.split_once('/').and_then(|(session, server)| {
            Some((SessionId::parse(session)?, ServerName::parse(server).ok()?))
        });
        let mut bindings = (self.held)(after.as_ref(), PAGE);
        let count = fitting(&bindings);
        let full = bindings.len() == PAGE || count < bindings.len();
        bindings.truncate(count);
        let last = bindings.last().filter(|_| full);
        let next = last.map(|held| format!("{}/{}", held.session, held.server));
        json(&BindingsPage { bindings, next, drain: self.drain.report() })
    }
}

/// How many of these go onto one page: at least one, whatever its subscriptions take.
fn fitting(bindings: &[HeldSession]) -> usize {
    let mut bytes = 0;
    let fits = bindings.iter().take_while(|held| {
        bytes += serde_json::to_vec(held).map_or(0, |json| json.len()) + 1;
        bytes <= PAGE_BYTES
    });
    fits.count().max(1)
}

/// Missing numbers are as large as they may be.
fn look_of(query: &str) -> InstanceQuery {
    let number = |name| parameter(query, name).and_then(|number| number.parse().ok());
    InstanceQuery {
        server: parameter(query, "server").and_then(|name| ServerName::parse(&name).ok()),
        after: parameter(query, "after").and_then(|place| InstanceCursor::parse(&place)),
        limit: number("limit").unwrap_or(MOST_INSTANCES).clamp(1, MOST_INSTANCES),
        lines: number("lines").unwrap_or(MOST_LINES).min(MOST_LINES),
    }
}

/// Server and tail of `servers/{server}/{tail}`.
fn server_in(path: &str) -> Option<(ServerName, &str)> {
    let (server, tail) = path.strip_prefix("servers/")?.split_once('/')?;
    Some((ServerName::parse(&percent_decoded(server)?).ok()?, tail))
}

fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| percent_decoded(value))?
    })
}

fn alive() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(bytes::Bytes::from(text)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(headers::JSON));
    response
}

fn refuse(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(jsonrpc::error(None, code::TRANSPORT, text)));
    *response.status_mut() = status;
    // No server has the request, so the coordinator may try another node.
    Outcome::NotSent.write(response.headers_mut());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static(headers::JSON));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_by_its_bytes_too() {
        let held = |bytes: usize| HeldSession {
            session: SessionId::mint().to_string(),
            server: "s".into(),
            opened_at: 1,
            epoch: None,
            stream: None,
            level: None,
            subscriptions: vec!["x".repeat(bytes)],
        };
        let count = |bytes, of: usize| fitting(&vec![held(bytes); of]);
        assert_eq!(count(0, PAGE), PAGE);
        assert_eq!(count(64 << 10, PAGE), 15);
        assert_eq!(count(2 << 20, PAGE), 1);
        assert_eq!(count(64 << 10, 3), 3);
    }
}
