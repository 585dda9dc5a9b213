//! Accepts a worker's connections, until the process leaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::edge::observed::denied_certificate;
use crate::edge::worker::Worker;
use crate::net::is_shortage;
use crate::sync::Seldom;

use super::activity::ConnectionOrder;
use super::lame_duck;
use super::server::{Certified, FIRST_REQUEST, OtherRoutes, Shared, connection};
use super::streams::{Arrived, Listening, OtherStream, on_this_machine};
use super::table::Connected;
use super::tls::{ListenerTls, Secured};

/// Pause after a failed accept; a process that ran out of descriptors must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time between two lines of the log about failed accepts.
const ACCEPT_LINES: Duration = Duration::from_secs(60);

/// Accepts until this process leaves, then waits until every connection has ended. Answers ask
/// clients to close their connections before those are closed, so that no request is on its way on
/// one that closes.
pub async fn serve(mut worker: Worker, listener: Listening, routes: Arc<dyn OtherRoutes>) {
    let mut draining = worker.edge.leaving.watch();
    let metrics = Arc::clone(&worker.edge.metrics);
    let accepting = lame_duck::accepting(worker.edge.leaving.watch(), &metrics);
    let mut accepting = std::pin::pin!(accepting);
    let mut is_leaving = false;
    let (alive, mut all_ended) = tokio::sync::mpsc::channel::<()>(1);
    let connections = Arc::clone(&worker.edge.connections);
    let failures = Seldom::every(ACCEPT_LINES);
    let mut looking = std::pin::pin!(connections.look());
    let before = loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.raised(), if !is_leaving => {
                is_leaving = true;
                connections.leave();
                continue;
            }
            before = &mut accepting => break before,
            () = &mut looking => break 0,
        };
        match accepted {
            Ok((stream, peer)) => {
                worker.keep_up();
                let (worker, routes) = (worker.clone(), Arc::clone(&routes));
                let (draining, alive) = (draining.clone(), alive.clone());
                let connected = connections.enter(peer.ip());
                let shared =
                    Shared { worker, routes, draining, connected, certified: Certified::default() };
                let tls = shared.worker.edge.tls.clone();
                match (stream, tls) {
                    (Arrived::Tcp(stream), None) => tokio::spawn(async move {
                        tcp(shared, stream, peer).await;
                        drop(alive);
                    }),
                    (Arrived::Tcp(stream), Some(tls)) => tokio::spawn(async move {
                        secured(shared, stream, peer, &tls).await;
                        drop(alive);
                    }),
                    (Arrived::Unix(stream), _) => tokio::spawn(async move {
                        let (stream, ends) = (OtherStream::Unix(stream), on_this_machine());
                        connection(shared, stream, (ends, ends)).await;
                        drop(alive);
                    }),
                };
            }
            Err(error) => {
                connections.counts.not_accepted();
                if let Some(others) = failures.line() {
                    tracing::warn!(others, "cannot accept a connection: {error}");
                }
                if is_shortage(&error) {
                    connections.make_room();
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    };
    drop(listener);
    drop(alive);
    tokio::select! {
        () = lame_duck::last_requests(before, &metrics) => {}
        () = &mut looking => {}
    }
    connections.drain();
    // `recv` returns when the last connection has dropped its sender.
    tokio::select! {
        _ = all_ended.recv() => {}
        () = looking => {}
    }
}

async fn tcp(shared: Shared, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    connection(shared, stream, (peer, local)).await;
}

/// A connection to a port that speaks TLS. Some peers may do without.
async fn secured(shared: Shared, stream: TcpStream, peer: SocketAddr, tls: &ListenerTls) {
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let begun = tokio::select! {
        begun = tls.begin(stream, (peer, local)) => begun,
        () = ended(&shared.connected) => return,
    };
    match begun {
        Ok(Secured::Tls(stream, None)) => {
            connection(shared, OtherStream::Tls(stream), (peer, local)).await;
        }
        Ok(Secured::Tls(stream, Some(client))) => {
            let certified = Certified { client: Some(Arc::clone(&client)), process: None };
            let edge = Arc::clone(&shared.worker.edge);
            let shared = Shared { certified, ..shared };
            tokio::select! {
                () = connection(shared, OtherStream::Tls(stream), (peer, local)) => {}
                why = client.distrusted() => {
                    client.say_refused(&peer, &why);
                    denied_certificate::note(&edge, Some(client.principal()), peer.ip(), why);
                }
            }
        }
        Ok(Secured::Cluster(stream, process)) => {
            let certified = Certified { process: Some(Arc::clone(&process)), client: None };
            let edge = Arc::clone(&shared.worker.edge);
            let shared = Shared { certified, ..shared };
            tokio::select! {
                () = connection(shared, OtherStream::Tls(stream), (peer, local)) => {}
                why = process.distrusted() => {
                    process.say_refused(&peer, &why);
                    denied_certificate::note(&edge, None, peer.ip(), why);
                }
            }
        }
        Ok(Secured::Plain(stream)) => connection(shared, stream, (peer, local)).await,
        Err(failed) => {
            tracing::debug!(%peer, "TLS: {}", failed.why);
            if failed.is_denied {
                denied_certificate::note(&shared.worker.edge, None, peer.ip(), failed.why);
            }
        }
    }
}

/// Waits until a connection without a request is to end.
async fn ended(connected: &Connected) {
    let order = std::future::poll_fn(|cx| connected.activity.poll_order(cx));
    if order.await == ConnectionOrder::Drain {
        tokio::time::sleep(FIRST_REQUEST).await;
    }
}
