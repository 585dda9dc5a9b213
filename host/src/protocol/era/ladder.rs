//! Which era a posted message belongs to, and whether its headers say what its body says
//! (2026-07-28, basic/versioning, "Dual-Era Servers"; basic/transports/streamable-http, "Server
//! Validation").

use std::borrow::Cow;

use http::HeaderMap;

use crate::protocol::headers::{METHOD, NAME, PROTOCOL_VERSION};
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::splice::{self, RequestTarget};

use super::claim::{self, EraClaim};
use super::fault::EraFault;
use super::methods::named_by;
use super::{REVISION, field, is_modern};

/// The era of a message.
#[derive(Debug)]
pub enum Era<'a> {
    /// Of a session, or beginning one.
    Legacy,
    /// A request that says itself what others say once for their session.
    Modern(EraClaim<'a>),
    /// A notification of a client without a session.
    ModernNotice,
}

/// Whether the headers name a revision without sessions: any of several values counts.
#[must_use]
pub fn names_modern(headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(PROTOCOL_VERSION).iter();
    named.any(|value| value.to_str().is_ok_and(|text| is_modern(text.trim())))
}

/// The era of one message. The body decides; the headers never change that, but have to agree.
///
/// # Errors
/// If it is a request without a session and cannot be served.
pub fn era<'a>(envelope: &Envelope<'a>, headers: &HeaderMap) -> Result<Era<'a>, EraFault> {
    match envelope.kind() {
        Kind::Response => return Ok(Era::Legacy),
        Kind::Notification => {
            let claims = matches!(EraClaim::of(envelope.params), Ok(Some(_)) | Err(_));
            let is_modern = claims || names_modern(headers);
            return Ok(if is_modern { Era::ModernNotice } else { Era::Legacy });
        }
        Kind::Request => {}
    }
    let begins_session = envelope.method() == crate::protocol::methods::INITIALIZE;
    // Parameters that name something are read once, for that and for what the client says of itself.
    let target = named_by(envelope.method()).and_then(|_| RequestTarget::of(envelope.params));
    let claim = match &target {
        Some(target) => EraClaim::of_meta(target.meta),
        None => EraClaim::of(envelope.params),
    };
    let claim = match claim {
        // What a client of sessions has in `_meta` there is its own affair.
        Err(_) if begins_session => None,
        claim => claim?,
    };
    let Some(claim) = claim else {
        return match (names_modern(headers), begins_session) {
            (false, _) => Ok(Era::Legacy),
            (true, true) => Err(EraFault::Header(
                "MCP-Protocol-Version names a revision without sessions, and initialize begins one"
                    .into(),
            )),
            (true, false) => Err(claim::missing()),
        };
    };
    check_version(&claim, headers)?;
    check_names(envelope, target.as_ref(), headers)?;
    Ok(Era::Modern(claim))
}

fn check_version(claim: &EraClaim<'_>, headers: &HeaderMap) -> Result<(), EraFault> {
    let named = text_of(headers, &PROTOCOL_VERSION, "MCP-Protocol-Version")?;
    if named != claim.version {
        return Err(EraFault::Header(format!(
            "MCP-Protocol-Version is {named:?}, and params._meta says {:?}",
            claim.version
        )));
    }
    if claim.version == REVISION { Ok(()) } else { Err(EraFault::Version(claim.version.clone())) }
}

/// `Mcp-Method`, and `Mcp-Name` where the request names something.
fn check_names(
    envelope: &Envelope<'_>,
    target: Option<&RequestTarget<'_>>,
    headers: &HeaderMap,
) -> Result<(), EraFault> {
    let method = text_of(headers, &METHOD, "Mcp-Method")?;
    if method != envelope.method() {
        let said = envelope.method();
        return Err(EraFault::Header(format!("Mcp-Method is {method:?}, and the method {said:?}")));
    }
    let Some((member, value)) = name_of(envelope, target)? else { return Ok(()) };
    let header = text_of(headers, &NAME, "Mcp-Name")?;
    if header == value {
        return Ok(());
    }
    Err(EraFault::Header(format!("Mcp-Name is {header:?}, and params.{member} {value:?}")))
}

/// What a request names, by the member of its parameters. `None` if its method names nothing, or
/// the member is no text: then its receiver says what is wrong.
fn name_of(
    envelope: &Envelope<'_>,
    target: Option<&RequestTarget<'_>>,
) -> Result<Option<(&'static str, String)>, EraFault> {
    let Some(member) = named_by(envelope.method()) else { return Ok(None) };
    if envelope.params.is_none() {
        return Ok(None);
    }
    let twice = || EraFault::Meta("params has a member twice that counts".into());
    let target = target.ok_or_else(twice)?;
    let raw = match member {
        "uri" => target.uri,
        "taskId" => target.task_id,
        _ => target.name,
    };
    Ok(raw.and_then(splice::string).map(|value| (member, value)))
}

