//! `mooring connect URL`: an MCP server of stdio whose other end is a Streamable HTTP URL, for hosts
//! that only start programs.
//!
//! ```text
//! stdin line ─► one POST each ─► answer: JSON, or an event stream, resumed where it breaks
//! stdout line ◄─ all messages, also those of the session's GET stream
//! ```
//!
//! The host never sees HTTP. While the gateway is away, messages wait for it; a session that has ended
//! is begun again with the host's own `initialize`.

mod bridge;
mod message;
mod stdio;
mod upstream;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::Secret;

use self::bridge::Bridge;
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
    let (mut lines, output) = (stdio::lines(), stdio::Output::start());
    let bridge = Arc::new(Bridge::new(upstream, output.clone()));
    let mut signals = stdio::Signals::watch()?;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = signals.next() => break,
            // The host has closed our stdout: nobody is left to answer.
            () = output.closed() => break,
        };
        match line {
            None => {
                let _ = tokio::time::timeout(LAST_ANSWERS, bridge.answered()).await;
                break;
            }
            Some(Ok(line)) => Bridge::take(&bridge, line).await,
            Some(Err(why)) => {
                bridge.end().await;
                return Err(why);
            }
        }
    }
    bridge.end().await;
    output.written().await;
    Ok(())
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
