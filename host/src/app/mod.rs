//! The wiring: configuration → parts → run until a signal → drain.
//!
//! All parts meet here and nowhere else. Threads: one for the control runtime (this
//! one), and one worker per core, each with its own accept socket, connections and
//! strategy instances.

mod background;
mod capacity;
mod child_env;
mod client_keys;
mod commands;
mod descriptors;
mod differences;
mod identity;
mod node_side;
mod notices;
mod own_files;
mod parts;
mod routes;
#[cfg(test)]
mod simulation;
mod strategy_view;
mod summary;
mod translate;
mod unmatched;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{self, Loaded, open_cluster_warning};
use crate::edge;
use crate::model::SessionId;
use crate::model::visible::page;
use crate::sync::Signal;

use self::parts::Parts;

pub use commands::not_found;
pub use notices::of as notices_of;
pub use own_files::unprotected;
pub use translate::{own_program, strategy_options};

/// Longest wait for requests in progress at shutdown. Open streams never end by
/// themselves.
const DRAIN: Duration = Duration::from_secs(10);
/// Longest wait for server processes at shutdown: 2 s from the end of their input to
/// SIGTERM, 2 s from there to SIGKILL, and 2 s to spare.
const CHILDREN: Duration = Duration::from_secs(6);

/// How long a thread for what blocks stays without work: as long as the process.
const BLOCKING_REST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// File that the port is written into once the gateway accepts requests.
    pub port_file: Option<PathBuf>,
    /// Number of data-plane threads; `None` means one per core.
    pub workers: Option<usize>,
}

/// Runs the gateway until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// If it cannot start: for example, the port is taken or the strategy is refused.
pub fn run(loaded: &Loaded, options: &RunOptions) -> anyhow::Result<()> {
    let runtime = runtime().context("cannot start the control runtime")?;
    runtime.block_on(control(loaded, options))
}

async fn control(loaded: &Loaded, options: &RunOptions) -> anyhow::Result<()> {
    keep_a_thread();
    outlive_file_limit();
    let config = &loaded.config;
    let mut notices = notices::of(config);
    // `mooring check` is silent about it on loopback, where only this machine's users can come.
    notices.extend(open_cluster_warning(config).filter(|text| !notices.contains(text)));
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let descriptors = descriptors::raise();
    if let Some(notice) = notices::few_descriptors(config, descriptors.limit) {
        tracing::warn!("{notice}");
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = options.workers.unwrap_or(cores).max(1);
    let listeners =
        edge::listen(&config.listen.host, config.listen.port, workers).with_context(|| {
            let config::Listen { host, port, .. } = &config.listen;
            format!("cannot listen on {host}:{port} (PORT and MOORING_HOST choose another address)")
        })?;
    let address = listeners.address;
    let (parts, background) = Parts::build(config, address, workers, descriptors)?;
    let supervised = parts
        .runner
        .children()
        .supervise(Some(descriptors.inherited), &own_files::all(config))
        .context("cannot start the supervisor of the servers' processes")?;
    for notice in own_files::unprotected(config).into_iter().chain(commands::not_found(config)) {
        tracing::warn!("{notice}");
    }
    let draining = Signal::default();
    let is_draining = draining.watch();
    let threads = worker::start(&parts, listeners, &is_draining)?;
    let leaving = Signal::default();
    let is_leaving = leaving.watch();
    let background = background.start(&parts, config, &is_leaving);
    let summary = summary::of(config, &parts, address, workers);
    // The gateway serves, whether or not somebody reads what it prints.
    let _ = write!(std::io::stdout(), "{}", page(&summary, usize::MAX));
    if let Some(file) = &options.port_file {
        write_port(file, address.port())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    signalled().await?;
    tracing::info!(
        "shutting down: new connections are refused, requests in progress get {} s to finish",
        DRAIN.as_secs()
    );
    // A node deregisters first, so that its coordinator sends no more sessions.
    leaving.raise();
    background.await;
    draining.raise();
    threads.join(DRAIN).await;
    parts.runner.close_all(parts.control_link.pool()).await;
    let _ = tokio::time::timeout(CHILDREN, parts.runner.children().all_ended()).await;
    supervised.end().await;
    Ok(())
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(BLOCKING_REST)
        .build()
}

/// Starts the first thread for what blocks. Where the system refuses another one, its work waits
/// for this one; without any, tokio would panic.
fn keep_a_thread() {
    drop(tokio::task::spawn_blocking(|| ()));
}

/// A file that reaches the limit of its size (`ulimit -f`) is to be an error, not the end of the
/// process. Servers are not concerned: a handler does not outlive their start.
fn outlive_file_limit() {
    use tokio::signal::unix::{SignalKind, signal};
    let number = rustix::process::Signal::XFSZ.as_raw();
    if let Err(error) = signal(SignalKind::from_raw(number)) {
        tracing::debug!("cannot watch for SIGXFSZ: {error}");
    }
}

async fn signalled() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    // Sent when the terminal closes: without a handler the process would end at once.
    let mut hang_up = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// Writes the port atomically: a program that waits for the file never reads half a
/// number. The folder may be one that others can write to, such as `/tmp`: the file's
/// first name cannot be guessed, and no link in its place is followed.
fn write_port(file: &std::path::Path, port: u16) -> std::io::Result<()> {
    let draft = file.with_extension(format!("{}.draft", SessionId::mint()));
    let mut new = std::fs::File::options().write(true).create_new(true).open(&draft)?;
    let written = writeln!(new, "{port}").and_then(|()| std::fs::rename(&draft, file));
    if written.is_err() {
        let _ = std::fs::remove_file(draft);
    }
    written
}