fn text_of<'h>(
    headers: &'h HeaderMap,
    name: &http::HeaderName,
    shown: &str,
) -> Result<Cow<'h, str>, EraFault> {
    let wrong = |why: field::Unreadable| EraFault::Header(format!("{shown} {why}"));
    let value = field::only(headers, name).map_err(wrong)?;
    let value = value.ok_or_else(|| EraFault::Header(format!("{shown} is required")))?;
    field::decoded(value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(body: &str, pairs: &[(&'static str, &str)], expect: Result<&str, i64>) {
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let got = era(&envelope, &headers(pairs)).map_err(|fault| fault.code());
        let got = got.map(|era| match era {
            Era::Legacy => "legacy",
            Era::Modern(_) => "modern",
            Era::ModernNotice => "notice",
        });
        assert_eq!(got, expect, "{body} {pairs:?}");
    }

    fn request(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
    }

    const V: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

    #[test]
    fn the_body_decides_and_the_headers_agree() {
        let list = ("mcp-method", "tools/list");
        let with = request("tools/list", META);
        check(&with, &[V, list], Ok("modern"));
        check(&with, &[V, ("mcp-method", " tools/list ")], Ok("modern"));
        check(&with, &[list], Err(-32020));
        check(&with, &[("mcp-protocol-version", "2025-11-25"), list], Err(-32020));
        check(&with, &[V, V, list], Err(-32020));
        check(&with, &[V], Err(-32020));
        check(&with, &[V, ("mcp-method", "TOOLS/LIST")], Err(-32020));
        check(&with, &[V, list, list], Err(-32020));
        let without = request("tools/list", "");
        check(&without, &[], Ok("legacy"));
        check(&without, &[("mcp-protocol-version", "2025-11-25")], Ok("legacy"));
        check(&without, &[V, list], Err(-32602));
        check(&without, &[("mcp-protocol-version", "2027-01-01")], Err(-32602));
        let other = with.replace("2026-07-28", "v999.0.0");
        check(&other, &[("mcp-protocol-version", "v999.0.0"), list], Err(-32022));
        check(&other, &[V, list], Err(-32020));
        let old = with.replace("2026-07-28", "2025-11-25");
        check(&old, &[("mcp-protocol-version", "2025-11-25"), list], Err(-32022));
    }

    #[test]
    fn what_a_request_names_stands_in_a_header_too() {
        let call = |name: &str| request("tools/call", &format!("\"name\":{name},{META}"));
        let m = ("mcp-method", "tools/call");
        check(&call("\"t\""), &[V, m, ("mcp-name", "t")], Ok("modern"));
        check(&call("\"\\u00e4\""), &[V, m, ("mcp-name", "=?base64?w6Q=?=")], Ok("modern"));
        check(&call("\"t\""), &[V, m, ("mcp-name", "T")], Err(-32020));
        check(&call("\"t\""), &[V, m], Err(-32020));
        check(&call("7"), &[V, m], Ok("modern"));
        let read = request("resources/read", &format!("\"uri\":\"a://b\",{META}"));
        let m = ("mcp-method", "resources/read");
        check(&read, &[V, m, ("mcp-name", "a://b")], Ok("modern"));
        check(&read, &[V, m, ("mcp-name", "a://c")], Err(-32020));
        let get = request("tasks/get", &format!("\"taskId\":\"t1\",{META}"));
        let m = ("mcp-method", "tasks/get");
        check(&get, &[V, m, ("mcp-name", "t1")], Ok("modern"));
        check(&get, &[V, m, ("mcp-name", "t2")], Err(-32020));
        check(&get, &[V, m], Err(-32020));
    }

    #[test]
    fn sessions_begin_and_go_on_as_before() {
        let m = ("mcp-method", "initialize");
        check(&request("initialize", "\"protocolVersion\":\"2026-07-28\""), &[], Ok("legacy"));
        check(&request("initialize", ""), &[V], Err(-32020));
        check(&request("initialize", META), &[V, m], Ok("modern"));
        check(
            &request("initialize", "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":7}"),
            &[],
            Ok("legacy"),
        );
        check(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, &[V], Ok("legacy"));
        let notice = r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#;
        check(notice, &[], Ok("legacy"));
        check(notice, &[V], Ok("notice"));
    }
}
