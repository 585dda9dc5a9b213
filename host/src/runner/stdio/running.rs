//! The running process behind a pipe: what is written to it, what is read from it, and how
//! it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;

use crate::model::ServerName;
use crate::runner::admission::starts::Starts;
use crate::runner::channel::queue::Unwritten;
use crate::runner::channel::sink::MessageSink;
use crate::runner::process::child::{Child, Children, StartError};
use crate::runner::process::program::{Pipes, Program};
use crate::runner::stderr::drain;
use crate::runner::stderr::journal::Journal;
use crate::runner::stderr::tail::Tail;
use crate::sync::{Signal, Watcher};

use super::lifetime::Lifetime;

/// Time for what a process wrote before it ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// First buffer of the reader; it grows to what a line needs.
pub const READ_BUFFER: usize = 8 * 1024;

/// A child with its stderr read, and nothing said to it yet.
pub struct StartedProcess {
    pub child: Child,
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub tail: Tail,
}

impl StartedProcess {
    /// Starts the child; the calling worker's runtime watches it.
    pub async fn start(
        server: &ServerName,
        program: &Program,
        children: &Children,
        journal: &Journal,
    ) -> Result<Self, StartError> {
        let (child, pipes) = Child::start(program, children).await?;
        let Pipes { stdin, stdout, stderr } = pipes;
        let tail = Tail::default();
        tracing::debug!(server = %server, pid = child.pid, "server started");
        let drain = drain::drain(server.clone(), child.pid, stderr, tail.clone(), journal.clone());
        tokio::spawn(drain);
        Ok(Self { child, stdin, stdout, tail })
    }
}

/// Whether anything but `initialize` was answered.
pub fn has_answered(sink: &impl MessageSink) -> bool {
    sink.answers() > 1
}

/// A child whose pipes are served.
pub struct Running {
    child: Arc<Child>,
    closing: Signal,
    lifetime: Arc<Lifetime>,
}

impl Running {
    /// Serves the child's pipes on the calling worker.
    #[must_use]
    pub fn serve<T: MessageSink>(
        process: StartedProcess,
        sink: &Arc<T>,
        outbox: Unwritten,
        starts: &Arc<Starts>,
    ) -> Self {
        let StartedProcess { child, stdin, stdout, tail } = process;
        let child = Arc::new(child);
        let closing = Signal::default();
        let lifetime = Lifetime::begin(sink.server(), starts, tail);
        let over = Signal::default();
        let writer = tokio::spawn(write(
            Arc::downgrade(sink),
            stdin,
            outbox,
            Stops { closing: closing.watch(), over: over.watch() },
            (Arc::downgrade(&child), Arc::clone(&lifetime)),
        ));
        let reading = Reading {
            child: Arc::downgrade(&child),
            lifetime: Arc::clone(&lifetime),
            over,
            writer,
        };
        tokio::spawn(read(Arc::clone(sink), stdout, reading));
        Self { child, closing, lifetime }
    }

    /// The server has answered `initialize`.
    pub fn mark_open(&self) {
        self.lifetime.mark_open();
    }

    #[must_use]
    pub fn age(&self) -> Duration {
        self.lifetime.began().elapsed()
    }

    #[must_use]
    pub fn child(&self) -> &Child {
        &self.child
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// What it wrote to stderr last.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        self.lifetime.tail()
    }

    /// Closes the server's stdin; what follows is in `child`.
    pub fn close(&self) {
        self.lifetime.mark_wanted();
        self.closing.raise();
        self.child.end();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody holds it any more: the end that follows is the gateway's doing.
        self.lifetime.mark_wanted();
    }
}

/// What ends the writer.
pub struct Stops {
    /// The gateway wants the server to end.
    closing: Watcher,
    /// The server says nothing more.
    over: Watcher,
}

/// What the reader ends with.
pub struct Reading {
    child: std::sync::Weak<Child>,
    lifetime: Arc<Lifetime>,
    over: Signal,
    writer: tokio::task::JoinHandle<()>,
}

/// The one writer of a child's stdin. Ends, and so closes it, when the instance
/// is closed.
pub async fn write<T: MessageSink>(
    sink: std::sync::Weak<T>,
    mut stdin: ChildStdin,
    mut outbox: Unwritten,
    mut stops: Stops,
    (child, lifetime): (std::sync::Weak<Child>, Arc<Lifetime>),
) {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    loop {
        let first = tokio::select! {
            biased;
            () = stops.closing.raised() => None,
            () = stops.over.raised() => None,
            message = outbox.recv() => message,
        };
        let Some((first, mut room)) = first else { break };
        buffer.extend_from_slice(&first);
        buffer.extend_from_slice(b"\n");
        // What has queued up meanwhile goes out in the same write.
        while buffer.len() < 64 * 1024
            && let Ok((next, more)) = outbox.try_recv()
        {
            buffer.extend_from_slice(&next);
            buffer.extend_from_slice(b"\n");
            room.merge(more);
        }
        if let Err(written) = write_all(&mut stdin, &buffer).await {
            // Whole lines behind what was written are known to be unread.
            lifetime.mark_over();
            let rest = buffer.get(written..).unwrap_or_default();
            let unread = if written == 0 { Some(0) } else { memchr::memchr(b'\n', rest) };
            if let Some(sink) = sink.upgrade() {
                sink.unsent(unread.and_then(|at| rest.get(at..)).unwrap_or_default());
            }
            // A server that takes nothing more is of no use; the reader says why.
            if let Some(child) = child.upgrade() {
                child.end();
            }
            break;
        }
        buffer.clear();
        if buffer.capacity() > 16 * READ_BUFFER {
            buffer = BytesMut::with_capacity(READ_BUFFER);
        }
    }
    drop(stdin);
    // Not a byte of what still waits has been written; nothing more is taken.
    outbox.close();
    while let Some((unsent, _room)) = outbox.recv().await {
        let Some(sink) = sink.upgrade() else { return };
        sink.unsent(&unsent);
    }
}

