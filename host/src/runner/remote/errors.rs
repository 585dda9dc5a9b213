//! Classifies an upstream's error responses and words them for the client.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;

use crate::model::ServerName;
use crate::net::{Body, Failure};
use crate::protocol::answer::{self, AnswerStart};
use crate::protocol::jsonrpc::{Envelope, Kind, code};
use crate::protocol::lenient::Members;
use crate::runner::channel::judge;

/// Bytes read of a body that is no answer, and for how long: its first words are enough.
const BEGINNING: usize = 64 * 1024;
const BEGINNING_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the rest of a body that may be an answer.
const REST_TIMEOUT: Duration = Duration::from_secs(30);

/// The beginning of a body that is not passed on, as far as it has come in time.
pub async fn beginning(mut body: Body) -> Bytes {
    let mut read = Vec::new();
    read_up_to(BEGINNING, BEGINNING_TIMEOUT, &mut body, &mut read).await;
    read.into()
}

/// The same of a body under a status of failure. One that may be an answer is read as a whole, up to
/// this many bytes: what it is does not depend on its size.
pub async fn beginning_or_answer(mut body: Body, most: usize) -> Bytes {
    let mut read = Vec::new();
    read_up_to(BEGINNING, BEGINNING_TIMEOUT, &mut body, &mut read).await;
    let may_be_answer = read.trim_ascii_start().first() == Some(&b'[')
        || answer::begins(answer::without_mark(&read)) == AnswerStart::Open;
    if read.len() >= BEGINNING && may_be_answer {
        read_up_to(most, REST_TIMEOUT, &mut body, &mut read).await;
    }
    read.into()
}

async fn read_up_to(most: usize, time: Duration, body: &mut Body, read: &mut Vec<u8>) {
    let reading = async {
        while read.len() < most {
            let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await else {
                return;
            };
            if let Ok(data) = frame.into_data() {
                read.extend_from_slice(&data);
            }
        }
    };
    let _ = tokio::time::timeout(time, reading).await;
}

/// Whether the body is a JSON-RPC answer to this request, under whatever status. One that says that
/// the session is lost is not: the server has not processed the request.
#[must_use]
pub fn is_answer(text: &[u8], id: Option<&str>) -> bool {
    let Some(id) = id else { return false };
    Envelope::parse(answer::without_mark(text)).is_ok_and(|answer| {
        answer.kind() == Kind::Response
            && answer.id_text().is_some_and(|sent| judge::is_same(sent, id))
            && !answer.error.is_some_and(|error| tells_of_loss(error.get()))
    })
}

/// Whether an error says that the session is lost: by its code, or by a code that SDKs use for that
/// among others, and its words.
fn tells_of_loss(error: &str) -> bool {
    let error = Members::of(error).unwrap_or_default();
    let code = error.get("code").and_then(|code| code.get().parse::<i64>().ok());
    match code {
        Some(code::SESSION) => true,
        _ if has_no_sessions(code, &error) => true,
        Some(code::INVALID_REQUEST | code::TRANSPORT) => {
            let text = error.text("message").unwrap_or_default();
            text.to_ascii_lowercase().contains("session")
        }
        _ => false,
    }
}

/// Whether an error is that of a server that has no sessions, to a request of one: it has been replaced.
/// It misses what each request says there of itself, or does not serve the revision.
fn has_no_sessions(code: Option<i64>, error: &Members<'_>) -> bool {
    match code {
        Some(code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION) => true,
        Some(code::INVALID_PARAMS) => {
            let text = error.text("message").unwrap_or_default().to_ascii_lowercase();
            let is_about_era = ["io.modelcontextprotocol/", "version", "envelope"];
            text.contains("_meta") && is_about_era.iter().any(|word| text.contains(word))
        }
        _ => false,
    }
}

/// The same of the body of a response that refuses the request.
#[must_use]
pub fn is_of_no_session(status: StatusCode, text: &[u8]) -> bool {
    let error = || Envelope::parse(answer::without_mark(text)).ok()?.error;
    status == StatusCode::BAD_REQUEST
        && error().is_some_and(|error| {
            let error = Members::of(error.get()).unwrap_or_default();
            let code = error.get("code").and_then(|code| code.get().parse::<i64>().ok());
            has_no_sessions(code, &error)
        })
}

/// Whether the response means that the upstream's session is lost. The specification demands 404;
/// some servers send 410, and several 400 and mention the session in the body.
#[must_use]
pub fn is_lost(status: StatusCode, text: &[u8]) -> bool {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => true,
        StatusCode::BAD_REQUEST => {
            let text = String::from_utf8_lossy(text).to_ascii_lowercase();
            text.contains("session") || text.contains("not initialized")
        }
        _ => false,
    }
}

/// The error text for an exchange without a response.
#[must_use]
pub fn unreachable(server: &ServerName, failure: &Failure) -> String {
    match failure {
        Failure::NotSent(why) | Failure::Short(why) => not_sent(server, why),
        Failure::Broken(why) => format!(
            "the connection to server {server} broke while the call was under way; it may have \
             run: {why}"
        ),
    }
}

#[must_use]
pub fn not_sent(server: &ServerName, why: &str) -> String {
    format!("server {server} cannot be reached: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_under_whatever_status() {
        let error = |id: &str, code: i64, text: &str| {
            let error = format!(r#"{{"code":{code},"message":"{text}"}}"#);
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
        };
        for (text, is) in [
            (error("7", -32004, "no such tool"), true),
            (error("\"7\"", -32602, "no such tool"), true),
            (error("7.0", -32602, "params.session is missing"), true),
            (error("7", -32600, "a name is missing"), true),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#.to_owned(), true),
            ("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}".to_owned(), true),
            (error("7", -32001, "gone"), false),
            (error("7", -32600, "Session not found"), false),
            (error("7", -32000, "No valid session ID provided"), false),
            (error("8", -32004, "no such tool"), false),
            (error("null", -32004, "no such tool"), false),
            (error("7", -32022, "Unsupported protocol version"), false),
            (error("7", -32020, "Header mismatch"), false),
            (error("7", -32602, "_meta says no protocol version"), false),
            (error("7", -32602, "params._meta must be an object"), true),
            (error("\"server-error\"", -32600, "Session not found"), false),
            ("<html>".to_owned(), false),
        ] {
            assert_eq!(is_answer(text.as_bytes(), Some("7")), is, "{text}");
        }
        assert!(!is_answer(error("7", 1, "").as_bytes(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_an_answer_is_read_to_its_end() {
        for (begins, is_whole) in
            [("{\"jsonrpc\":\"2.0\",\"x\":\"", true), ("[{", true), ("<p>", false)]
        {
            let (sender, receiver) = tokio::sync::mpsc::channel(8);
            sender.try_send(Bytes::from(format!("{begins}{}", "y".repeat(BEGINNING)))).unwrap();
            sender.try_send(Bytes::from(vec![b'z'; 1000])).unwrap();
            drop(sender);
            let text = beginning_or_answer(Body::Channel(receiver), usize::MAX).await;
            assert_eq!(text.ends_with(b"z"), is_whole, "{begins}");
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(200);
        for _ in 0..200 {
            sender.try_send(Bytes::from(["{\"id\":", &"y".repeat(1000)].concat())).unwrap();
        }
        let text = beginning_or_answer(Body::Channel(receiver), 100_000).await;
        assert!((100_000..110_000).contains(&text.len()));
    }
}
