//! `mooring logs`: what the processes of a server write to stderr.

use std::io::Write;
use std::pin::Pin;
use std::process::ExitCode;

use http::Method;
use http_body::Body as _;
use serde::Deserialize;

use crate::cluster::{LogEvent, Unreachable};
use crate::model::UnixMillis;
use crate::model::visible::{self, visible};
use crate::net::percent_encoded;
use crate::protocol::objects::object_only;
use crate::protocol::sse;

use super::gateway::{self, Gateway};
use super::terminal;

/// Bytes of one event: a log line of 4 KiB, with every character escaped in JSON.
const MAX_EVENT: usize = 64 * 1024;
/// Bytes of one line; a gateway sends less.
const MAX_LINE: usize = 8 * 1024;

pub struct LogOptions<'a> {
    pub server: &'a str,
    pub node: Option<&'a str>,
    pub lines: usize,
    pub follow: bool,
    pub json: bool,
}

pub fn run(gateway: &Gateway, asked: &LogOptions<'_>) -> ExitCode {
    let server = percent_encoded(asked.server);
    let mut path = format!("/api/logs?server={server}&lines={}", asked.lines);
    if let Some(node) = asked.node {
        path.push_str(&format!("&node={}", percent_encoded(node)));
    }
    let done = if asked.follow {
        follow(gateway, &format!("{path}&follow=true"), asked.json)
    } else {
        last(gateway, &path, asked.json)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::failed(&why),
    }
}

fn last(gateway: &Gateway, path: &str, json: bool) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    struct Last {
        lines: Vec<LogEvent>,
        #[serde(default)]
        unreachable: Vec<Unreachable>,
    }
    object_only!(Last);
    let data = gateway::data(&gateway.call(Method::GET, path)?)?;
    let last: Last = serde_json::from_value(data)
        .map_err(|error| format!("the answer has an unexpected form: {error}"))?;
    let unreachable = last
        .unreachable
        .into_iter()
        .map(|Unreachable { node, reason }| LogEvent::Unreachable { node, reason });
    let mut out = std::io::stdout().lock();
    for event in last.lines.into_iter().chain(unreachable) {
        if write(&mut out, &event, json).is_err() {
            break;
        }
    }
    Ok(())
}

fn follow(gateway: &Gateway, path: &str, json: bool) -> Result<(), String> {
    gateway::runtime()?.block_on(async {
        let mut body = gateway.open(Method::GET, path).await?.into_body();
        let mut decoder = sse::EventDecoder::new(MAX_EVENT);
        let mut out = std::io::stdout().lock();
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            let Some(Ok(frame)) = frame else {
                return Err("the gateway closed the stream of log lines".to_owned());
            };
            let Ok(data) = frame.into_data() else { continue };
            let mut written = Ok(());
            let write_all = |event: sse::Event| {
                if let Ok(event) = serde_json::from_slice(&event.data)
                    && written.is_ok()
                {
                    written = write(&mut out, &event, json);
                }
            };
            decoder.feed(&data, write_all).map_err(|error| error.to_string())?;
            // The reader closed stdout, as `head` does: that is not an error.
            if written.and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
        }
    })
}

/// Writes log lines to `out`, and remarks on missing ones to stderr.
fn write(out: &mut impl Write, event: &LogEvent, json: bool) -> std::io::Result<()> {
    if json {
        let json = serde_json::to_string(event).unwrap_or_default();
        return writeln!(out, "{}", visible::json(&json));
    }
    match event {
        LogEvent::Line { at, node, pid, text, .. } => {
            let (at, node) = (UnixMillis(*at).iso8601(), visible(node, super::MAX_WHY));
            let text = visible(text, MAX_LINE);
            writeln!(out, "{at} {node}/{pid} {text}")
        }
        LogEvent::Lost { lost, node } => {
            let node = visible(node, super::MAX_WHY);
            terminal::warn(format!(
                "mooring: {lost} lines of node {node} were dropped before they were read"
            ));
            Ok(())
        }
        LogEvent::Unreachable { node, reason } => {
            let (node, reason) = (visible(node, super::MAX_WHY), visible(reason, super::MAX_WHY));
            terminal::warn(format!("mooring: node {node} is unreachable: {reason}"));
            Ok(())
        }
    }
}
