//! `mooring join`, `mooring health` and `mooring reload`: one request to a running gateway.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;

use super::gateway::Gateway;
use super::terminal;

pub fn join(gateway: &Gateway) -> ExitCode {
    report(gateway.call(Method::POST, "/api/cluster/join"), true)
}

pub fn health(gateway: &Gateway) -> ExitCode {
    report(gateway.call(Method::GET, "/health"), false)
}

/// New servers are started before the answer comes: as long as a server may take for that.
const RELOAD: Duration = Duration::from_secs(600);

pub fn reload(gateway: &Gateway) -> ExitCode {
    report(gateway.call_within(RELOAD, Method::POST, "/api/reload"), true)
}

fn report(answer: Result<String, String>, say: bool) -> ExitCode {
    match answer {
        Ok(text) => {
            if say {
                terminal::say(text);
            }
            ExitCode::SUCCESS
        }
        Err(why) => super::failed(&why),
    }
}
