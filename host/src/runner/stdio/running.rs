//! Runs the pipes of a server process: writes its stdin, reads its stdout, and ends it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;

use crate::model::ServerName;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::splice;
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

/// Time to read what a process wrote before it ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Initial size of the reader's buffer in bytes; it grows with the longest line.
pub const READ_BUFFER: usize = 8 * 1024;

/// A child whose stderr is being read, and to which nothing has been written yet.
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

/// Whether the server has answered anything but `initialize`.
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

    /// The last lines that it wrote to stderr.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        self.lifetime.tail()
    }

    /// Closes the server's stdin and starts the shutdown that `child` describes.
    pub fn close(&self) {
        self.lifetime.mark_wanted();
        self.closing.raise();
        self.child.end();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // No session uses it any more: the gateway causes the end that follows.
        self.lifetime.mark_wanted();
    }
}

/// The signals that end the writer.
pub struct Stops {
    /// The gateway wants the server to end.
    closing: Watcher,
    /// The server's stdout is at its end.
    over: Watcher,
}

impl Stops {
    /// Resolves when the first of them is raised.
    async fn raised(mut self) {
        tokio::select! {
            biased;
            () = self.closing.raised() => {}
            () = self.over.raised() => {}
        }
    }
}

/// What the reader needs to end the process.
pub struct Reading {
    child: std::sync::Weak<Child>,
    lifetime: Arc<Lifetime>,
    over: Signal,
    writer: tokio::task::JoinHandle<()>,
}

/// Writes queued messages to a child's stdin; the only writer. Ends, which closes stdin, when the
/// instance is closed or the server's stdout ends.
pub async fn write<T: MessageSink>(
    sink: std::sync::Weak<T>,
    mut stdin: ChildStdin,
    mut outbox: Unwritten,
    stops: Stops,
    (child, lifetime): (std::sync::Weak<Child>, Arc<Lifetime>),
) {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    // Waited for once, and not anew for each message.
    let mut stopped = std::pin::pin!(stops.raised());
    loop {
        let first = tokio::select! {
            biased;
            () = &mut stopped => None,
            message = outbox.recv() => message,
        };
        let Some((first, mut room)) = first else { break };
        splice::push_line(&mut buffer, &first);
        // Messages that are queued by now go out in the same write.
        while buffer.len() < 64 * 1024
            && let Ok((next, more)) = outbox.try_recv()
        {
            splice::push_line(&mut buffer, &next);
            room.merge(more);
        }
        if let Err(written) = write_all(&mut stdin, &buffer).await {
            // Whole lines after the part that was written are certainly unread.
            lifetime.mark_over();
            let rest = buffer.get(written..).unwrap_or_default();
            let unread = if written == 0 { Some(0) } else { memchr::memchr(b'\n', rest) };
            if let Some(sink) = sink.upgrade() {
                sink.unsent(unread.and_then(|at| rest.get(at..)).unwrap_or_default());
            }
            // A server that no longer reads is of no use; the reader reports why it ended.
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
    // No more messages are accepted; of those still queued not a byte has been written.
    outbox.close();
    while let Some((unsent, _room)) = outbox.recv().await {
        let Some(sink) = sink.upgrade() else { return };
        buffer.clear();
        splice::push_line(&mut buffer, &unsent);
        sink.unsent(&buffer);
    }
}

/// Writes all bytes. The error is the number of bytes written before the pipe broke.
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
    // Waited for once, and not anew for each message.
    let mut leaving = std::pin::pin!(gone(exited.clone()));
    loop {
        let (before, capacity) = (buffer.len(), buffer.capacity());
        let read = tokio::select! {
            read = stdout.read_buf(&mut buffer) => read,
            // A process that is no longer below this gateway may hold the pipe open.
            () = &mut leaving => break,
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if exited.borrow().is_some() || exited.has_changed().is_err() {
            // What still comes is read, so long as it comes.
            leaving.set(gone(exited.clone()));
        }
        // Splitting off lines shrinks the capacity, not the allocation.
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
                    () = &mut leaving => {
                        sink.hurry();
                        taking.await;
                        leaving.set(gone(exited.clone()));
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
    // Some end with a last message and no line feed behind it.
    if !skipping && !buffer.is_empty() {
        let line = trimmed(alone(buffer, allocated));
        // Half a message is none: its call is lost with the server.
        if Envelope::parse(&line).is_ok() {
            sink.hurry();
            sink.take(line).await;
        }
    }
    lifetime.mark_over();
    // The writer first reports what it has not written: those calls have certainly not run.
    over.raise();
    let _ = tokio::time::timeout(LAST_WORDS, writer).await;
    sink.end();
    if let Some(child) = child.upgrade() {
        // It may have closed stdout and still run.
        child.end();
    }
    let how = match exited.wait_for(Option::is_some).await {
        Ok(how) => how.clone().unwrap_or_default(),
        Err(_) => "was ended".to_owned(),
    };
    lifetime.mark_gone(has_answered(&*sink), &how);
    sink.mark_lost(&how);
}

/// Resolves `LAST_WORDS` after the process has exited, so that its last output is read first.
async fn gone(mut exited: watch::Receiver<Option<String>>) {
    let _ = exited.wait_for(Option::is_some).await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// The line without its buffer, if the buffer is far larger: a line may be kept for long.
pub fn alone(line: BytesMut, allocated: usize) -> Bytes {
    if allocated > 16 * READ_BUFFER && line.len() < allocated / 16 {
        return Bytes::copy_from_slice(&line);
    }
    line.freeze()
}

/// The line without surrounding white space and without a byte order mark.
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
