//! The life of a stdio server: read a line, answer it, stop at the end of input.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, Scope};

use serde_json::{Value, json};

use crate::call::{Call, CallsInFlight, Cancellation};
use crate::example::{Example, Reply, Settings};
use crate::jsonrpc::{
    Failure, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, Incoming, METHOD_NOT_FOUND, Outbox,
};
use crate::tool::{Arguments, Pace, Refusal, Tool};

/// Oldest first; the last one is offered to a client that requests an unknown one.
const PROTOCOL_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", LATEST];
const LATEST: &str = "2025-11-25";
/// Longest input line. A longer one ends the server, so that it cannot exhaust the memory.
const MAX_LINE_BYTES: u64 = 16 << 20;
/// Most slow calls in flight; each has a thread.
const MAX_SLOW_CALLS: usize = 256;

/// The `main` of an example: serves standard input and output.
pub fn run<E: Example>(example: &E) -> ExitCode {
    let (input, output) = (io::stdin().lock(), io::stdout());
    match serve(example, Settings::from_env(), input, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", E::NAME);
            ExitCode::FAILURE
        }
    }
}

/// Serves until the end of input, then cancels what still runs.
pub fn serve<E: Example>(
    example: &E,
    settings: Settings,
    mut input: impl BufRead,
    output: impl Write + Send,
) -> io::Result<()> {
    let server = Server {
        example,
        tools: E::tools(),
        settings,
        outbox: Outbox::new(output),
        calls: CallsInFlight::default(),
    };
    thread::scope(|scope| {
        let ended = server.take_lines(&mut input, scope);
        server.calls.cancel_all();
        ended
    })
}

/// `New ── initialize ──► Open`, and never back.
#[derive(PartialEq, Eq)]
enum Session {
    New,
    Open,
}

struct Server<'a, E, W> {
    example: &'a E,
    tools: Vec<Tool<E>>,
    settings: Settings,
    outbox: Outbox<W>,
    calls: CallsInFlight,
}

impl<E: Example, W: Write + Send> Server<'_, E, W> {
    fn take_lines<'scope>(
        &'scope self,
        input: &mut impl BufRead,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<()> {
        let mut session = Session::New;
        while let Some(line) = read_line(input)? {
            match Incoming::parse(&line) {
                Incoming::Request { id, method, params } => {
                    self.take_request(id, &method, params, &mut session, scope)?;
                }
                Incoming::Notification { method, params } => {
                    if method == "notifications/cancelled" {
                        self.calls.cancel(&params["requestId"]);
                    }
                }
                Incoming::Malformed { id, failure } => self.outbox.reply(&id, Err(failure))?,
                Incoming::Response | Incoming::Blank => {}
            }
        }
        Ok(())
    }

    fn take_request<'scope>(
        &'scope self,
        id: Value,
        method: &str,
        params: Value,
        session: &mut Session,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<()> {
        let outcome = match (method, &*session) {
            ("ping", _) => Ok(json!({})),
            ("initialize", Session::New) => {
                *session = Session::Open;
                Ok(self.initialize(&params))
            }
            ("initialize", Session::Open) => Err(Failure::new(
                INVALID_REQUEST,
                "already initialized: this process serves another session",
            )),
            (_, Session::New) => {
                Err(Failure::new(INVALID_REQUEST, "not initialized: send `initialize` first"))
            }
            ("tools/call", Session::Open) => return self.call_tool(id, params, scope),
            ("tools/list", Session::Open) => {
                let tools = self.tools.iter().map(Tool::listing).collect();
                self.page("tools", tools, &params)
            }
            (_, Session::Open) => match self.example.answer(method, &params) {
                Some(reply) => reply.and_then(|reply| self.finish(reply, &params)),
                None => Err(Failure::new(METHOD_NOT_FOUND, "Method not found")),
            },
        };
        self.outbox.reply(&id, outcome)
    }

    fn initialize(&self, params: &Value) -> Value {
        let wanted = params["protocolVersion"].as_str().unwrap_or(LATEST);
        let known = PROTOCOL_VERSIONS.contains(&wanted);
        let mut server_info = json!({"name": E::NAME, "version": env!("CARGO_PKG_VERSION")});
        if let Some(label) = &self.settings.label {
            server_info["title"] = json!(label);
        }
        json!({
            "protocolVersion": if known { wanted } else { LATEST },
            "capabilities": self.example.capabilities(),
            "serverInfo": server_info,
        })
    }

    fn call_tool<'scope>(
        &'scope self,
        id: Value,
        params: Value,
        scope: &'scope Scope<'scope, '_>,
    ) -> io::Result<()> {
        let name = params["name"].as_str().unwrap_or_default();
        let Some(tool) = self.tools.iter().find(|tool| tool.name == name) else {
            let failure = Failure::new(INVALID_PARAMS, format!("Unknown tool: {name}"));
            return self.outbox.reply(&id, Err(failure));
        };
        if tool.pace == Pace::Quick {
            return self.run(tool, &id, &params, Arc::default());
        }
        if self.calls.len() >= MAX_SLOW_CALLS {
            let failure = Failure::new(INTERNAL_ERROR, "too many calls in flight");
            return self.outbox.reply(&id, Err(failure));
        }
        // Entered here and not in the thread: a cancellation on the next line must find it.
        let guard = self.calls.enter(&id);
        scope.spawn(move || {
            // Fails if the client is gone.
            let _ = self.run(tool, &id, &params, Arc::clone(&guard.cancellation));
        });
        Ok(())
    }

    fn run(
        &self,
        tool: &Tool<E>,
        id: &Value,
        params: &Value,
        cancellation: Arc<Cancellation>,
    ) -> io::Result<()> {
        let call = Call {
            outbox: &self.outbox,
            progress_token: params.pointer("/_meta/progressToken").cloned(),
            cancellation,
        };
        let result = match (tool.run)(self.example, Arguments(&params["arguments"]), &call) {
            _ if call.cancellation.is_cancelled() => return Ok(()),
            Err(Refusal::Cancelled) => return Ok(()),
            Ok(answer) => answer.into_result(),
            Err(Refusal::Rejected(why)) => {
                json!({"content": [{"type": "text", "text": why}], "isError": true})
            }
        };
        self.outbox.reply(id, Ok(result))
    }

    fn finish(&self, reply: Reply, params: &Value) -> Result<Value, Failure> {
        match reply {
            Reply::Whole(result) => Ok(result),
            Reply::List(member, entries) => self.page(member, entries, params),
        }
    }

    /// The cursor of a page is the index of its first entry.
    fn page(&self, member: &str, entries: Vec<Value>, params: &Value) -> Result<Value, Failure> {
        let invalid = || Failure::new(INVALID_PARAMS, "invalid cursor");
        let start = match &params["cursor"] {
            Value::Null => 0,
            Value::String(cursor) => cursor.parse().map_err(|_| invalid())?,
            _ => return Err(invalid()),
        };
        let rest = entries.get(start..).ok_or_else(invalid)?;
        let page = &rest[..rest.len().min(self.settings.page.unwrap_or(rest.len()))];
        let mut result = json!({ member: page });
        if page.len() < rest.len() {
            result["nextCursor"] = json!((start + page.len()).to_string());
        }
        Ok(result)
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = input.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if read as u64 == MAX_LINE_BYTES {
        let error = format!("a line is longer than {MAX_LINE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    Ok((read > 0).then_some(line))
}
