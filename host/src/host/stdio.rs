//! An MCP server as a child process: one message a line on its pipes
//! (2025-11-25, basic/transports, "stdio").

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};

use crate::model::ServerName;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{methods, splice};
use crate::seam::{Body, Outcome};

use super::child::{Child, Children, Program, StartError};
use super::events;
use super::mailbox::{Delivery, Mailbox, Refused};

/// Messages waiting for a server that does not read; then its clients wait.
const WRITE_QUEUE: usize = 256;
/// Time for what a process wrote before it ended.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(200);
/// First buffer of the reader; it grows to what a line needs.
const READ_BUFFER: usize = 8 * 1024;
/// A stderr line is cut here.
const STDERR_LINE: usize = 4 * 1024;
/// Stderr lines of one child that reach the log, in `STDERR_WINDOW`.
const STDERR_LINES: u32 = 50;
const STDERR_WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest line of a server, in bytes.
    pub line: usize,
    /// Requests in flight in one session.
    pub in_flight: usize,
}

/// What every server of a host is run with.
#[derive(Debug, Clone)]
pub struct Means {
    pub limits: Limits,
    pub children: Children,
}

struct Shared {
    server: ServerName,
    mailbox: Mutex<Mailbox>,
    limits: Limits,
    /// Why nothing more comes from the server, once that is so.
    lost: watch::Sender<Option<Arc<str>>>,
    closing: watch::Sender<bool>,
}

/// Becomes the reason when nothing more comes from the server.
pub type LostSignal = watch::Receiver<Option<Arc<str>>>;

pub struct Stdio {
    to_server: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    child: Arc<Child>,
}

impl Stdio {
    /// Starts the child; its pipes are served on the calling worker.
    pub async fn start(
        server: &ServerName,
        program: &Program,
        means: &Means,
    ) -> Result<Self, StartError> {
        let (child, pipes) = Child::start(program, &means.children).await?;
        let child = Arc::new(child);
        let (to_server, messages) = mpsc::channel(WRITE_QUEUE);
        let shared = Arc::new(Shared {
            server: server.clone(),
            mailbox: Mutex::default(),
            limits: means.limits,
            lost: watch::Sender::new(None),
            closing: watch::Sender::new(false),
        });
        let pid = child.pid;
        tracing::debug!(server = %server, pid, "server started");
        tokio::spawn(write(
            pipes.stdin,
            messages,
            shared.closing.subscribe(),
            Arc::downgrade(&child),
        ));
        tokio::spawn(drain_stderr(server.clone(), pid, pipes.stderr));
        tokio::spawn(read(
            Arc::clone(&shared),
            Arc::downgrade(&child),
            to_server.downgrade(),
            pipes.stdout,
        ));
        Ok(Self { to_server, shared, child })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Why the server is gone, if it is.
    #[must_use]
    pub fn lost(&self) -> Option<Arc<str>> {
        self.shared.lost.borrow().clone()
    }

    #[must_use]
    pub fn lost_signal(&self) -> LostSignal {
        self.shared.lost.subscribe()
    }

    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.mailbox(|mailbox| mailbox.is_busy())
    }

    /// Closes the server's stdin; what follows is in `child`.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
        self.child.end();
    }

    /// Sends one message; a request is answered by the response this gives.
    pub async fn post(
        &self,
        message: Bytes,
        envelope: &Envelope<'_>,
        events: bool,
    ) -> Response<Body> {
        let expected = match envelope.kind() {
            Kind::Request => match self
                .mailbox(|mailbox| mailbox.expect(envelope, self.shared.limits.in_flight))
            {
                Ok(messages) => Some(messages),
                Err(Refused::Gone) => return self.not_sent(envelope),
                Err(refused) => return refuse(envelope, refused),
            },
            Kind::Notification | Kind::Response => None,
        };
        let sent = self.to_server.send(splice::on_one_line(message)).await.is_ok();
        if !sent {
            return self.not_sent(envelope);
        }
        if envelope.method() == methods::CANCELLED {
            self.mailbox(|mailbox| mailbox.cancel(envelope));
        }
        let Some(messages) = expected else { return accepted() };
        match events::respond(messages, events).await {
            Some(response) => response,
            None => self.not_answered(envelope),
        }
    }

    /// The GET stream.
    pub fn listen(&self) -> Response<Body> {
        match self.mailbox(Mailbox::listen) {
            Ok(messages) => events::stream(messages, None),
            Err(_) => conflict("another GET stream of this session is open"),
        }
    }

    fn mailbox<T>(&self, with: impl FnOnce(&mut Mailbox) -> T) -> T {
        with(&mut self.shared.mailbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn not_sent(&self, envelope: &Envelope<'_>) -> Response<Body> {
        self.failed(envelope, Outcome::UnknownSession, "has ended; nothing was sent to it")
    }

    fn not_answered(&self, envelope: &Envelope<'_>) -> Response<Body> {
        self.failed(
            envelope,
            Outcome::Sent,
            "has ended while the call was under way; it may have run",
        )
    }

    fn failed(&self, envelope: &Envelope<'_>, outcome: Outcome, what: &str) -> Response<Body> {
        let text = format!("server {} {what}", self.shared.server);
        let error = jsonrpc::error(envelope.id_text(), code::SERVER_LOST, &text);
        let mut response = events::json(error);
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        outcome.write(response.headers_mut());
        response
    }
}

pub fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn conflict(text: &str) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(None, code::TRANSPORT, text));
    *response.status_mut() = StatusCode::CONFLICT;
    response
}

