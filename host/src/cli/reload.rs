//! `mooring reload`: has a running gateway read its settings again.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;

use super::gateway::Gateway;
use super::terminal;

/// New servers are started before the answer comes: as long as a server may take for that.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(gateway: &Gateway) -> ExitCode {
    match gateway.call_within(PATIENCE, Method::POST, "/api/reload") {
        Ok(text) => {
            terminal::say(text);
            ExitCode::SUCCESS
        }
        Err(why) => super::failed(&why),
    }
}
