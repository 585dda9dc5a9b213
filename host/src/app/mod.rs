//! The wiring: configuration → parts → run until a signal → the planned end.
//!
//! All parts meet here and nowhere else. Threads: one for the control runtime (this
//! one), and one worker per core, each with its own accept socket, connections and
//! strategy instances.

mod access;
mod admission;
mod advice;
mod background;
mod capacity;
mod child_env;
mod client_keys;
mod descriptors;
mod ending;
mod identity;
mod node_side;
mod own_files;
mod parts;
mod presence;
mod reload;
mod remote_servers;
mod routes;
mod shared_store;
#[cfg(test)]
mod simulation;
mod strategy_view;
mod summary;
mod telemetry;
mod tls;
mod translate;
mod troubles;
mod worker;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{self, Config, Loaded, open_cluster_warning};
use crate::edge::{self, Listeners};
use crate::model::SessionId;
use crate::model::visible::page;
use crate::sync::Signal;
use crate::telemetry::LogFilter;

use self::advice::{commands, notices};
#[cfg(target_os = "linux")]
use self::ending::hand_over::{Before, Offer, TakenOver};
#[cfg(not(target_os = "linux"))]
use self::ending::no_hand_over::{Before, Offer, TakenOver};
use self::ending::shutdown;
use self::ending::signals::{EndSignals, HangUp};
use self::parts::Parts;
use self::reload::Reloader;

pub use advice::commands::not_found;
pub use advice::notices::of as notices_of;
pub use advice::slow_starts::advice as advice_on_starts;
pub use own_files::unprotected;
pub use reload::ReadSettings;
pub use routes::all as all_routes;
pub use tls::{
    cluster_complaint, complaint as complaint_on_tls, expiring as expiring_certificates,
    readable_keys,
};
pub use translate::{own_program, strategy_options};

/// Longest wait for servers to save their state at the end of the process, and for its files.
const SAVING: Duration = Duration::from_secs(2);

/// How long a thread for what blocks stays without work: as long as the process.
const BLOCKING_REST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a start waits for a port that is in use, and the time between two looks.
const LINGERING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// File that the port is written into once the gateway accepts requests.
    pub port_file: Option<PathBuf>,
    /// Number of data-plane threads; `None` means one per core.
    pub workers: Option<usize>,
    /// Whether to take the sockets over from the gateway that runs with the same data folder and
    /// port.
    pub take_over: bool,
    /// Whether the log is for programs, which then get the summary of the start there.
    pub is_log_json: bool,
}

/// The parts of the process that were there before the settings.
pub struct Surroundings {
    /// Which lines the log has.
    pub log: Arc<dyn LogFilter>,
    /// Reads the settings again.
    pub read: ReadSettings,
}

/// Runs the gateway until SIGTERM or SIGINT. SIGHUP has it read its settings again.
///
/// # Errors
/// If it cannot start: for example, the port is taken or the strategy is refused.
pub fn run(
    loaded: &Loaded,
    options: &RunOptions,
    surroundings: Surroundings,
) -> anyhow::Result<()> {
    let runtime = runtime().context("cannot start the control runtime")?;
    let ended = runtime.block_on(control(loaded, options, surroundings));
    // After a second signal a task may still wait for the workers.
    runtime.shutdown_background();
    ended
}

