//! The audit log: who did what, on which server, with which decision and why.

use std::io;
use std::net::IpAddr;

use serde_json::Value;

use crate::model::{NodeId, PolicyRuling, Principal, Scope, ServerName, SessionId, UnixMillis};

use super::access_log::scope;
use super::fields::{Fields, Line};
use super::line_writer::LogCounts;
use super::log::{Log, LogSettings};
use super::otlp::StartExport;
use super::redaction::Pointer;

/// Bytes of a call's arguments that are written; longer ones are left out.
const MAX_ARGUMENTS: usize = 8 * 1024;

/// The settings of the audit log.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    pub log: LogSettings,
    /// Whether the arguments of calls are written, and what of them is left out.
    pub arguments: Option<Vec<Pointer>>,
}

/// What was done, or tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    /// A connection that was refused, or ended, for its certificate.
    Connection,
    /// A request that was not let in, or not served.
    Request,
    /// `initialize`.
    Session,
    /// A tool, a prompt or a resource.
    Call,
    /// The management API, by its own word.
    Manage(&'static str),
}

impl AuditAction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Session => "session",
            Self::Call => "call",
            Self::Manage(what) => what,
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    pub at: UnixMillis,
    pub action: AuditAction,
    /// `None` before it is known who asks.
    pub principal: Option<Principal>,
    pub address: Option<IpAddr>,
    pub scope: Option<Scope>,
    pub server: Option<ServerName>,
    /// The method of the message, or the path of the request.
    pub method: Option<String>,
    /// The tool, prompt, resource or node.
    pub target: Option<String>,
    pub session: Option<SessionId>,
    pub node: Option<NodeId>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why not, or how it ended.
    pub why: String,
    /// What the operator's table of rules says about it; `None` if that was not asked.
    pub ruling: Option<PolicyRuling>,
    /// The limit of requests that it has met.
    pub limit: Option<String>,
    /// The arguments of a call, as JSON.
    pub arguments: Option<String>,
}

impl AuditEntry {
    /// Of an action now; everything else is to be filled in.
    #[must_use]
    pub fn of(action: AuditAction, allowed: bool, why: String) -> Self {
        Self {
            at: UnixMillis::now(),
            action,
            principal: None,
            address: None,
            scope: None,
            server: None,
            method: None,
            target: None,
            session: None,
            node: None,
            allowed,
            why,
            ruling: None,
            limit: None,
            arguments: None,
        }
    }
}

/// The audit log.
#[derive(Debug)]
pub struct AuditLog {
    log: Log<AuditEntry>,
    arguments: Option<Vec<Pointer>>,
}

impl AuditLog {
    /// # Errors
    /// If its file cannot be opened.
    pub fn start(settings: AuditSettings) -> io::Result<(Self, Option<Box<dyn StartExport>>)> {
        let (log, exporter) = Log::start(settings.log)?;
        Ok((Self { log, arguments: settings.arguments }, exporter))
    }

    pub fn add(&self, entry: AuditEntry) {
        self.log.add(entry);
    }

    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.log.counts()
    }

    /// Tells a collector what is waiting, for a bounded time.
    pub async fn flush(&self) {
        self.log.flush().await;
    }

    /// Writes what is waiting, for a bounded time. Blocks.
    pub fn end(&self) {
        self.log.end();
    }

    /// Whether arguments of calls are written.
    #[must_use]
    pub fn wants_arguments(&self) -> bool {
        self.arguments.is_some()
    }

    /// The arguments of a message as they are written; `None` if they are not, or there are none.
    #[must_use]
    pub fn arguments(&self, message: &[u8]) -> Option<String> {
        let redacted = self.arguments.as_ref()?;
        shown(message, redacted)
    }
}

fn shown(message: &[u8], redacted: &[Pointer]) -> Option<String> {
    let left_out = |why: String| Some(Value::from(why).to_string());
    if message.len() > 2 * MAX_ARGUMENTS {
        return left_out(format!("[left out: a message of {} bytes]", message.len()));
    }
    let mut message: Value = serde_json::from_slice(message).ok()?;
    let mut arguments = message.pointer_mut("/params/arguments")?.take();
    redacted.iter().for_each(|pointer| pointer.redact(&mut arguments));
    let text = arguments.to_string();
    if text.len() > MAX_ARGUMENTS {
        return left_out(format!("[left out: {} bytes]", text.len()));
    }
    Some(text)
}

