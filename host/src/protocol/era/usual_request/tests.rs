use http::HeaderValue;

use super::super::read_places::ReadPlaces;
use super::*;
use crate::protocol::era::ladder::{self, Era};
use crate::protocol::jsonrpc::Envelope;

const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1","x":[1]},"progressToken":7,"a/b":"c"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":{"a":[1,"\u00e4"]},"_meta":META}}"#;

fn call() -> String {
    CALL.replace("META", META)
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

const V: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const M: (&str, &str) = ("mcp-method", "tools/call");
const N: (&str, &str) = ("mcp-name", "t");

/// Whether a request is read here, and whether the ladder lets it pass.
fn check(message: &str, pairs: &[(&'static str, &str)]) -> (bool, bool) {
    let headers = headers(pairs);
    let is_read = UsualRequest::of(message.as_bytes(), &headers).is_some();
    let passes = Envelope::parse_strictly(message.as_bytes())
        .is_ok_and(|envelope| matches!(ladder::era(&envelope, &headers), Ok(Era::Modern(_))));
    assert!(passes || !is_read, "{message} {pairs:?}");
    (is_read, passes)
}

#[test]
fn usual_requests_are_read() {
    let whole = call();
    let headers = headers(&[V, M, N, ("accept", "*/*")]);
    let read = UsualRequest::of(whole.as_bytes(), &headers).unwrap();
    assert_eq!(read, UsualRequest { id: "7", method: "tools/call", named: Some("t") });
    let places = ReadPlaces::of(&read, whole.as_bytes()).unwrap();
    let headers = places.within(whole.as_bytes()).unwrap().headers();
    assert!(read.is_repeated_by(&headers) && headers.len() == 3);
}

#[test]
fn members_may_stand_in_any_order() {
    let other = format!(
        r#"{{"method":"resources/read","params":{{"_meta":{META},"uri":"a://b"}},"jsonrpc":"2.0","id":"x-1"}}"#
    );
    let read = [V, ("mcp-method", "resources/read"), ("mcp-name", "a://b")];
    assert_eq!(check(&other, &read), (true, true));
    let list = format!(
        r#"{{"id":-1,"jsonrpc":"2.0","method":"tools/list","params":{{"cursor":"x","_meta":{META}}}}}"#
    );
    let m = ("mcp-method", "tools/list");
    assert_eq!(check(&list, &[V, m]), (true, true));
    assert_eq!(check(&list, &[V, m, N]), (false, true), "a name for what has none");
}

#[test]
fn what_the_ladder_refuses_is_never_read() {
    for (from, to) in [
        ("2026-07-28", "2025-11-25"),
        ("2026-07-28", "2027-01-01"),
        (r#"clientCapabilities":{}"#, r#"clientCapabilities":[]"#),
        (r#"clientCapabilities":{}"#, r#"clientCapabilities":null"#),
        (r#""io.modelcontextprotocol/clientCapabilities":{},"#, ""),
        (r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#, ""),
        (r#""version":"1","#, ""),
        (r#""name":"c","#, r#""name":7,"#),
        (r#""name":"c","#, r#""name":"c","name":"c","#),
        (r#""a/b""#, r#""io.modelcontextprotocol/ProtocolVersion""#),
        (r#""a/b""#, r#""progress_token""#),
        (r#""a/b""#, r#""progressToken""#),
        (r#""progressToken":7"#, r#""progressToken":7.5"#),
        (r#""progressToken":7"#, r#""progressToken":7e0"#),
        (r#""progressToken":7"#, r#""progressToken":true"#),
        (r#""progressToken":7"#, r#""progressToken":[7]"#),
        (r#""progressToken":7"#, r#""progressToken":{}"#),
        (r#""progressToken":7"#, r#""progressToken":"\ud800""#),
        (r#""a/b":"c""#, r#""io.modelcontextprotocol/logLevel":"loud""#),
        (r#""id":7"#, r#""id":7,"id":8"#),
        (r#""id":7"#, r#""id":7.5"#),
        (r#""id":7"#, r#""id":null"#),
        (r#""id":7"#, r#""id":[]"#),
        (r#""id":7"#, r#""id":7,"ID":8"#),
        (r#""id":7"#, r#""id":7,"result":{}"#),
        (r#""id":7,"#, ""),
        (r#""2.0""#, r#""2.1""#),
        (r#""jsonrpc":"2.0","#, ""),
        (r#""name":"t""#, r#""name":"u""#),
        (r#""name":"t""#, r#""name":"t","name":"t""#),
        (r#""arguments":{"#, r#""arguments":{,"#),
        ("tools/call", "tools/list"),
        ("}}}", "}}"),
        ("}}}", "}}}}"),
    ] {
        let other = call().replacen(from, to, 1);
        assert_ne!(other, call(), "{from}");
        assert_eq!(check(&other, &[V, M, N]), (false, false), "{other}");
    }
    let long = call().replace(":7,\"a/b", &format!(":\"{}\",\"a/b", "x".repeat(MAX_ID)));
    assert!(UsualRequest::of_text(&long).is_none());
}

#[test]
fn what_has_to_be_judged_is_left_to_the_ladder() {
    for (from, to) in [
        (r#""name":"t""#, r#""name":"\u0074""#),
        (r#""name":"t""#, r#""name":"t","requestState":"s""#),
        (r#""id":7"#, r#""id":"\u0061""#),
        (r#""id":7"#, r#""id": 7"#),
        (r#""progressToken":7"#, r#""progressToken":null"#),
        (r#""progressToken":7"#, r#""progressToken":"\u0061""#),
        (r#""a/b":"c""#, r#""mooring/conversation":"m1""#),
        (r#""a/b":"c""#, r#""io.modelcontextprotocol/logLevel":"info""#),
    ] {
        let other = call().replacen(from, to, 1);
        assert_eq!(check(&other, &[V, M, N]), (false, true), "{other}");
    }
    let listen = call().replace("tools/call", LISTEN);
    assert_eq!(check(&listen, &[V, ("mcp-method", LISTEN)]), (false, true));
}

#[test]
fn headers_that_say_anything_else_are_left_to_the_ladder() {
    for (pairs, passes) in [
        (&[M, N][..], false),
        (&[V, N], false),
        (&[V, M], false),
        (&[V, V, M, N], false),
        (&[V, M, M, N], false),
        (&[V, M, N, N], false),
        (&[V, M, ("mcp-name", "T")], false),
        (&[V, ("mcp-method", "Tools/call"), N], false),
        (&[("mcp-protocol-version", "2025-11-25"), M, N], false),
        (&[V, M, ("mcp-name", " t")], true),
        (&[V, M, ("mcp-name", "=?base64?dA==?=")], true),
        (&[V, M, N, ("mcp-param-x", "1")], true),
    ] {
        assert_eq!(check(&call(), pairs), (false, passes), "{pairs:?}");
    }
    for name in ["\u{e4}", "=?base64?dA==?=", " t", ""] {
        let other = call().replacen(r#""name":"t""#, &format!(r#""name":"{name}""#), 1);
        let (is_read, passes) = check(&other, &[V, M, ("mcp-name", name)]);
        assert_eq!(is_read, name.is_empty(), "{name:?} {passes}");
    }
}

/// What no list of cases has: messages and headers that are put together by chance, of which most are wrong.
#[test]
fn whatever_is_read_the_ladder_lets_pass() {
    const PIECES: [&str; 40] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "0",
        "7",
        "-",
        ".5",
        "e3",
        "null",
        "true",
        "{}",
        "[]",
        " ",
        "\n",
        "\u{1}",
        "\u{e4}",
        "\\u0061",
        "\\ud800",
        "\"id\":8,",
        "\"ID\":8,",
        "\"method\":\"ping\",",
        "\"name\":\"u\",",
        "\"Name\":\"u\",",
        "\"uri\":\"u\",",
        "\"_meta\":{},",
        "\"result\":{},",
        "\"error\":{},",
        "\"progressToken\":1.5,",
        "\"progress_token\":1,",
        "\"requestState\":\"s\",",
        "\"io.modelcontextprotocol/logLevel\":\"loud\",",
        "\"io.modelcontextprotocol/protocolversion\":1,",
        "\"version\":null,",
        "=?base64?dA==?=",
        "2025-11-25",
    ];
    let mut seed = 11_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let (mut read, whole) = (0, call());
    for _ in 0..60_000 {
        let mut message = whole.clone();
        for _ in 0..next(3) {
            let place = next(message.len() + 1);
            if !message.is_char_boundary(place) {
                continue;
            }
            match next(3) {
                0 => message.insert_str(place, PIECES[next(PIECES.len())]),
                // In place of a member.
                1 => {
                    let rest = &message[place..];
                    let end = rest.find(',').map_or(message.len(), |end| place + end + 1);
                    message.replace_range(place..end, PIECES[next(PIECES.len())]);
                }
                _ => drop(message.pop()),
            }
        }
        let name = ["t", "t", "t", "u", "", " t", "=?base64?dA==?="][next(7)];
        let mut pairs = vec![V, M, ("mcp-name", name)];
        match next(6) {
            0 => drop(pairs.remove(next(3))),
            1 => pairs.push(pairs[next(3)]),
            _ => {}
        }
        read += usize::from(check(&message, &pairs).0);
    }
    assert!(read > 1000, "{read} are too few to say something");
}
