//! The access log: one line for each call, and for each request that was refused before it was one.

use std::time::Duration;

use crate::model::{NodeId, Principal, Scope, ServerName, SessionId, UnixMillis};
use crate::protocol::glance::MethodLabel;

use super::fields::{Fields, Line};
use super::outcome::{CallEnd, CallOutcome, CallSize};

/// One call that has ended.
#[derive(Debug, Clone)]
pub struct AccessEntry {
    /// When it ended.
    pub at: UnixMillis,
    pub principal: Principal,
    pub scope: Scope,
    /// `None` if the gateway has answered by itself.
    pub server: Option<ServerName>,
    pub method: MethodLabel,
    /// The tool, prompt or resource.
    pub target: Option<String>,
    pub session: SessionId,
    /// The node that has answered.
    pub node: Option<NodeId>,
    pub end: CallEnd,
    pub size: CallSize,
}

/// A request of a client that was refused before it was a call.
#[derive(Debug, Clone)]
pub struct RefusedEntry {
    pub at: UnixMillis,
    /// `None` before it is known who asks.
    pub principal: Option<Principal>,
    /// The path, as it was asked for.
    pub path: String,
    pub end: CallEnd,
    /// Bytes of the answer.
    pub sent: u64,
    pub duration: Duration,
}

/// A line of the access log.
#[derive(Debug, Clone)]
pub enum AccessLine {
    Call(AccessEntry),
    Refused(RefusedEntry),
}

impl Line for AccessLine {
    const LOG: &'static str = "access";

    fn tell(&self, fields: &mut Fields<'_>) {
        match self {
            Self::Call(call) => call.tell(fields),
            Self::Refused(refused) => refused.tell(fields),
        }
    }

    fn is_trouble(&self) -> bool {
        match self {
            Self::Call(call) => !matches!(call.end.outcome, CallOutcome::Ok | CallOutcome::Left),
            Self::Refused(_) => true,
        }
    }
}

impl RefusedEntry {
    fn tell(&self, fields: &mut Fields<'_>) {
        fields.time(self.at);
        if let Some(principal) = &self.principal {
            fields.text("principal", principal.as_str());
        }
        fields.text("scope", &self.path);
        end(fields, self.end);
        fields.number("sent", self.sent);
        fields.duration("seconds", self.duration);
    }
}

impl AccessEntry {
    fn tell(&self, fields: &mut Fields<'_>) {
        fields.time(self.at);
        fields.text("principal", self.principal.as_str());
        scope(fields, &self.scope);
        if let Some(server) = &self.server {
            fields.text("server", server.as_str());
        }
        fields.word("method", self.method.as_str());
        if let Some(target) = &self.target {
            fields.text(if self.method.is_tool_call() { "tool" } else { "target" }, target);
        }
        fields.word("session", self.session.short_in(&mut [0; SessionId::TEXT]));
        if let Some(node) = &self.node {
            fields.word("node", node.as_str());
        }
        end(fields, self.end);
        fields.number("received", self.size.received);
        fields.number("sent", self.size.sent);
        fields.duration("seconds", self.size.duration);
    }
}

/// The scope as the path that leads to it.
pub fn scope(fields: &mut Fields<'_>, scope: &Scope) {
    match scope.of_url() {
        Scope::All => fields.word("scope", "/mcp"),
        Scope::Key(_) => fields.text("scope", "/mcp (key)"),
        Scope::Group(group) => fields.joined("scope", ["/mcp/", group.as_str()]),
        Scope::Server(server) => fields.joined("scope", ["/mcp/", server.as_str()]),
        // It is the scope of a URL.
        Scope::Judged(_) => {}
    }
}

/// How a call ended; with an error, who has said so.
pub fn end(fields: &mut Fields<'_>, end: CallEnd) {
    fields.word("outcome", end.outcome.as_str());
    if let Some((emitter, kind)) = end.error {
        fields.word("emitter", emitter.as_str());
        fields.word("error", kind.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error_kind::{Emitter, ErrorKind};
    use crate::telemetry::fields::LineForm;

    #[test]
    fn a_line_says_who_has_called_what_and_how_it_ended() {
        let entry = AccessEntry {
            at: UnixMillis(1_704_103_200_000),
            principal: Principal::named("key a"),
            scope: Scope::All,
            server: ServerName::parse("s").ok(),
            method: MethodLabel::named("tools/call"),
            target: Some("s-echo".to_owned()),
            session: SessionId::from_bytes([0xab; 16]),
            node: NodeId::parse("n1").ok(),
            end: CallEnd::error(-32602),
            size: CallSize { duration: Duration::from_micros(1_000_250), received: 10, sent: 20 },
        };
        let mut line = Vec::new();
        Fields::write(LineForm::Text, &AccessLine::Call(entry.clone()), &mut line);
        let expect = "time=2024-01-01T10:00:00.000Z principal=\"key a\" scope=/mcp server=s \
            method=tools/call tool=s-echo session=abababab node=n1 outcome=error emitter=server \
            error=invalid-params received=10 sent=20 seconds=1.000250\n";
        assert_eq!(String::from_utf8(line).unwrap(), expect);
        let mut line = Vec::new();
        let entry = AccessEntry { scope: Scope::Key(Principal::named("k")), ..entry };
        Fields::write(LineForm::Json, &AccessLine::Call(entry), &mut line);
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["tool"], "s-echo");
        assert_eq!(line["scope"], "/mcp (key)");
        assert_eq!(line["seconds"], 1.00025);
        assert_eq!(line["sent"], 20);
    }

    #[test]
    fn values_with_spaces_have_quotes_and_a_refused_request_says_what_is_known() {
        let refused = RefusedEntry {
            at: UnixMillis(1_704_103_200_000),
            principal: None,
            path: "/mcp/a b\u{1b}=".to_owned(),
            end: CallEnd::refused(Emitter::Gateway, ErrorKind::Session),
            sent: 7,
            duration: Duration::ZERO,
        };
        let mut line = Vec::new();
        Fields::write(LineForm::Text, &AccessLine::Refused(refused), &mut line);
        let expect = "time=2024-01-01T10:00:00.000Z scope=\"/mcp/a b\\\\u{1b}=\" outcome=refused \
            emitter=gateway error=session-not-found sent=7 seconds=0.000000\n";
        assert_eq!(String::from_utf8(line).unwrap(), expect);
        let mut line = Vec::new();
        let key = Scope::Key(Principal::named("k"));
        scope(&mut Fields::of(LineForm::Text, &mut line), &key);
        assert_eq!(String::from_utf8(line).unwrap(), "scope=\"/mcp (key)\"");
    }
}
