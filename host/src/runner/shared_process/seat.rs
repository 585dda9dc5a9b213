//! One session's seat at a process that it shares with others. The seat has its own pipe, so ids,
//! streams, timeouts and cancellation concern this session only.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::SessionId;
use crate::runner::channel::pipe::{LostSignal, Pipe};
use crate::runner::channel::queue::Unwritten;
use crate::runner::channel::sink::MessageSink;
use crate::runner::channel::terms::SessionTerms;
use crate::sync::{Signal, Watcher};

use super::lists::CommonLists;
use super::mux::Mux;
use super::subscriptions::SeatId;

pub struct Seat {
    pipe: Arc<Pipe>,
    mux: Arc<Mux>,
    pid: u32,
    /// Raised by `close`; dropping it frees the seat too.
    closing: Signal,
}

impl Seat {
    /// Takes a seat. `None` if the process has ended or is being closed.
    #[must_use]
    pub fn take(mux: &Arc<Mux>, session: SessionId, terms: SessionTerms, pid: u32) -> Option<Self> {
        let terms = SessionTerms { readings: Arc::clone(&mux.readings), ..terms };
        let (pipe, outbox) = Pipe::new(&mux.server, terms);
        let seat = mux.enter(session, &pipe)?;
        let closing = Signal::default();
        let (closed, lost) = (closing.watch(), pipe.lost_signal());
        tokio::spawn(pass_on(Arc::clone(mux), seat, outbox, closed, lost));
        Some(Self { pipe, mux: Arc::clone(mux), pid, closing })
    }

    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// Identifies the process: equal for all its seats, and for no others.
    #[must_use]
    pub fn process(&self) -> *const () {
        Arc::as_ptr(&self.mux).cast()
    }

    /// The server's lists, shared by all seats.
    #[must_use]
    pub fn lists(&self) -> &CommonLists {
        &self.mux.lists
    }

    /// How often the process that its sessions share has ended by itself before.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.mux.restarts.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Frees the seat; the process stays for the others.
    pub fn close(&self) {
        self.closing.raise();
        self.pipe.end();
    }
}

/// Passes the session's messages on, one after the other, until it leaves.
async fn pass_on(
    mux: Arc<Mux>,
    seat: SeatId,
    mut outbox: Unwritten,
    mut closing: Watcher,
    mut lost: LostSignal,
) {
    let passing = async {
        while let Some((message, _room)) = outbox.recv().await {
            mux.ask(seat, message).await;
        }
    };
    tokio::select! {
        () = passing => {}
        () = closing.raised() => {}
        _ = lost.wait_for(Option::is_some) => {}
    }
    mux.leave(seat).await;
}
