//! A request of a client without a session, as one of the gateway's own session with the server.

use bytes::Bytes;

use crate::protocol::era::claim::EraClaim;
use crate::protocol::era::meta;
use crate::protocol::era::tasks;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::Members;
use crate::protocol::methods::CALL;
use crate::protocol::splice;

/// Members of `_meta` that only requests without a session have. A server that speaks both eras would
/// take the request for one of those.
const OF_THE_ERA: [&str; 6] = [
    meta::VERSION,
    meta::CAPABILITIES,
    meta::CLIENT,
    meta::LOG_LEVEL,
    meta::CONVERSATION,
    tasks::TAKEN,
];
/// Whether a member of `params` is nothing that a session has: input for a request that has waited for
/// it, or the wish for a task of 2025-11-25, which only sessions have and clients without do not know. A
/// task takes its input by a request of its own.
fn is_left_out(method: &str, name: &str) -> bool {
    match name {
        "inputResponses" | "requestState" => method != tasks::UPDATE,
        "task" => method == CALL,
        _ => false,
    }
}

const PROGRESS_TOKEN: &str = "progressToken";

/// The message under an id of the gateway's, which is its progress token too: ids of clients without
/// sessions are unique for their sender only. `None` if the message cannot be read.
#[must_use]
pub fn legacy_message(
    message: &Bytes,
    envelope: &Envelope<'_>,
    claim: &EraClaim<'_>,
    id: &str,
) -> Option<Bytes> {
    let own_id = (splice::span(message, envelope.id?)?, id.to_owned());
    let said = Members::of(claim.meta.get())?;
    let kept = said.iter().filter(|(name, _)| !OF_THE_ERA.contains(name)).map(|(name, value)| {
        let value = if name == PROGRESS_TOKEN { id } else { value.get() };
        format!("{}:{value}", splice::quoted(name))
    });
    let meta = format!("{{{}}}", kept.collect::<Vec<_>>().join(","));
    let params = envelope.params?;
    let members = Members::of(params.get())?;
    let is_out = |name: &str| is_left_out(envelope.method(), name);
    let edits = if members.iter().any(|(name, _)| is_out(name)) {
        let kept = members.iter().filter(|(name, _)| !is_out(name));
        let kept = kept.map(|(name, value)| {
            let value = if name == "_meta" { &*meta } else { value.get() };
            format!("{}:{value}", splice::quoted(name))
        });
        let params_of = format!("{{{}}}", kept.collect::<Vec<_>>().join(","));
        vec![own_id, (splice::span(message, params)?, params_of)]
    } else {
        vec![own_id, (splice::span(message, claim.meta)?, meta)]
    };
    Some(splice::edit(message, edits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(params: &str, expect: &str) {
        check_of("m", params, expect);
    }

    fn check_of(method: &str, params: &str, expect: &str) {
        let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
        let params = params.replace("META", meta);
        let message =
            format!(r#"{{ "jsonrpc":"2.0","id":"a","method":"{method}","params":{params}}}"#);
        let message = Bytes::from(message);
        let envelope = Envelope::parse(&message).unwrap();
        let claim = EraClaim::of(envelope.params).unwrap().unwrap();
        let got = legacy_message(&message, &envelope, &claim, "7").unwrap();
        let expect =
            format!(r#"{{ "jsonrpc":"2.0","id":7,"method":"{method}","params":{expect}}}"#);
        assert_eq!(std::str::from_utf8(&got).unwrap(), expect);
    }

    #[test]
    fn only_what_belongs_to_the_era_is_taken_out() {
        check(r#"{"name":"t", "x":1e2,"_meta":{META}}"#, r#"{"name":"t", "x":1e2,"_meta":{}}"#);
        check(
            r#"{"_meta":{"progressToken":"p",META,"traceparent":"00"},"arguments":{"a" : 1.0}}"#,
            r#"{"_meta":{"progressToken":7,"traceparent":"00"},"arguments":{"a" : 1.0}}"#,
        );
        check(
            r#"{"requestState":"s","name":"t","inputResponses":{"1":{}},"_meta":{META}}"#,
            r#"{"name":"t","_meta":{}}"#,
        );
        let wish = r#"{"name":"t","task":{"ttl":1},"_meta":{META,"mooring/tasks":true}}"#;
        check_of("tools/call", wish, r#"{"name":"t","_meta":{}}"#);
        let input = r#"{"taskId":"t","inputResponses":{"1":{}},"_meta":{META}}"#;
        check_of("tasks/update", input, r#"{"taskId":"t","inputResponses":{"1":{}},"_meta":{}}"#);
    }
}
