//! `mooring log-level`: which lines the log of a running gateway has.

use std::process::ExitCode;

use http::Method;
use serde_json::json;

use crate::model::visible::visible;

use super::gateway::{Gateway, data};
use super::terminal;

const PATH: &str = "/api/log-level";
/// Bytes of a filter.
const MAX_FILTER: usize = 1024;

/// Shows the filter, or sets it.
pub fn run(gateway: &Gateway, filter: Option<&str>) -> ExitCode {
    let answer = match filter {
        None => gateway.call(Method::GET, PATH),
        Some(filter) => {
            let request = json!({"filter": filter}).to_string();
            gateway.call_with(Method::PUT, PATH, Some(&request))
        }
    };
    match answer.and_then(|text| data(&text)) {
        Ok(data) => {
            let filter = data["filter"].as_str().unwrap_or_default();
            terminal::say(visible(filter, MAX_FILTER).to_string());
            ExitCode::SUCCESS
        }
        Err(why) => super::failed(&why),
    }
}
