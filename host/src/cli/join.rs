//! `mooring join`: tells a node to register now.

use std::process::ExitCode;

use http::Method;

use super::gateway::Gateway;
use super::terminal;

pub fn run(gateway: &Gateway) -> ExitCode {
    match gateway.call(Method::POST, "/api/cluster/join") {
        Ok(text) => {
            terminal::say(text);
            ExitCode::SUCCESS
        }
        Err(why) => super::failed(&why),
    }
}
