//! `mooring connect URL`: an MCP server of stdio whose other end is a Streamable HTTP URL, for hosts
//! that only start programs.
//!
//! ```text
//! stdin line ─► one POST each ─► answer: JSON, or an event stream, resumed where it breaks
//! stdout line ◄─ all messages, also those of the session's GET stream
//! ```
//!
//! The host never sees HTTP. While the gateway is away, messages wait for it; a session that has ended
//! is begun again with the host's own `initialize`. A request that names a revision without sessions
//! goes on its own, with the headers that repeat it.

mod answer;
mod bridge;
mod message;
mod open;
mod repeated;
mod request;
mod stdio;
mod upstream;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::sync::{mpsc, watch};

use crate::config::Secret;
use crate::protocol::jsonrpc::code;

use self::bridge::Bridge;
use self::stdio::{Input, Line, Output};
use self::upstream::Upstream;

/// Longest wait for answers once the host has closed stdin.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// What to connect to, and how.
pub struct ConnectOptions<'a> {
    pub url: &'a str,
    pub key: Option<Secret>,
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// How long a message waits for a gateway that is away.
    pub patience: Duration,
}

/// Runs until the host closes stdin, or a signal comes.
pub fn run(options: &ConnectOptions<'_>) -> ExitCode {
    let upstream =
        match Upstream::new(options.url, options.key.as_ref(), options.headers, options.patience) {
            Ok(upstream) => upstream,
            Err(why) => return super::wrong(&why),
        };
    let ran = super::gateway::runtime().and_then(|runtime| {
        let ran = runtime.block_on(bridged(upstream));
        // The thread that reads stdin cannot be woken.
        runtime.shutdown_background();
        ran
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::failed(&why),
    }
}

async fn bridged(upstream: Upstream) -> Result<(), String> {
    let mut signals = stdio::Signals::watch()?;
    let (mut input, output) = (Input::start(), Output::start());
    let bridge = Arc::new(Bridge::new(upstream, output.clone()));
    let mut ran = Ok(());
    let is_overdue = {
        let mut passing = pin!(passed_on(&bridge, &output, &mut input.lines));
        tokio::select! {
            done = &mut passing => {
                ran = done;
                false
            }
            () = signals.next() => false,
            // The host has closed our stdout: nobody is left to answer.
            () = output.closed() => false,
            () = overdue(&mut input.closed) => {
                bridge.give_up().await;
                true
            }
        }
    };
    while is_overdue && let Ok(line) = input.lines.try_recv() {
        if let Line::Text(line) = line {
            bridge.refuse(&line).await;
        }
    }
    bridge.end().await;
    output.written().await;
    ran
}

/// Passes lines on until stdin ends, and waits for the answers.
async fn passed_on(
    bridge: &Arc<Bridge>,
    output: &Output,
    lines: &mut mpsc::Receiver<Line>,
) -> Result<(), String> {
    while let Some(line) = lines.recv().await {
        match line {
            Line::Text(line) => Bridge::take(bridge, line).await,
            Line::Wrong(why) => output.say(&message::error("null", code::PARSE, &why)).await,
            Line::Failed(why) => return Err(why),
        }
    }
    bridge.answered().await;
    Ok(())
}

/// Waits until the time for answers is over that the host leaves when it closes stdin.
async fn overdue(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

/// `Name: value` of the command line.
///
/// # Errors
/// What is wrong with it.
pub fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it like \"Name: value\"")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?;
    let mut value: HeaderValue =
        value.trim().parse().map_err(|_| "the value cannot be sent in a header".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}
