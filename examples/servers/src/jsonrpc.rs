//! JSON-RPC over stdio: one message per line, replies in any order.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

pub(crate) const PARSE_ERROR: i64 = -32700;
pub(crate) const INVALID_REQUEST: i64 = -32600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
pub(crate) const INTERNAL_ERROR: i64 = -32603;
pub const INVALID_PARAMS: i64 = -32602;
/// The error code for an unknown resource in revisions up to 2025-11-25.
pub const RESOURCE_NOT_FOUND: i64 = -32002;

/// Why a request has no result. The client receives it as a JSON-RPC error.
#[derive(Debug)]
pub struct Failure {
    pub code: i64,
    pub message: String,
}

impl Failure {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

/// A line of input, classified by how to handle it.
pub(crate) enum Incoming {
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notification {
        method: String,
        params: Value,
    },
    /// A response. The server sends no requests, so it is ignored.
    Response,
    Blank,
    /// `id` is null if it could not be read.
    Malformed {
        id: Value,
        failure: Failure,
    },
}

impl Incoming {
    pub(crate) fn parse(line: &[u8]) -> Self {
        if line.trim_ascii().is_empty() {
            return Self::Blank;
        }
        let mut message: Value = match serde_json::from_slice(line) {
            Ok(message) => message,
            Err(error) => {
                return Self::Malformed {
                    id: Value::Null,
                    failure: Failure::new(PARSE_ERROR, error.to_string()),
                };
            }
        };
        let id = message.get("id").cloned();
        let method = message.get("method").and_then(Value::as_str);
        match (id, method.map(str::to_owned)) {
            (Some(id), Some(method)) if id.is_string() || id.is_i64() => {
                Self::Request { id, method, params: message["params"].take() }
            }
            (None, Some(method)) => Self::Notification { method, params: message["params"].take() },
            (Some(_), None) if message.get("result").or(message.get("error")).is_some() => {
                Self::Response
            }
            (id, _) => Self::Malformed {
                id: id.unwrap_or(Value::Null),
                failure: Failure::new(INVALID_REQUEST, "neither a request nor a notification"),
            },
        }
    }
}

/// Writes messages for all calls in flight; a line is written whole or not at all.
pub(crate) struct Outbox<W> {
    out: Mutex<W>,
}

impl<W: Write> Outbox<W> {
    pub(crate) fn new(out: W) -> Self {
        let out = Mutex::new(out);
        Self { out }
    }

    pub(crate) fn reply(&self, id: &Value, outcome: Result<Value, Failure>) -> io::Result<()> {
        self.send(&match outcome {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(Failure { code, message }) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
            }
        })
    }

    fn send(&self, message: &Value) -> io::Result<()> {
        let line = format!("{message}\n");
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// The part of the outbox that a call uses. A notification that cannot be written is dropped: the
/// client is gone, which the main loop notices by itself.
pub(crate) trait Notify: Sync {
    fn notify(&self, method: &str, params: Value);
}

impl<W: Write + Send> Notify for Outbox<W> {
    fn notify(&self, method: &str, params: Value) {
        let _ = self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }
}
