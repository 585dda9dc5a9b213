//! The threads of the data plane.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;

use crate::edge::{self, Listeners, OtherRoutes};
use crate::sync::Signal;

use super::ending::CHILDREN;
use super::parts::Parts;

/// Period of the timer that keeps worker threads from waking themselves: shorter
/// than the timeout of any call.
const PULSE: Duration = Duration::from_millis(500);

/// The running workers.
pub struct Threads {
    /// Each worker holds a sender; the channel closes when the last is done.
    done: mpsc::Receiver<()>,
    /// Ends workers that still have connections.
    cut: Signal,
    handles: Vec<std::thread::JoinHandle<()>>,
    /// What goes with the sockets: the lock of the port, the file of a Unix socket.
    listeners: Listeners,
}

/// Starts one thread per listening socket.
pub fn start(parts: &Arc<Parts>, mut listeners: Listeners) -> anyhow::Result<Threads> {
    listeners.begin().context("cannot listen")?;
    let (alive, done) = mpsc::channel(1);
    let cut = Signal::default();
    let is_cut = cut.watch();
    let mut handles = Vec::new();
    for (index, socket) in std::mem::take(&mut listeners.sockets).into_iter().enumerate() {
        let (parts, alive) = (Arc::clone(parts), alive.clone());
        let mut is_cut = is_cut.clone();
        let run = move || {
            let runtime = match super::runtime() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!("worker {index} cannot start: {error}");
                    return;
                }
            };
            runtime.block_on(async {
                super::keep_a_thread();
                tokio::spawn(pulse());
                let listener = match edge::Listening::from_std(socket) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!("worker {index} cannot listen: {error}");
                        return;
                    }
                };
                let worker = parts.worker(index);
                let routes: Arc<dyn OtherRoutes> = Arc::clone(&parts.routes);
                let serving = edge::serve(worker, listener, routes);
                tokio::select! {
                    () = serving => {}
                    () = is_cut.raised() => {}
                }
                drop(alive);
                // This runtime watches the worker's child processes: it must run until
                // they have ended.
                is_cut.raised().await;
                parts.runner.close_all(parts.control_link.pool()).await;
                let ended = parts.runner.children().all_ended();
                let _ = tokio::time::timeout(CHILDREN, ended).await;
            });
        };
        let handle = std::thread::Builder::new()
            .name(format!("mooring-{index}"))
            .spawn(run)
            .context("cannot start a worker thread")?;
        handles.push(handle);
    }
    Ok(Threads { done, cut, handles, listeners })
}

/// Runs a timer that is due before all others. Tokio makes a system call to wake its
/// own thread for each new timer that is due first; with the pulse, no call's timer is.
async fn pulse() {
    loop {
        tokio::time::sleep(PULSE).await;
    }
}

impl Threads {
    /// Waits for requests in progress, at most `patience`; then cuts them off.
    pub async fn join(mut self, patience: Duration) {
        // As long as a worker listens nobody else gets the port. When none does another process may,
        // while what is under way here ends.
        self.listeners.unlock();
        // Nothing is ever sent: `recv` returns when every worker has dropped its sender.
        let _ = tokio::time::timeout(patience, self.done.recv()).await;
        self.cut.raise();
        let joined = tokio::task::spawn_blocking(move || {
            for handle in self.handles {
                if handle.join().is_err() {
                    tracing::error!("a worker ended with a panic");
                }
            }
        });
        let _ = joined.await;
    }
}
