//! `mooring health`: whether a gateway serves, and whether its servers can be used.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;

use super::gateway::Gateway;
use super::terminal;

/// What is known of a gateway's health.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Whether every server can be used.
    is_well: bool,
    /// What is wrong, also where it costs no server.
    reasons: Vec<String>,
}

/// Fails if no gateway answers, or if a server that should be there is not. With `only_process`, the
/// servers do not count.
pub fn run(gateway: &Gateway, only_process: bool) -> ExitCode {
    let path = if only_process { "/livez" } else { "/health" };
    let text = match gateway.call(Method::GET, path) {
        Ok(text) => text,
        Err(why) => return super::failed(&why),
    };
    if only_process {
        return ExitCode::SUCCESS;
    }
    let found = match serde_json::from_str(&text) {
        Ok(health) => found(&health),
        Err(error) => return super::failed(&format!("the answer is not JSON: {error}")),
    };
    for reason in &found.reasons {
        terminal::warn(format!("mooring: {reason}"));
    }
    if found.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn found(health: &Value) -> Found {
    let servers = || health["servers"].as_array().into_iter().flatten();
    let reasons = health["reasons"].as_array().into_iter().flatten();
    Found {
        is_well: servers().all(|server| server["state"] != "down"),
        reasons: reasons.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_server_that_is_down_is_a_failure() {
        for (states, is_well) in
            [(&[][..], true), (&["ok", "degraded"], true), (&["ok", "down"], false)]
        {
            let servers: Vec<Value> = states.iter().map(|state| json!({"state": state})).collect();
            let health = json!({"status": "degraded", "reasons": ["why"], "servers": servers});
            let expect = Found { is_well, reasons: vec!["why".to_owned()] };
            assert_eq!(found(&health), expect, "{states:?}");
        }
        // A gateway of an earlier version says nothing of it.
        assert!(found(&json!({"status": "ok", "servers": [{"name": "x"}]})).is_well);
    }
}
