//! `mooring drain` and `mooring undrain`: a node lets its sessions go, or takes sessions again.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::model::visible::visible;
use crate::net::percent_encoded;

use super::gateway::{self, Gateway};
use super::{MAX_WHY, terminal};

/// Time between two looks at the progress.
const LOOK: Duration = Duration::from_millis(500);
/// How long after its deadline a drain may take: what is left then waits for something that no
/// deadline ends.
const AFTER: Duration = Duration::from_secs(5);
/// The reasons of sessions that stay, as the management API spells them, and in words.
const WAITS: [(&str, &str); 5] = [
    ("request", "with a request under way"),
    ("question", "whose server waits for an answer of the client"),
    ("stream", "whose client listens, until the deadline"),
    ("state", "with state, until the deadline"),
    ("lastReplica", "that no other node can take: no other runs the server, or has room"),
];

/// How `mooring drain` is to go.
pub struct DrainOptions<'a> {
    pub node: &'a str,
    pub deadline: Option<Duration>,
    /// Whether to return as soon as the node has the order.
    pub no_wait: bool,
}

pub fn run(gateway: &Gateway, options: &DrainOptions<'_>) -> ExitCode {
    match drain(gateway, options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => super::failed(&why),
    }
}

pub fn undrain(gateway: &Gateway, node: &str) -> ExitCode {
    let path = format!("/api/cluster/nodes/{}/undrain", percent_encoded(node));
    let answer = gateway.call(Method::POST, &path).and_then(|text| gateway::data(&text));
    match answer {
        Ok(data) => {
            let node = visible(node, MAX_WHY);
            terminal::say(match data["wasDraining"].as_bool() {
                Some(false) => format!("{node} was not draining; it takes sessions"),
                _ => format!("{node} takes sessions again"),
            });
            ExitCode::SUCCESS
        }
        Err(why) => super::failed(&why),
    }
}

/// Whether no session is left, or nobody was to wait for that.
fn drain(gateway: &Gateway, options: &DrainOptions<'_>) -> Result<bool, String> {
    let DrainOptions { node, deadline, no_wait } = options;
    let path = format!("/api/cluster/nodes/{}/drain", percent_encoded(node));
    let body = deadline.map(|deadline| {
        let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        json!({"deadlineMs": millis}).to_string()
    });
    let data = gateway::data(&gateway.call_with(Method::POST, &path, body.as_deref())?)?;
    for server in data["lastReplicaOf"].as_array().into_iter().flatten() {
        terminal::warn(format!(
            "mooring: no other node takes sessions of {}: those that {node} has stay there, and new \
             ones are refused",
            visible(server.as_str().unwrap_or(""), MAX_WHY)
        ));
    }
    if *no_wait {
        terminal::say(format!("{node} drains"));
        return Ok(true);
    }
    let millis = |name: &str| data["drain"][name].as_u64().unwrap_or(0);
    let patience =
        Duration::from_millis(millis("deadline").saturating_sub(millis("since"))) + AFTER;
    let began = std::time::Instant::now();
    let mut said = String::new();
    loop {
        let nodes = gateway::data(&gateway.call(Method::GET, "/api/cluster/nodes")?)?;
        let entry = entry_of(&nodes, node).ok_or_else(|| format!("{node} is gone"))?;
        if entry["status"] != "active" {
            return Err(format!("{node} is {}", entry["status"].as_str().unwrap_or("unknown")));
        }
        if entry["drain"].is_null() {
            return Err(format!("{node} takes sessions again: somebody has taken the order back"));
        }
        let line = progress(node, &entry["drain"]);
        if line != said {
            terminal::say(&line);
            said = line;
        }
        if entry["drain"]["drained"] == true {
            return Ok(true);
        }
        if began.elapsed() > patience {
            terminal::warn(format!(
                "mooring: the deadline is over; {node} goes on draining, and `mooring undrain {node}` \
                 takes that back"
            ));
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

fn entry_of<'a>(nodes: &'a Value, node: &str) -> Option<&'a Value> {
    nodes.as_array()?.iter().find(|entry| entry["id"] == node)
}

/// One line: how many sessions are left, and why.
fn progress(node: &str, drain: &Value) -> String {
    if drain["drained"] == true {
        return format!("{node} is drained: no session is left; it runs on until it is ended");
    }
    let waits = WAITS.iter().filter_map(|(name, words)| {
        let count = drain["waits"][*name].as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} {words}"))
    });
    let waits: Vec<String> = waits.collect();
    let sessions = drain["sessions"].as_u64().unwrap_or(0);
    match waits.is_empty() {
        true => format!("{node} drains"),
        false => format!("{node} drains: {sessions} left: {}", waits.join("; ")),
    }
}

/// Reads a time: seconds, or a number with `ms`, `s`, `m` or `h` behind it.
///
/// # Errors
/// If it is none, or longer than a day.
pub fn parse_deadline(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|byte: char| byte.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or("");
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit: use ms, s, m or h")),
    };
    let number: u64 = digits.parse().map_err(|_| "write seconds, such as 25, or 90s, 5m, 1h")?;
    let time = number.checked_mul(millis).map(Duration::from_millis);
    time.filter(|time| *time <= Duration::from_hours(24)).ok_or_else(|| "at most a day".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_seconds_or_has_its_unit() {
        for (text, expect) in [
            ("0", Duration::ZERO),
            ("25", Duration::from_secs(25)),
            ("25s", Duration::from_secs(25)),
            ("500ms", Duration::from_millis(500)),
            ("5m", Duration::from_mins(5)),
            ("24h", Duration::from_hours(24)),
        ] {
            assert_eq!(parse_deadline(text), Ok(expect), "{text}");
        }
        for wrong in ["", "s", "-1", "1.5", "25h", "1d", "86401", "18446744073709551615h"] {
            assert!(parse_deadline(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_progress_names_every_reason() {
        let drain = json!({"drained": false, "sessions": 3, "waits": {"request": 1, "state": 2}});
        assert_eq!(
            progress("n1", &drain),
            "n1 drains: 3 left: 1 with a request under way; 2 with state, until the deadline"
        );
        let drained = json!({"drained": true, "sessions": 0, "waits": {}});
        assert!(progress("n1", &drained).starts_with("n1 is drained"));
        assert_eq!(progress("n1", &json!({"drained": false})), "n1 drains");
    }
}
