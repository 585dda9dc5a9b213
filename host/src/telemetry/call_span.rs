//! What spans of calls say, at the edge and at the runner alike.

use crate::model::ServerName;
use crate::protocol::glance::MethodLabel;

use super::otlp::Attributes;
use super::outcome::{CallEnd, CallOutcome};

/// `tools/call echo`: few names, since tools are few.
#[must_use]
pub fn span_name(method: MethodLabel, target: Option<&str>) -> String {
    match target.filter(|_| matches!(method.as_str(), "tools/call" | "prompts/get")) {
        Some(target) => format!("{} {target}", method.as_str()),
        None => method.as_str().to_owned(),
    }
}

/// What a call is and how it has ended (OpenTelemetry's conventions for MCP, and names of our own).
#[must_use]
pub fn call_attributes(
    method: MethodLabel,
    target: Option<&str>,
    server: Option<&ServerName>,
    end: CallEnd,
) -> Attributes {
    let mut said = Attributes::default();
    said.text("mcp.method.name", method.as_str());
    if let Some(target) = target {
        let name = match method.as_str() {
            "tools/call" => "gen_ai.tool.name",
            "prompts/get" => "gen_ai.prompt.name",
            _ => "mcp.resource.uri",
        };
        said.text(name, target);
    }
    if let Some(server) = server {
        said.text("mooring.server", server.as_str());
    }
    said.text("mooring.outcome", end.outcome.as_str());
    if let Some((emitter, kind)) = end.error {
        said.text("error.type", kind.as_str());
        said.text("mooring.emitter", emitter.as_str());
    }
    if !matches!(end.outcome, CallOutcome::Ok | CallOutcome::Left) {
        said.error = Some(end.outcome.as_str().to_owned());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_says_what_was_called_and_what_went_wrong() {
        let tool = MethodLabel::named("tools/call");
        assert_eq!(span_name(tool, Some("echo")), "tools/call echo");
        assert_eq!(span_name(MethodLabel::named("resources/read"), Some("a:b")), "resources/read");
        let server = ServerName::parse("s").unwrap();
        let said = call_attributes(tool, Some("echo"), Some(&server), CallEnd::error(-32602));
        let names: Vec<_> = said.values.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"gen_ai.tool.name") && names.contains(&"error.type"), "{names:?}");
        assert_eq!(said.error.as_deref(), Some("error"));
        assert_eq!(call_attributes(tool, None, None, CallEnd::OK).error, None);
    }
}
