//! `mooring join` and `mooring health`: one request to a running gateway.

use std::process::ExitCode;

use http::Method;

use super::gateway::Gateway;
use super::terminal;

pub fn join(gateway: &Gateway) -> ExitCode {
    report(gateway.call(Method::POST, "/api/cluster/join"), true)
}

pub fn health(gateway: &Gateway) -> ExitCode {
    report(gateway.call(Method::GET, "/health"), false)
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
