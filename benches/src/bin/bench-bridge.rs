//! The bare HTTP→stdio bridge: the least that any gateway must spend on a stdio server.
//!
//! One child per session, lines forwarded unchanged, answers matched by id. No limits, no
//! isolation, no clean-up, no recovery: a baseline for comparison, not for use.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use clap::Parser;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mooring_benches::listen::{Answer, Listen, json, session_id, status, with_session};
use mooring_benches::minted::Minted;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    listen: Listen,
    /// The stdio server and its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let bridge = Arc::new(Bridge {
        command: options.command,
        minted: Minted::default(),
        sessions: Mutex::default(),
    });
    options.listen.serve(move |request| answer(Arc::clone(&bridge), request))?;
    Ok(())
}

struct Bridge {
    command: Vec<OsString>,
    minted: Minted,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

/// One child: its input, and the requests that wait for an answer, by id (as raw JSON).
struct Session {
    input: tokio::sync::Mutex<ChildStdin>,
    pending: Mutex<HashMap<Box<str>, oneshot::Sender<Bytes>>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

async fn answer(bridge: Arc<Bridge>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let named = session_id(&request).map(|id| lock(&bridge.sessions).get(id).cloned());
    let Ok(body) = request.into_body().collect().await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    match named {
        Some(Some(session)) => session.forward(&body).await,
        Some(None) => status(StatusCode::NOT_FOUND),
        None => match bridge.open() {
            Ok((id, session)) => with_session(session.forward(&body).await, &id),
            Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
        },
    }
}

impl Bridge {
    fn open(&self) -> io::Result<(String, Arc<Session>)> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let session =
            Arc::new(Session { input: tokio::sync::Mutex::new(input), pending: Mutex::default() });
        tokio::spawn(settle(output, Arc::clone(&session)));
        let id = self.minted.mint();
        lock(&self.sessions).insert(id.clone(), Arc::clone(&session));
        Ok((id, session))
    }
}

impl Session {
    async fn forward(&self, body: &[u8]) -> Answer {
        let id = serde_json::from_slice(body).map(|Envelope { id }| id);
        let (Ok(id), None) = (id, memchr::memchr(b'\n', body)) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let answer = id.map(|id| {
            let (settle, answer) = oneshot::channel();
            lock(&self.pending).insert(id.get().into(), settle);
            answer
        });
        if self.write(body).await.is_err() {
            return status(StatusCode::BAD_GATEWAY);
        }
        match answer {
            None => status(StatusCode::ACCEPTED),
            Some(answer) => answer.await.map_or_else(|_| status(StatusCode::BAD_GATEWAY), json),
        }
    }

    async fn write(&self, body: &[u8]) -> io::Result<()> {
        let mut line = Vec::with_capacity(body.len() + 1);
        line.extend_from_slice(body);
        line.push(b'\n');
        self.input.lock().await.write_all(&line).await
    }
}

/// Passes each line of the child to the request with its id.
async fn settle(output: ChildStdout, session: Arc<Session>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match output.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => line.pop(),
        };
        let waiting = serde_json::from_slice(&line)
            .ok()
            .and_then(|Envelope { id }| lock(&session.pending).remove(id?.get()));
        if let Some(waiting) = waiting {
            // Fails if the client has left.
            let _ = waiting.send(line.into());
        }
    }
    lock(&session.pending).clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