/// The error is how much the pipe has taken before it broke.
pub async fn write_all(stdin: &mut ChildStdin, bytes: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stdin.write(rest).await {
            Ok(0) | Err(_) => return Err(written),
            Ok(more) => written += more,
        }
    }
    Ok(())
}

pub async fn read<T: MessageSink>(sink: Arc<T>, mut stdout: ChildStdout, reading: Reading) {
    let Reading { child, lifetime, over, writer } = reading;
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    let mut allocated = buffer.capacity();
    let mut skipping = false;
    let Some(mut exited) = child.upgrade().map(|child| child.exit()) else { return };
    loop {
        let (before, capacity) = (buffer.len(), buffer.capacity());
        let read = tokio::select! {
            read = stdout.read_buf(&mut buffer) => read,
            // Somebody who is no child of ours any more may hold the pipe open.
            () = gone(&mut exited) => break,
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        // What is split off leaves less of the same memory.
        if buffer.capacity() > capacity {
            allocated = buffer.capacity();
        }
        let mut searched = before;
        while let Some(at) = memchr::memchr(b'\n', buffer.get(searched..).unwrap_or_default()) {
            let line = buffer.split_to(searched + at + 1);
            searched = 0;
            if std::mem::take(&mut skipping) {
                sink.overflowed(&line);
                continue;
            }
            let line = trimmed(alone(line, allocated));
            if !line.is_empty() {
                let mut taking = std::pin::pin!(sink.take(line));
                tokio::select! {
                    biased;
                    () = &mut taking => {}
                    () = gone(&mut exited) => {
                        sink.hurry();
                        taking.await;
                    }
                }
            }
        }
        if buffer.len() > sink.line() {
            if !skipping {
                let text = format!(
                    "server {} sent a line of more than {} bytes",
                    sink.server(),
                    sink.line()
                );
                tracing::warn!(server = %sink.server(), "{text}");
                sink.overflows(&buffer, &text);
            }
            skipping = true;
            buffer.clear();
        }
        if buffer.is_empty() && allocated > 16 * READ_BUFFER {
            buffer = BytesMut::with_capacity(READ_BUFFER);
            allocated = buffer.capacity();
        }
    }
    lifetime.mark_over();
    // What was not written yet must not count as perhaps done.
    over.raise();
    let _ = tokio::time::timeout(LAST_WORDS, writer).await;
    sink.end();
    if let Some(child) = child.upgrade() {
        // It may have closed the pipe and stayed.
        child.end();
    }
    let how = match exited.wait_for(Option::is_some).await {
        Ok(how) => how.clone().unwrap_or_default(),
        Err(_) => "was ended".to_owned(),
    };
    lifetime.mark_gone(has_answered(&*sink), &how);
    sink.mark_lost(&how);
}

/// Resolves a little after the process has gone: what it wrote last is read first.
pub async fn gone(exited: &mut watch::Receiver<Option<String>>) {
    let _ = exited.wait_for(Option::is_some).await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// A line that may be kept for long does not keep a buffer in memory that is far
/// larger.
pub fn alone(line: BytesMut, allocated: usize) -> Bytes {
    if allocated > 16 * READ_BUFFER && line.len() < allocated / 16 {
        return Bytes::copy_from_slice(&line);
    }
    line.freeze()
}

/// Without white space around it and without a byte order mark.
pub fn trimmed(line: Bytes) -> Bytes {
    let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
    line.slice_ref(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_line_does_not_hold_a_large_buffer() {
        let mut buffer = BytesMut::with_capacity(100 * READ_BUFFER);
        buffer.extend_from_slice(b"line\n");
        let begins_at = buffer.as_ptr();
        let line = alone(buffer.split_to(5), 100 * READ_BUFFER);
        assert!(line == b"line\n"[..] && line.as_ptr() != begins_at);
        buffer.extend_from_slice(b"line\n");
        let begins_at = buffer.as_ptr();
        assert_eq!(alone(buffer.split_to(5), READ_BUFFER).as_ptr(), begins_at);
    }
}