fn refuse(envelope: &Envelope<'_>, refused: Refused) -> Response<Body> {
    let (status, text) = match refused {
        Refused::DuplicateId => {
            (StatusCode::BAD_REQUEST, "a request with this id is still in flight in this session")
        }
        Refused::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, "too many requests in flight in this session")
        }
        Refused::AlreadyListening => (StatusCode::CONFLICT, "already listening"),
        Refused::Gone => (StatusCode::BAD_GATEWAY, "the server has ended"),
    };
    let mut response =
        events::json(jsonrpc::error(envelope.id_text(), code::INVALID_REQUEST, text));
    *response.status_mut() = status;
    response
}

/// The one writer of a child's stdin. Ends, and so closes it, when the instance
/// is dropped.
async fn write(
    mut stdin: ChildStdin,
    mut messages: mpsc::Receiver<Bytes>,
    mut closing: watch::Receiver<bool>,
    child: std::sync::Weak<Child>,
) {
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    loop {
        let first = tokio::select! {
            message = messages.recv() => message,
            _ = closing.wait_for(|closing| *closing) => None,
        };
        let Some(first) = first else { return };
        buffer.extend_from_slice(&first);
        buffer.extend_from_slice(b"\n");
        // What has queued up meanwhile goes out in the same write.
        while buffer.len() < 64 * 1024
            && let Ok(next) = messages.try_recv()
        {
            buffer.extend_from_slice(&next);
            buffer.extend_from_slice(b"\n");
        }
        if stdin.write_all(&buffer).await.is_err() {
            // A server that takes nothing more is of no use; the reader says why.
            if let Some(child) = child.upgrade() {
                child.end();
            }
            return;
        }
        buffer.clear();
    }
}

async fn read(
    shared: Arc<Shared>,
    child: std::sync::Weak<Child>,
    to_server: mpsc::WeakSender<Bytes>,
    mut stdout: ChildStdout,
) {
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
            if !std::mem::take(&mut skipping) {
                take_line(&shared, &to_server, line.freeze()).await;
            }
        }
        if buffer.len() > shared.limits.line {
            if !skipping {
                let text = format!(
                    "server {} sent a line of more than {} bytes",
                    shared.server, shared.limits.line
                );
                tracing::warn!(server = %shared.server, "{text}");
                shared.mailbox.lock().unwrap_or_else(PoisonError::into_inner).fail_all(&text);
            }
            skipping = true;
            buffer.clear();
        }
        if buffer.is_empty() && buffer.capacity() > 16 * READ_BUFFER {
            buffer = BytesMut::with_capacity(READ_BUFFER);
        }
    }
    let text =
        format!("server {} has ended while the call was under way; it may have run", shared.server);
    shared.mailbox.lock().unwrap_or_else(PoisonError::into_inner).end(&text);
    if let Some(child) = child.upgrade() {
        // It may have closed the pipe and stayed.
        child.end();
    }
    let how = match exited.wait_for(Option::is_some).await {
        Ok(how) => how.clone().unwrap_or_default(),
        Err(_) => "was ended".to_owned(),
    };
    let why: Arc<str> = format!("server {} has ended ({how})", shared.server).into();
    shared.lost.send_replace(Some(why));
}

/// Resolves a little after the process has gone: what it wrote last is read first.
async fn gone(exited: &mut watch::Receiver<Option<String>>) {
    let _ = exited.wait_for(Option::is_some).await;
    tokio::time::sleep(LAST_WORDS).await;
}

async fn take_line(shared: &Shared, to_server: &mpsc::WeakSender<Bytes>, line: Bytes) {
    let line = trimmed(line);
    if line.is_empty() {
        return;
    }
    let Ok(envelope) = Envelope::parse(&line) else {
        tracing::debug!(server = %shared.server, bytes = line.len(), "a line that is no message");
        return;
    };
    let delivery = shared
        .mailbox
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .deliver(line.clone(), &envelope);
    match delivery {
        // A client that reads slowly slows its own server down, nobody else's.
        Delivery::To(sink, message) => drop(sink.send(message).await),
        Delivery::Reply(reply) => {
            // A server that does not read must not stop its own reader.
            if let Some(to_server) = to_server.upgrade() {
                let _ = to_server.try_send(reply);
            }
        }
        Delivery::Done => {}
    }
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
