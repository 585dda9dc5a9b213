//! `mooring join`, `mooring health` and `mooring log-level`: one request to a running gateway.

use std::process::ExitCode;

use http::Method;

use super::gateway::{Gateway, data};
use super::terminal;

pub fn join(gateway: &Gateway) -> ExitCode {
    report(gateway.call(Method::POST, "/api/cluster/join"), true)
}

pub fn health(gateway: &Gateway) -> ExitCode {
    report(gateway.call(Method::GET, "/health"), false)
}

/// Shows the filter of the log, or sets it.
pub fn log_level(gateway: &Gateway, filter: Option<&str>) -> ExitCode {
    const PATH: &str = "/api/log-level";
    let answer = match filter {
        None => gateway.call(Method::GET, PATH),
        Some(filter) => {
            let request = serde_json::json!({"filter": filter}).to_string();
            gateway.call_with(Method::PUT, PATH, Some(&request))
        }
    };
    let shown = answer.and_then(|text| data(&text));
    report(shown.map(|data| data["filter"].as_str().unwrap_or_default().to_owned()), true)
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
