//! An MCP server as a child process: one message a line on its pipes
//! (2025-11-25, basic/transports, "stdio").

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::watch;

use crate::model::ServerName;
use crate::protocol::jsonrpc::Envelope;
use crate::seam::Body;

use super::child::{Child, Children, Program, StartError};
use super::inbox::Outbox;
use super::pipe::{LostSignal, Pipe, Rules, Taker};

/// Time for what a process wrote before it ended.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(200);
/// First buffer of the reader; it grows to what a line needs.
const READ_BUFFER: usize = 8 * 1024;
/// A stderr line is cut here.
const STDERR_LINE: usize = 4 * 1024;
/// Stderr lines of one child that reach the log, in `STDERR_WINDOW`.
const STDERR_LINES: u32 = 50;
const STDERR_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

/// A child, and the tasks at its pipes.
pub struct Process {
    child: Arc<Child>,
    closing: watch::Sender<bool>,
}

impl Process {
    /// Starts the child; its pipes are served on the calling worker.
    pub async fn start<T: Taker>(
        program: &Program,
        children: &Children,
        taker: &Arc<T>,
        outbox: Outbox,
    ) -> Result<Self, StartError> {
        let (child, pipes) = Child::start(program, children).await?;
        let child = Arc::new(child);
        let closing = watch::Sender::new(false);
        let (server, pid) = (taker.server().clone(), child.pid);
        tracing::debug!(server = %server, pid, "server started");
        tokio::spawn(write(
            Arc::downgrade(taker),
            pipes.stdin,
            outbox,
            closing.subscribe(),
            Arc::downgrade(&child),
        ));
        tokio::spawn(drain_stderr(server, pid, pipes.stderr));
        tokio::spawn(read(Arc::clone(taker), Arc::downgrade(&child), pipes.stdout));
        Ok(Self { child, closing })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Closes the server's stdin; what follows is in `child`.
    pub fn close(&self) {
        self.closing.send_replace(true);
        self.child.end();
    }
}

/// A process for one session.
pub struct Stdio {
    pipe: Arc<Pipe>,
    process: Process,
}

impl Stdio {
    pub async fn start(
        server: &ServerName,
        program: &Program,
        rules: Rules,
        children: &Children,
    ) -> Result<Self, StartError> {
        let (pipe, outbox) = Pipe::new(server, rules);
        let process = Process::start(program, children, &pipe, outbox).await?;
        Ok(Self { pipe, process })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    #[must_use]
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        self.pipe.lost_signal()
    }

    pub fn close(&self) {
        self.process.close();
    }

    /// Sends one message; a request is answered by the response this gives.
    pub async fn post(
        &self,
        message: Bytes,
        envelope: &Envelope<'_>,
        takes_events: bool,
    ) -> Response<Body> {
        self.pipe.post(message, envelope, takes_events).await
    }

    pub fn listen(&self, last_event_id: Option<&HeaderValue>) -> Response<Body> {
        self.pipe.listen(last_event_id)
    }
}

/// The one writer of a child's stdin. Ends, and so closes it, when the instance
/// is closed.
async fn write<T: Taker>(
    taker: std::sync::Weak<T>,
    mut stdin: ChildStdin,
    mut outbox: Outbox,
    mut closing: watch::Receiver<bool>,
    child: std::sync::Weak<Child>,
) {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    loop {
        let first = tokio::select! {
            message = outbox.recv() => message,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        let Some((first, mut room)) = first else { return };
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
            let rest = buffer.get(written..).unwrap_or_default();
            let unread = if written == 0 { Some(0) } else { memchr::memchr(b'\n', rest) };
            if let Some(taker) = taker.upgrade() {
                taker.unsent(unread.and_then(|at| rest.get(at..)).unwrap_or_default());
            }
            // A server that takes nothing more is of no use; the reader says why.
            if let Some(child) = child.upgrade() {
                child.end();
            }
            return;
        }
        buffer.clear();
        if buffer.capacity() > 16 * READ_BUFFER {
            buffer = BytesMut::with_capacity(READ_BUFFER);
        }
    }
}

/// The error is how much the pipe has taken before it broke.
async fn write_all(stdin: &mut ChildStdin, bytes: &[u8]) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stdin.write(rest).await {
            Ok(0) | Err(_) => return Err(written),
            Ok(more) => written += more,
        }
    }
    Ok(())
}

async fn read<T: Taker>(taker: Arc<T>, child: std::sync::Weak<Child>, mut stdout: ChildStdout) {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    let mut skipping = false;
    let Some(mut exited) = child.upgrade().map(|child| child.exit()) else { return };
    loop {
        let before = buffer.len();
        let read = tokio::select! {
            read = stdout.read_buf(&mut buffer) => read,
            // Somebody who is no child of ours any more may hold the pipe open.
            () = gone(&mut exited) => break,
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let mut searched = before;
        while let Some(at) = memchr::memchr(b'\n', buffer.get(searched..).unwrap_or_default()) {
            let line = buffer.split_to(searched + at + 1);
            searched = 0;
            if std::mem::take(&mut skipping) {
                taker.has_overflown(&line);
                continue;
            }
            let line = trimmed(line.freeze());
            if !line.is_empty() {
                taker.take(line).await;
            }
        }
        if buffer.len() > taker.line() {
            if !skipping {
                let text = format!(
                    "server {} sent a line of more than {} bytes",
                    taker.server(),
                    taker.line()
                );
                tracing::warn!(server = %taker.server(), "{text}");
                taker.overflows(&buffer, &text);
            }
            skipping = true;
            buffer.clear();
        }
        if buffer.is_empty() && buffer.capacity() > 16 * READ_BUFFER {
            buffer = BytesMut::with_capacity(READ_BUFFER);
        }
    }
    taker.end();
    if let Some(child) = child.upgrade() {
        // It may have closed the pipe and stayed.
        child.end();
    }
    let how = match exited.wait_for(Option::is_some).await {
        Ok(how) => how.clone().unwrap_or_default(),
        Err(_) => "was ended".to_owned(),
    };
    taker.is_lost_because(&how);
}

/// Resolves a little after the process has gone: what it wrote last is read first.
async fn gone(exited: &mut watch::Receiver<Option<String>>) {
    let _ = exited.wait_for(Option::is_some).await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Without white space around it and without a byte order mark.
fn trimmed(line: Bytes) -> Bytes {
    let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
    line.slice_ref(text)
}

/// An undrained pipe stops its writer at 64 KiB.
async fn drain_stderr(server: ServerName, pid: u32, stderr: ChildStderr) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut window = (std::time::Instant::now(), 0_u32);
    loop {
        line.clear();
        let mut limited = (&mut reader).take(STDERR_LINE as u64);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if window.0.elapsed() > STDERR_WINDOW {
            window = (std::time::Instant::now(), 0);
        }
        window.1 += 1;
        if window.1 <= STDERR_LINES {
            let text = String::from_utf8_lossy(&line);
            tracing::info!(target: "mooring::server", server = %server, pid, "{}", text.trim_end());
        } else if window.1 == STDERR_LINES + 1 {
            tracing::info!(target: "mooring::server", server = %server, pid, "writes much to stderr: some lines are left out");
        }
    }
}
