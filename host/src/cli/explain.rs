//! `mooring explain`: why sessions are where they are.

use std::fmt::Write as _;
use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use crate::model::UnixMillis;
use crate::model::visible::{self, visible};
use crate::net::percent_encoded;

use super::gateway::{self, Gateway};
use super::known_names;
use super::terminal;

/// Bytes of one name or reason.
const MAX_TEXT: usize = 600;

/// What is to be explained.
pub struct ExplainOptions<'a> {
    pub session: Option<&'a str>,
    pub request: Option<&'a str>,
    pub server: Option<&'a str>,
    pub limit: usize,
    pub json: bool,
}

pub fn run(gateway: &Gateway, asked: &ExplainOptions<'_>) -> ExitCode {
    let mut path = format!("/api/cluster/explain?limit={}", asked.limit);
    for (name, value) in
        [("session", asked.session), ("request", asked.request), ("server", asked.server)]
    {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", percent_encoded(value)));
        }
    }
    let answer = gateway.call(Method::GET, &path).and_then(|text| gateway::data(&text));
    let is_empty = |data: &Value| list(&data["decisions"]).is_empty();
    if answer.as_ref().is_ok_and(is_empty)
        && let Err(why) = known_names::check(gateway, asked.server, None)
    {
        return super::failed(&why);
    }
    match answer {
        Ok(data) if asked.json => terminal::say(visible::json(&data.to_string())),
        Ok(data) => terminal::say(page(&data, asked.server).trim_end()),
        Err(why) => return super::failed(&why),
    }
    ExitCode::SUCCESS
}

fn page(data: &Value, server: Option<&str>) -> String {
    let mut out = String::new();
    for decision in list(&data["decisions"]) {
        // Writing into a string cannot fail.
        let _ = explain(&mut out, decision);
    }
    let bindings = list(&data["bindings"]);
    for binding in bindings {
        let (server, node) = (text(&binding["serverId"]), text(&binding["nodeId"]));
        let since = UnixMillis(binding["createdAt"].as_u64().unwrap_or(0)).iso8601();
        let by = match binding["decidedHere"].as_bool() {
            Some(false) => ", as the node has reported",
            _ => "",
        };
        let _ = writeln!(out, "now: {server} is bound to {node} since {since}{by}");
    }
    if out.is_empty() {
        let _ = match server {
            None => writeln!(out, "no decision yet: no session has been opened since the start"),
            Some(server) => writeln!(out, "no decision about server {server} is known"),
        };
    }
    out
}

fn explain(out: &mut String, decision: &Value) -> std::fmt::Result {
    let at = UnixMillis(decision["at"].as_u64().unwrap_or(0)).iso8601();
    let (session, server) = (text(&decision["session"]), text(&decision["server"]));
    let took = decision["tookMs"].as_u64().unwrap_or(0);
    let end = match decision["outcome"].as_str() {
        Some("opened") => format!("opened at {}", text(&decision["node"])),
        Some(outcome) => format!("{outcome}: {}", text(&decision["why"])),
        None => String::new(),
    };
    writeln!(out, "{at} session {session}, server {server}: {end} ({took} ms)")?;
    if let Some(request) = decision["request"].as_str() {
        writeln!(out, "  request    {}", visible(request, MAX_TEXT))?;
    }
    if let Some(by) = decision["conversation"].as_str() {
        let by = visible(by, MAX_TEXT);
        writeln!(out, "  client     without a session; its conversation by: {by}")?;
    }
    let inputs: Vec<String> = list(&decision["inputs"]).iter().map(input).collect();
    if !inputs.is_empty() {
        writeln!(out, "  inputs     {}", inputs.join(", "))?;
    }
    if decision["affinity"].is_string() {
        writeln!(out, "  affinity   the client's token names {}", text(&decision["affinity"]))?;
    }
    for (at, candidate) in list(&decision["candidates"]).iter().enumerate() {
        let head = if at == 0 { "candidates" } else { "" };
        let zone = match text(&candidate["zone"]) {
            zone if zone.is_empty() => zone,
            zone => format!(", zone {zone}"),
        };
        writeln!(
            out,
            "  {head:<10} {}: {}, room {}, {} bound, weight {}{zone}",
            text(&candidate["node"]),
            text(&candidate["health"]),
            text(&candidate["room"]),
            candidate["bindings"],
            candidate["weight"],
        )?;
    }
    more(out, &decision["moreCandidates"], "candidates")?;
    for (at, attempt) in list(&decision["attempts"]).iter().enumerate() {
        writeln!(out, "  attempt {:<2} {}", at + 1, attempt_line(attempt))?;
    }
    more(out, &decision["moreAttempts"], "attempts")
}

