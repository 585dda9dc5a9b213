//! The data plane's threads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::edge::{self, Listeners, OtherRoutes};

use super::parts::Parts;

/// Shorter than what any call waits for.
const PULSE: Duration = Duration::from_millis(500);

/// The running workers.
pub struct Threads {
    /// Each worker holds a sender; the channel closes when the last is done.
    done: mpsc::Receiver<()>,
    /// Ends workers that still have connections.
    cut: watch::Sender<bool>,
    handles: Vec<std::thread::JoinHandle<()>>,
    _listeners: Listeners,
}

/// Starts one thread a listener.
pub fn start(
    parts: &Arc<Parts>,
    mut listeners: Listeners,
    draining: &watch::Receiver<bool>,
) -> anyhow::Result<Threads> {
    let (alive, done) = mpsc::channel(1);
    let (cut, is_cut) = watch::channel(false);
    let mut handles = Vec::new();
    for (index, socket) in std::mem::take(&mut listeners.sockets).into_iter().enumerate() {
        let (parts, draining, alive) = (Arc::clone(parts), draining.clone(), alive.clone());
        let mut is_cut = is_cut.clone();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!("worker {index} cannot start: {error}");
                    return;
                }
            };
            runtime.block_on(async {
                tokio::spawn(pulse());
                let listener = match TcpListener::from_std(socket) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!("worker {index} cannot listen: {error}");
                        return;
                    }
                };
                let worker = parts.worker(index);
                let routes: Arc<dyn OtherRoutes> = Arc::clone(&parts.routes);
                let serving = edge::serve(worker, listener, routes, draining);
                tokio::select! {
                    () = serving => {}
                    _ = is_cut.wait_for(|cut| *cut) => {}
                }
                drop(alive);
                // Children of this worker are watched by its runtime: it stays
                // until they have been ended.
                let _ = is_cut.wait_for(|cut| *cut).await;
                parts.host.close_all(parts.control_link.pool()).await;
                let ended = parts.host.children().all_ended();
                let _ = tokio::time::timeout(super::CHILDREN, ended).await;
            });
        };
        let handle = std::thread::Builder::new()
            .name(format!("mooring-{index}"))
            .spawn(run)
            .context("cannot start a worker thread")?;
        handles.push(handle);
    }
    Ok(Threads { done, cut, handles, _listeners: listeners })
}

/// A timer that is due before all others. tokio wakes its own thread, by a system
/// call, for each new timer that is the nearest: with a pulse, no call's is.
async fn pulse() {
    loop {
        tokio::time::sleep(PULSE).await;
    }
}

impl Threads {
    /// Waits for what is under way, at most so long; then ends it.
    pub async fn join(mut self, patience: Duration) {
        // Nothing is ever sent: it resolves when every worker is done.
        let _ = tokio::time::timeout(patience, self.done.recv()).await;
        self.cut.send_replace(true);
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