async fn control(
    loaded: &Loaded,
    options: &RunOptions,
    surroundings: Surroundings,
) -> anyhow::Result<()> {
    // From here on it ends nothing, also while the gateway starts.
    let hang_up = HangUp::watch()?;
    let Surroundings { log, read } = surroundings;
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
    let (listeners, before) = listeners(config, options.take_over, workers)?;
    let address = listeners.address;
    // Those of another process may be more.
    let workers = listeners.sockets.len();
    let shared = listeners.share();
    let (parts, mut background) = Parts::build(config, address, workers, descriptors, log).await?;
    let supervised = parts
        .runner
        .children()
        .supervise(Some(descriptors.inherited), &own_files::all(config))
        .context("cannot start the supervisor of the servers' processes")?;
    let notices = own_files::unprotected(config).into_iter().chain(commands::not_found(config));
    for notice in notices.chain(tls::readable_keys(config)) {
        tracing::warn!("{notice}");
    }
    if let Some(tls) = &parts.edge.tls {
        tokio::spawn(Arc::clone(tls).follow_files());
    }
    let file = listeners.file().map(std::path::Path::to_owned);
    let threads = worker::start(&parts, listeners)?;
    let good_bye = Signal::default();
    let is_good_bye = good_bye.watch();
    let reloads = background.reloads.take();
    let background = background.start(&parts, config, &is_good_bye);
    let reloading = reloads.map(|asked| {
        let reloader = Reloader::new(&parts, read, loaded, address);
        tokio::spawn(reloader.run(asked, hang_up))
    });
    let mut signals = EndSignals::watch()?;
    let summary = summary::of(config, &parts, (address, file.as_deref()), workers);
    // The gateway serves, whether or not somebody reads what it prints.
    if options.is_log_json {
        summary.log();
    } else {
        let _ = write!(std::io::stdout(), "{}", page(&summary.text(), usize::MAX));
    }
    if let Some(file) = &options.port_file {
        write_port(file, address.port())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(before) = before {
        before.serves();
    }
    // A Unix socket has no port, and is not handed over.
    let offer = file.is_none().then(|| offer(config, address.port(), shared)).flatten();
    let is_taken_over = tokio::select! {
        () = signals.next() => false,
        () = taken(offer.as_ref(), &parts, config) => true,
    };
    // What it holds would go on to accept connections.
    drop(offer);
    // A process that ends begins no servers. Those of a trial are killed.
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    let deadline = tokio::time::Instant::now() + config.drain_deadline;
    let seconds = config.drain_deadline.as_secs();
    if is_taken_over {
        tracing::info!("the next process serves: what is under way here gets {seconds} s to end");
    } else {
        tracing::info!(
            "ending: what is under way gets {seconds} s to end; a second signal ends it at once"
        );
    }
    let ending = async {
        if is_taken_over {
            // What is registered is the next process, by the same id.
            parts.retire();
        } else {
            shutdown::quiet(&parts, deadline).await;
            parts.edge.state.save_all(SAVING).await;
            // A node deregisters first, so that its coordinator sends nothing more.
            good_bye.raise();
            background.await;
        }
        parts.edge.leaving.leave();
        threads.join(shutdown::patience(deadline)).await;
        parts.edge.state.states.written(SAVING).await;
        shutdown::end_servers(&parts).await;
        supervised.end().await;
        let telemetry = Arc::clone(&parts.edge.telemetry);
        telemetry.flush().await;
        let _ = tokio::task::spawn_blocking(move || telemetry.end()).await;
    };
    tokio::select! {
        () = ending => {}
        () = signals.next() => tracing::warn!("a second signal: ends at once"),
    }
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

/// Binds the sockets, or takes them over.
fn listeners(
    config: &Config,
    take_over: bool,
    workers: usize,
) -> anyhow::Result<(Listeners, Option<Before>)> {
    let config::Listen { host, port, file, .. } = &config.listen;
    if let Some(config::SocketPlace { path, mode }) = file {
        anyhow::ensure!(!take_over, "--take-over needs a port: a Unix socket is not handed over");
        let bound = edge::listen_at(path, *mode, workers);
        let bound = bound.with_context(|| format!("cannot listen on unix:{}", path.display()))?;
        return Ok((bound, None));
    }
    if take_over {
        anyhow::ensure!(*port != 0, "--take-over needs a fixed port: set PORT");
        let taken = TakenOver::take(&config.data_dir, (host, *port), workers);
        let taken = taken.with_context(|| format!("cannot take over {host}:{port}"))?;
        if let Some(taken) = taken {
            let (listeners, before) = taken.into_parts();
            return Ok((listeners, Some(before)));
        }
        tracing::info!("no gateway with this data folder and port runs: nothing to take over");
    }
    let bound = listen(host, *port, workers).with_context(|| {
        format!("cannot listen on {host}:{port} (PORT and MOORING_HOST choose another address)")
    })?;
    Ok((bound, None))
}

/// Binds the sockets. A process that was killed just now, and is started again at once, has its port
/// for a moment longer.
fn listen(host: &str, port: u16, workers: usize) -> std::io::Result<Listeners> {
    let begun = std::time::Instant::now();
    loop {
        match edge::listen(host, port, workers) {
            Err(error) if is_in_use(&error) && begun.elapsed() < LINGERING => {
                std::thread::sleep(LOOK);
            }
            bound => return bound,
        }
    }
}

fn is_in_use(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrInUse
}

/// Offers the sockets to the next process. Without, this one ends before the next one starts.
fn offer(
    config: &Config,
    port: u16,
    shared: std::io::Result<edge::SharedSockets>,
) -> Option<Offer> {
    let offered = shared.and_then(|shared| Offer::open(&config.data_dir, port, shared));
    offered
        .inspect_err(|error| tracing::info!("the next start cannot take over from this: {error}"))
        .ok()
}

/// Waits until another process has taken over.
async fn taken(offer: Option<&Offer>, parts: &Arc<Parts>, config: &Config) {
    let Some(offer) = offer else { return std::future::pending().await };
    let quiet = || async move {
        // What is under way then ends here all the same.
        let _ = tokio::time::timeout(config.drain_deadline, shutdown::calm(parts)).await;
        // The next process brings back what is in the files.
        parts.edge.state.save_now(SAVING).await;
        parts.edge.state.states.written(SAVING).await;
    };
    offer.taken(quiet).await;
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
