//! `mooring sessions`: the sessions that a gateway knows, by the short hash of its log.

use std::process::ExitCode;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::UnixMillis;
use crate::model::visible;
use crate::net::percent_encoded;
use crate::protocol::objects::object_only;

use super::gateway::{self, Gateway};
use super::known_names;
use super::table::{age, known, table};
use super::terminal;

const HEAD: [&str; 5] = ["SESSION", "SERVERS", "LISTENS", "AGE", "UNUSED"];
/// Sessions of one page.
const PAGE: usize = 500;
/// Most sessions that are printed; far more than a person reads.
const MOST: usize = 10_000;

/// Which sessions to list.
pub struct SessionOptions<'a> {
    /// The beginning of the hash.
    pub session: Option<&'a str>,
    pub server: Option<&'a str>,
    pub node: Option<&'a str>,
    pub json: bool,
}

#[derive(Default, Deserialize)]
#[serde(remote = "Self")]
#[serde(default)]
struct SessionsPage {
    sessions: Vec<SessionRow>,
    total: usize,
    next: Option<String>,
}
object_only!(SessionsPage);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
struct SessionRow {
    session: String,
    created_at: u64,
    last_accessed: u64,
    expires_at: u64,
    listens: bool,
    bindings: Vec<BindingRow>,
}
object_only!(both SessionRow);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase", default)]
struct BindingRow {
    server_id: String,
    node_id: String,
}
object_only!(both BindingRow);

pub fn run(gateway: &Gateway, options: &SessionOptions<'_>) -> ExitCode {
    let (sessions, total) = match all(gateway, options) {
        Ok(found) => found,
        Err(why) => return super::failed(&why),
    };
    if let Some(session) = options.session.filter(|_| sessions.is_empty()) {
        return super::failed(&format!("no session has the hash {session:?}, or it has ended"));
    }
    if sessions.is_empty()
        && let Err(why) = known_names::check(gateway, options.server, options.node)
    {
        return super::failed(&why);
    }
    if options.json {
        let text = json!({"sessions": sessions, "total": total}).to_string();
        terminal::say(visible::json(&text));
        return ExitCode::SUCCESS;
    }
    let now = UnixMillis::now();
    let rows: Vec<_> = sessions.iter().map(|session| row(session, now)).collect();
    terminal::say(table(HEAD, &rows).trim_end());
    if sessions.len() < total {
        terminal::warn(format!("mooring: {} of {total} sessions are shown", sessions.len()));
    }
    ExitCode::SUCCESS
}

fn all(
    gateway: &Gateway,
    options: &SessionOptions<'_>,
) -> Result<(Vec<SessionRow>, usize), String> {
    let mut path = format!("/api/cluster/sessions?limit={PAGE}");
    let filters =
        [("session", options.session), ("server", options.server), ("node", options.node)];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
    }
    let (mut sessions, mut after) = (Vec::new(), String::new());
    loop {
        let text = gateway.call(Method::GET, &format!("{path}{after}"))?;
        let page: SessionsPage = serde_json::from_value(gateway::data(&text)?)
            .map_err(|error| format!("the answer has an unexpected form: {error}"))?;
        let is_empty = page.sessions.is_empty();
        sessions.extend(page.sessions);
        match page.next {
            Some(next) if sessions.len() < MOST && !is_empty => {
                after = format!("&after={}", percent_encoded(&next));
            }
            _ => return Ok((sessions, page.total)),
        }
    }
}

fn row(session: &SessionRow, now: UnixMillis) -> [String; HEAD.len()] {
    let since = |at: u64| age(now.since(UnixMillis(at)).as_secs());
    let bindings = session.bindings.iter();
    let servers = bindings.map(|bound| format!("{}@{}", bound.server_id, bound.node_id));
    let servers = servers.collect::<Vec<_>>().join(" ");
    [
        session.session.clone(),
        known((!servers.is_empty()).then_some(servers)),
        if session.listens { "yes" } else { "no" }.to_owned(),
        since(session.created_at),
        since(session.last_accessed),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_one_row_with_all_its_servers() {
        let bound = |server: &str| BindingRow { server_id: server.into(), node_id: "n".into() };
        let session = SessionRow {
            session: "0a1b2c3d".into(),
            created_at: 1000,
            last_accessed: 61_000,
            listens: true,
            bindings: vec![bound("a"), bound("b")],
            ..SessionRow::default()
        };
        assert_eq!(row(&session, UnixMillis(62_000)).join(" "), "0a1b2c3d a@n b@n yes 1m1s 1s");
        let none = SessionRow { bindings: Vec::new(), ..session };
        assert_eq!(row(&none, UnixMillis(62_000))[1], "-");
    }
}
