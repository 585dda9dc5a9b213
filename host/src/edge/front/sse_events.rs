//! The messages on an HTTP+SSE client's stream: answers to its requests, and messages that servers
//! send by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::outgoing::Outgoing;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::net::{Body, EventReader, Read, collect, is_event_stream};
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::objects::object_only;
use crate::protocol::sse::TooLarge;

use super::sse_session::{RequestSlot, SseSession};
use super::sse_stream::StreamGone;

/// Pause before a server's stream that has ended is opened again. It doubles each time, up to
/// [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl SseSession {
    /// Puts a response onto the stream, whatever its shape. The request always gets an answer,
    /// since nothing else would tell this client that none will come.
    pub async fn answer(
        &self,
        id: &str,
        response: Response<Body>,
        limit: usize,
    ) -> Result<(), StreamGone> {
        let status = response.status();
        let why = if is_event_stream(&response) {
            if self.forward(response.into_body(), limit).await? {
                return Ok(());
            }
            "the server's stream ended before the answer; the call may have run".to_owned()
        } else {
            match collect(response.into_body(), limit).await {
                Ok(body) => match AnswerPart::of(&body) {
                    AnswerPart::Answer => return self.send(body).await,
                    AnswerPart::Cancelled => return Ok(()),
                    AnswerPart::Other => match readdressed(&body, id) {
                        Some(error) => return self.send(error).await,
                        None => format!("the server answered with HTTP status {status}"),
                    },
                },
                Err(error) => error.to_string(),
            }
        };
        self.send(jsonrpc::error(Some(id), code::SERVER_LOST, &why)).await
    }

    /// Forwards the messages of an event stream until it ends. True if an answer was among them.
    /// The server's event ids are left out: those of this stream name the session.
    pub async fn forward(&self, body: Body, limit: usize) -> Result<bool, StreamGone> {
        let mut events = EventReader::new(body, limit);
        let mut is_answered = false;
        while let Some(read) = events.next().await {
            match read {
                Read::Event(event) if event.has_message() => {
                    let part = AnswerPart::of(&event.data);
                    is_answered |= part != AnswerPart::Other;
                    if part != AnswerPart::Cancelled {
                        self.send(Bytes::from(event.data)).await?;
                    }
                }
                Read::Event(_) | Read::Comment => {}
                // A connection that breaks is ordinary: the server or its node has ended.
                Read::Broken(error) if !error.is::<TooLarge>() => {
                    tracing::debug!(session = %self.id.short(), "a server's stream broke: {error}");
                    break;
                }
                Read::Broken(error) => {
                    tracing::warn!(session = %self.id.short(), "a server's stream broke: {error}");
                    break;
                }
            }
        }
        Ok(is_answered)
    }
}

impl Worker {
    /// Forwards what servers send by themselves, until the session is over. An aggregate's stream
    /// exists when this returns, so that it misses no change from then on. `again` says that the
    /// client was heard by another process before, and may have missed some.
    pub(in crate::edge) fn feed(
        self,
        context: ClientRequest,
        live: Arc<SseSession>,
        session: Arc<Session>,
        place: RequestSlot,
        again: bool,
    ) {
        // Of an event that this process has not numbered: the client hears that lists may have
        // changed.
        let last = again.then_some("");
        let own = match scope::pass_through_server(&self.edge, &live.scope) {
            Some(_) => None,
            None => {
                let identity = context.identity.as_ref();
                let own = self.aggregate_stream(&live.scope, &session, identity, last);
                own.ok().map(Response::into_body)
            }
        };
        tokio::spawn(async move {
            let feeding = async {
                match (own, scope::pass_through_server(&self.edge, &live.scope)) {
                    (Some(own), _) => {
                        let _ = live.forward(own, self.edge.config.line).await;
                    }
                    (None, Some(server)) => {
                        listen(Call::of_client(&self, &context, &session, server), &live).await;
                    }
                    (None, None) => {}
                }
            };
            tokio::select! {
                () = feeding => {}
                () = live.over() => {}
            }
            drop(place);
        });
    }
}

/// Listens to the one server behind the URL, also after it was started again.
async fn listen(call: Call<'_>, live: &SseSession) {
    let outgoing = Outgoing::get(None);
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        // Outlives the server's instance.
        match Box::pin(call.lasting_stream(&outgoing)).await {
            Ok(response) => {
                let status = response.status();
                // The server has no stream, so that it never sends anything by itself.
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    return;
                }
                if is_event_stream(&response) {
                    let forwarded =
                        live.forward(response.into_body(), call.worker.edge.config.line);
                    if forwarded.await.is_err() {
                        return;
                    }
                }
                tracing::debug!(
                    session = %live.id.short(), server = %call.server, %status,
                    "the server's stream has ended"
                );
            }
            Err(refusal) => {
                tracing::debug!(
                    session = %live.id.short(), server = %call.server,
                    "cannot listen to the server: {refusal}"
                );
            }
        }
        // Starts over only after a stream that lasted, or one that ends at once would be opened
        // twice a second.
        if began.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a message means for a request that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerPart {
    Answer,
    /// The client has cancelled the request, and expects no answer.
    Cancelled,
    Other,
}

impl AnswerPart {
    fn of(message: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        #[serde(remote = "Self")]
        struct Error {
            code: i64,
        }
        object_only!(Error);
        let Ok(envelope) = Envelope::parse(message) else { return Self::Other };
        if envelope.kind() != Kind::Response || envelope.id_text().is_none_or(|id| id == "null") {
            return Self::Other;
        }
        let error = envelope.error.and_then(|e| serde_json::from_str::<Error>(e.get()).ok());
        match error {
            Some(Error { code: code::CANCELLED }) => Self::Cancelled,
            _ => Self::Answer,
        }
    }
}

/// An error without an id, as the answer to the request with this id.
fn readdressed(message: &[u8], id: &str) -> Option<Bytes> {
    let error = Envelope::parse(message).ok()?.error?;
    Some(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{}}}", error.get()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_its_envelope() {
        for (message, expect) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, AnswerPart::Answer),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":""}}"#, AnswerPart::Answer),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-31003,"message":""}}"#,
                AnswerPart::Cancelled,
            ),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":""}}"#, AnswerPart::Other),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, AnswerPart::Other),
            ("<html>", AnswerPart::Other),
        ] {
            assert_eq!(AnswerPart::of(message.as_bytes()), expect, "{message}");
        }
    }

    #[test]
    fn an_error_without_an_id_gets_the_requests() {
        let error = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-7,"message":"no"}}"#;
        let answer = readdressed(error, "\"a\"").unwrap();
        assert_eq!(&*answer, br#"{"jsonrpc":"2.0","id":"a","error":{"code":-7,"message":"no"}}"#);
        assert_eq!(readdressed(b"<html>", "1"), None);
    }
}