fn more(out: &mut String, count: &Value, what: &str) -> std::fmt::Result {
    match count.as_u64() {
        Some(0) | None => Ok(()),
        Some(count) => writeln!(out, "  {:<10} and {count} more {what}", ""),
    }
}

fn input(input: &Value) -> String {
    let name = text(&input["name"]);
    match input["state"].as_str() {
        Some("shown") => format!("{name} = {}", text(&input["value"])),
        Some("hidden") => format!("{name} = (hidden)"),
        _ => format!("{name} = (none)"),
    }
}

fn attempt_line(attempt: &Value) -> String {
    let mut line = match attempt["by"].as_str() {
        Some("strategy") => "the strategy chose".to_owned(),
        Some("fallback") => {
            format!("the gateway chose in its place ({})", text(&attempt["fallback"]))
        }
        _ => format!("the gateway took the least loaded, since {}", text(&attempt["why"])),
    };
    line.push_str(&match attempt["node"].as_str() {
        Some(node) => format!(" {}", visible(node, MAX_TEXT)),
        None => ": no node".to_owned(),
    });
    match attempt["outcome"].as_str() {
        Some("opened") => line.push_str(", which opened it"),
        Some("refused") => line.push_str(&format!(", in vain: {}", text(&attempt["reason"]))),
        _ => {}
    }
    let answers = list(&attempt["answers"]).iter();
    let refused: Vec<String> = answers
        .filter(|answer| answer["usable"] == false)
        .map(|answer| text(&answer["node"]))
        .collect();
    if !refused.is_empty() {
        line.push_str(&format!("; before, it named {}", refused.join(", ")));
    }
    let excluded: Vec<String> = list(&attempt["excluded"]).iter().map(text).collect();
    if !excluded.is_empty() {
        line.push_str(&format!("; left out: {}", excluded.join(", ")));
    }
    if let Some(strategy) = attempt["strategy"].as_object() {
        let part = |name: &str| strategy.get(name).map(text).unwrap_or_default();
        let (name, version) = (part("name"), part("version"));
        line.push_str(&format!("; {name} {version}, topology {}", part("generation")));
    }
    line
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text as it can be shown, or another value as JSON; empty for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible(text, MAX_TEXT).to_string(),
        other => visible(&other.to_string(), MAX_TEXT).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decision_is_told_with_its_attempts() {
        let attempt = json!({
            "by": "fallback", "fallback": "trap", "node": "b", "outcome": "opened",
            "answers": [{"node": "a", "usable": false}], "excluded": ["a"],
            "strategy": {"name": "cookie", "version": "1", "generation": 4},
        });
        let vain = json!({
            "by": "strategy", "node": "a", "outcome": "refused", "reason": "full\u{1b}[1m",
        });
        let data = json!({"decisions": [{
            "at": 0, "tookMs": 31, "request": "r1", "conversation": "header:x-thread", "session": "0a1b2c3d", "server": "notes",
            "outcome": "opened", "node": "b", "affinity": "a",
            "inputs": [
                {"name": "session-id", "state": "shown", "value": "0a1b2c3d"},
                {"name": "header:x-api-key", "state": "hidden"},
                {"name": "principal", "state": "missing"},
            ],
            "candidates": [{"node": "a", "health": "healthy", "room": "full", "zone": "eu",
                            "weight": 1, "bindings": 3}],
            "moreCandidates": 2, "attempts": [vain, attempt],
        }], "bindings": [{"serverId": "notes", "nodeId": "b", "createdAt": 0,
                          "decidedHere": false}]});
        assert_eq!(
            page(&data, None),
            "1970-01-01T00:00:00.000Z session 0a1b2c3d, server notes: opened at b (31 ms)\n  \
             request    r1\n  \
             client     without a session; its conversation by: header:x-thread\n  \
             inputs     session-id = 0a1b2c3d, header:x-api-key = (hidden), principal = (none)\n  \
             affinity   the client's token names a\n  \
             candidates a: healthy, room full, 3 bound, weight 1, zone eu\n             \
             and 2 more candidates\n  \
             attempt 1  the strategy chose a, in vain: full\\u{1b}[1m\n  \
             attempt 2  the gateway chose in its place (trap) b, which opened it; before, it named \
             a; left out: a; cookie 1, topology 4\n\
             now: notes is bound to b since 1970-01-01T00:00:00.000Z, as the node has reported\n"
        );
        let none = json!({"decisions": [], "bindings": []});
        assert!(page(&none, None).contains("no decision yet"));
        assert_eq!(page(&none, Some("s")), "no decision about server s is known\n");
    }
}