impl Line for AuditEntry {
    const LOG: &'static str = "audit";

    fn tell(&self, fields: &mut Fields<'_>) {
        fields.time(self.at);
        fields.word("action", self.action.as_str());
        if let Some(principal) = &self.principal {
            fields.text("principal", principal.as_str());
        }
        if let Some(address) = &self.address {
            fields.word("address", &address.to_string());
        }
        if let Some(of) = &self.scope {
            scope(fields, of);
        }
        for (name, value) in [
            ("server", self.server.as_ref().map(ServerName::as_str)),
            ("method", self.method.as_deref()),
            ("target", self.target.as_deref()),
            ("node", self.node.as_ref().map(NodeId::as_str)),
        ] {
            if let Some(value) = value {
                fields.text(name, value);
            }
        }
        if let Some(session) = self.session {
            fields.word("session", session.short_in(&mut [0; SessionId::TEXT]));
        }
        fields.word("decision", if self.allowed { "allowed" } else { "refused" });
        fields.text("why", &self.why);
        if let Some(ruling) = &self.ruling {
            let says = match ruling {
                PolicyRuling::Allowed(_) => "allowed",
                PolicyRuling::Denied(_) => "denied",
                PolicyRuling::Nothing => "no-rule",
            };
            fields.word("policy", says);
        }
        let rule = self.ruling.as_ref().and_then(PolicyRuling::rule);
        for (name, value) in [("rule", rule), ("limit", self.limit.as_deref())] {
            if let Some(value) = value {
                fields.text(name, value);
            }
        }
        if let Some(arguments) = &self.arguments {
            // The JSON of serde_json escapes control characters, but not all that is invisible.
            let arguments = crate::model::visible::json(arguments);
            fields.json("arguments", &arguments);
        }
    }

    fn is_trouble(&self) -> bool {
        !self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::fields::LineForm;

    #[test]
    fn arguments_are_written_without_what_is_redacted() {
        let message =
            br#"{"method":"tools/call","params":{"name":"a","arguments":{"password":"p","n":1}}}"#;
        let pointers = [Pointer::parse("/password").unwrap()];
        assert_eq!(shown(message, &pointers).unwrap(), r#"{"password":"[redacted]","n":1}"#);
        assert_eq!(shown(br#"{"params":{}}"#, &pointers), None);
        let long = format!(r#"{{"params":{{"arguments":"{}"}}}}"#, "x".repeat(MAX_ARGUMENTS));
        assert!(shown(long.as_bytes(), &pointers).unwrap().contains("left out"));
        let longer = format!(r#"{{"params":{{"arguments":"{}"}}}}"#, "x".repeat(9 * MAX_ARGUMENTS));
        assert!(shown(longer.as_bytes(), &pointers).unwrap().contains("left out"));
    }

    #[test]
    fn a_line_says_who_did_what_and_why_not() {
        let entry = AuditEntry {
            address: "192.0.2.1".parse().ok(),
            method: Some("/mcp".to_owned()),
            ..AuditEntry::of(AuditAction::Request, false, "Unauthorized: a key".to_owned())
        };
        let mut line = Vec::new();
        Fields::write(LineForm::Json, &entry, &mut line);
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["action"], "request");
        assert_eq!(line["decision"], "refused");
        assert_eq!(line["address"], "192.0.2.1");
        assert!(line.get("principal").is_none());
        let entry = AuditEntry {
            arguments: Some(r#"{"a":"b c"}"#.to_owned()),
            ..AuditEntry::of(AuditAction::Manage("drain"), true, "ok".to_owned())
        };
        let mut line = Vec::new();
        Fields::write(LineForm::Text, &entry, &mut line);
        let text = String::from_utf8(line).unwrap();
        let expect = r#" action=drain decision=allowed why=ok arguments="{\"a\":\"b c\"}""#;
        assert!(text.trim_end().ends_with(expect), "{text}");
    }
}
