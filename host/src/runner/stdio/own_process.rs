//! An MCP server that runs as the child process of one session, one message per line on its pipes
//! (2025-11-25, basic/transports, "stdio").

use std::sync::Arc;
use std::time::Duration;

use crate::model::ServerName;
use crate::runner::admission::starts::Starts;
use crate::runner::channel::pipe::Pipe;
use crate::runner::channel::terms::SessionTerms;
use crate::runner::process::child::Child;
use crate::runner::stderr::tail::Tail;

use super::running::{Running, StartedProcess, has_answered};

/// A server process that serves one session.
pub struct Stdio {
    pipe: Arc<Pipe>,
    running: Running,
}

impl Stdio {
    #[must_use]
    pub fn serve(
        server: &ServerName,
        process: StartedProcess,
        terms: SessionTerms,
        starts: &Arc<Starts>,
    ) -> Self {
        let (pipe, outbox) = Pipe::new(server, terms);
        let running = Running::serve(process, &pipe, outbox, starts);
        Self { pipe, running }
    }

    /// The running process.
    #[must_use]
    pub fn running(&self) -> &Running {
        &self.running
    }

    #[must_use]
    pub fn age(&self) -> Duration {
        self.running.age()
    }

    /// Whether the server has answered anything but `initialize`.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        has_answered(&*self.pipe)
    }

    #[must_use]
    pub fn child(&self) -> &Child {
        self.running.child()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    #[must_use]
    pub fn tail(&self) -> &Tail {
        self.running.tail()
    }

    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    pub fn close(&self) {
        self.running.close();
    }
}
