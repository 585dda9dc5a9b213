//! One session's place at a process that it shares with others: a pipe of its
//! own, so that ids, streams, timeouts and cancelling are the session's alone.

use std::sync::Arc;

use crate::model::SessionId;
use crate::runner::channel::pipe::{LostSignal, Pipe, Rules};
use crate::runner::channel::queue::Outbox;
use crate::runner::channel::sink::Taker;
use crate::sync::{Signal, Watcher};

use super::id_map::Place;
use super::lists::CommonLists;
use super::mux::Exchange;

pub struct Seat {
    pipe: Arc<Pipe>,
    exchange: Arc<Exchange>,
    pid: u32,
    /// Dropping it frees the place too.
    closing: Signal,
}

impl Seat {
    /// None if the process is gone or about to go.
    #[must_use]
    pub fn take(
        exchange: &Arc<Exchange>,
        session: SessionId,
        rules: Rules,
        pid: u32,
    ) -> Option<Self> {
        let (pipe, outbox) = Pipe::new(&exchange.server, rules);
        let place = exchange.enter(session, &pipe)?;
        let closing = Signal::default();
        let (closed, lost) = (closing.watch(), pipe.lost_signal());
        tokio::spawn(pass_on(Arc::clone(exchange), place, outbox, closed, lost));
        Some(Self { pipe, exchange: Arc::clone(exchange), pid, closing })
    }

    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// What all seats at the same process have in common, and no other has.
    #[must_use]
    pub fn process(&self) -> *const () {
        Arc::as_ptr(&self.exchange).cast()
    }

    /// The lists, which are everybody's.
    #[must_use]
    pub fn lists(&self) -> &CommonLists {
        &self.exchange.lists
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Leaves; the process stays for the others.
    pub fn close(&self) {
        self.closing.raise();
        self.pipe.end();
    }
}

/// Hands over what the session sends, one after the other, until it leaves.
async fn pass_on(
    exchange: Arc<Exchange>,
    place: Place,
    mut outbox: Outbox,
    mut closing: Watcher,
    mut lost: LostSignal,
) {
    let passing = async {
        while let Some((message, _room)) = outbox.recv().await {
            exchange.ask(place, message).await;
        }
    };
    tokio::select! {
        () = passing => {}
        () = closing.raised() => {}
        _ = lost.wait_for(Option::is_some) => {}
    }
    exchange.leave(place).await;
}
