//! The one judge of what a server sends in answer to a request.
//!
//! To its client the gateway is the server, so what comes from a server goes on only as what it
//! should be: an answer under the request's id. Whatever else comes becomes the gateway's error
//! under that id, with the first words of what came.
//!
//! | what came | what goes on |
//! |---|---|
//! | an answer with the request's id | the same bytes |
//! | an answer whose id is written otherwise (`"7"` or `7.0` for `7`) | the answer, with the request's id |
//! | an answer with a null beside it (`"error": null`) | the answer without that member |
//! | several messages, in a list or one after the other | the answer among them |
//! | an error without an id, or with one that is no request's | the error, with the request's id |
//! | anything else | the gateway's error |
//! | anything under 401, 403 or 407 | the gateway's error, without a word of what came |

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use crate::model::ServerName;
use crate::model::visible::visible;
use crate::net::{Body, Proxy};
use crate::protocol::answer::{self, AnswerForm, is_answer_to, is_error_object};
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{headers, splice};

use super::message_ids::{is_same_number, other_forms};
use crate::oauth::challenge::{TokenGiven, WantsToken};

/// Bytes that are quoted of what came.
const WORDS: usize = 300;
/// Bytes of a redirect's destination that are shown.
const MAX_PLACE: usize = 200;

/// The head of a response, as far as it decides what its body means.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: StatusCode,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
    /// Where it redirects to, for people.
    place: Option<String>,
    /// The content coding that the gateway does not know.
    coding: Option<String>,
    /// The token that the server wants.
    pub wanted: Option<WantsToken>,
    /// What the proxy wants that has answered in the server's place.
    of_proxy: Option<String>,
}

impl ResponseHead {
    #[must_use]
    pub fn of(response: &Response<Body>) -> Self {
        let (status, headers) = (response.status(), response.headers());
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let place = text(header::LOCATION).filter(|_| status.is_redirection()).map(shown_place);
        let coding = text(header::CONTENT_ENCODING).map(|name| visible(name, 40).to_string());
        let (retry_after, wanted) = (wait(status, headers), WantsToken::of(response));
        Self { status, retry_after, place, coding, wanted, of_proxy: None }
    }

    /// The same, from an upstream that gets such tokens.
    #[must_use]
    pub fn with_token(mut self, given: TokenGiven) -> Self {
        if let Some(wanted) = &mut self.wanted {
            wanted.given = given;
        }
        self
    }

    /// The same, of a response that has come through this proxy.
    #[must_use]
    pub fn through(mut self, proxy: Option<&Proxy>) -> Self {
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            self.of_proxy = proxy.map(Proxy::wants_credentials);
        }
        self
    }
}

/// The `Retry-After` of a server that cannot take a request now.
fn wait(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    is_crowded(status).then(|| headers::retry_after(headers)).flatten()
}

/// Whether the status says that a later request may be taken.
#[must_use]
pub fn is_crowded(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// A redirect's destination without what may be secret: credentials, query and fragment.
fn shown_place(location: &str) -> String {
    let place = location.split(['?', '#']).next().unwrap_or_default();
    let place = match place.split_once("//") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}{path}")
        }
        None => place.to_owned(),
    };
    visible(&place, MAX_PLACE).to_string()
}

/// What goes on to the client: a message with the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// The server's answer.
    Answer(Bytes),
    /// The gateway's error in its place.
    Error(Bytes),
}

impl Judged {
    #[must_use]
    pub fn message(self) -> Bytes {
        match self {
            Self::Answer(message) | Self::Error(message) => message,
        }
    }
}

/// Judges the whole body of a response to the request with this id, as JSON.
#[must_use]
pub fn judge(server: &ServerName, id: &str, head: &ResponseHead, body: &Bytes) -> Judged {
    let body = &body.slice_ref(answer::without_mark(body));
    if !is_about_credentials(head.status)
        && let Some(answer) = answer_in(id, body)
    {
        return Judged::Answer(match &head.retry_after {
            Some(_) => with_data(answer, head),
            None => answer,
        });
    }
    let text = said(server, head, body);
    Judged::Error(match data(head) {
        Some(data) => jsonrpc::error_with(Some(id), code::UNAVAILABLE, &text, &data),
        None => jsonrpc::error(Some(id), code::INTERNAL, &text),
    })
}

/// The answer to the request in this body, with the request's id.
#[must_use]
pub fn answer_in(id: &str, body: &Bytes) -> Option<Bytes> {
    if is_answer_to(body, id) {
        return Some(body.clone());
    }
    if let Ok(Some(batch)) = jsonrpc::batch(body) {
        let parts = batch.into_iter().filter_map(|part| splice::span(body, part));
        let mut answers = parts.filter_map(|span| answer_of_one(id, &body.slice(span), true));
        return answers.next();
    }
    if let Some(several) = answer::several(body) {
        let parts = several.into_iter().filter_map(|part| splice::span(body, part));
        let mut answers = parts.filter_map(|span| answer_of_one(id, &body.slice(span), true));
        return answers.next();
    }
    answer_of_one(id, body, false)
}

/// `of_several`: whether the message has come with others, so that its id is to be believed.
fn answer_of_one(id: &str, message: &Bytes, of_several: bool) -> Option<Bytes> {
    let answer = Envelope::parse(message).ok()?;
    let form = AnswerForm::of(&answer);
    if answer.kind() != Kind::Response || form == AnswerForm::NoError {
        return None;
    }
    let sent = answer.id_text();
    if let Some(written) = answer.id
        && is_same(written.get(), id)
    {
        return match form {
            AnswerForm::WithNull => answer::rewritten(id, &answer),
            _ if sent == Some(id) => Some(message.clone()),
            _ => Some(splice::replace(message, splice::span(message, written)?, id.as_bytes())),
        };
    }
    if of_several && sent.is_some_and(|sent| sent != "null") {
        return None;
    }
    // No other request was sent in this exchange, so that an error can be meant for no other.
    answer.error.filter(|error| is_error_object(error))?;
    answer::rewritten(id, &answer)
}

/// Whether a server means this id, as both are written: some make strings of numbers, others write them as fractions.
#[must_use]
pub fn is_same(written: &str, id: &str) -> bool {
    let plain =
        |id: &str| id.strip_prefix('"').and_then(|id| id.strip_suffix('"')).map(str::to_owned);
    written == id
        || plain(written).as_deref() == Some(id)
        || plain(id).as_deref() == Some(written)
        || other_forms(written).any(|form| form == id)
        || is_same_number(written, id)
}

/// The members that a program reads of a server that cannot take a request now.
fn data(head: &ResponseHead) -> Option<String> {
    let after = head.retry_after?.as_secs();
    Some(format!("{{\"status\":{},\"retryAfter\":{after}}}", head.status.as_u16()))
}

/// The server's error with the data of [`data`], unless it has some of its own.
fn with_data(answer: Bytes, head: &ResponseHead) -> Bytes {
    let edit = || {
        let error = Envelope::parse(&answer).ok()?.error?;
        let has_data = error.get().contains("\"data\"");
        let member = format!("\"data\":{}", data(head)?);
        if has_data { None } else { splice::insertion(&answer, error, &member) }
    };
    match edit() {
        Some(edit) => splice::edit(&answer, vec![edit]),
        None => answer,
    }
}

/// What the gateway says of a response that is no answer.
#[must_use]
pub fn said(server: &ServerName, head: &ResponseHead, body: &[u8]) -> String {
    format!("server {server} {}", complaint(head, body))
}

/// What a server has done whose response is no answer.
#[must_use]
pub fn complaint(head: &ResponseHead, body: &[u8]) -> String {
    let status = head.status;
    if let Some(wanted) = &head.wanted {
        return format!("needs OAuth ({status}): {}", wanted.advice());
    }
    if let Some(words) = &head.of_proxy {
        return format!("cannot be reached: {words}");
    }
    if is_about_credentials(status) {
        return format!("refuses the gateway's credentials ({status}); check its \"headers\"");
    }
    if let Some(place) = &head.place {
        return format!(
            "redirects ({status}) to {place}, which the gateway does not follow: it follows 307 and \
             308 (and to GET 301, 302 and 303) within one origin, a few times; set the server's url to \
             where it is"
        );
    }
    let begins = match status.is_success() {
        true => format!("answered {status} without an answer to the request"),
        false => format!("answers {status}"),
    };
    match (&head.coding, first_words(body)) {
        (Some(coding), _) => {
            format!("{begins}: its body has the Content-Encoding {coding}, which was not asked for")
        }
        (None, Some(words)) => format!("{begins}: {words}"),
        (None, None) => begins,
    }
}

/// The beginning of a text of a server's, on one line. `None` if there is nothing to read.
#[must_use]
pub fn first_words(body: &[u8]) -> Option<String> {
    // Enough for the words, with some white space between them.
    let head = String::from_utf8_lossy(body.get(..4 * WORDS).unwrap_or(body));
    let mut words = String::new();
    for word in head.split_whitespace() {
        if words.len() > WORDS {
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    (!words.is_empty()).then(|| visible(&words, WORDS).to_string())
}

/// Whether the status is about the gateway's credentials, never the client's: nothing that comes
/// with it goes on.
#[must_use]
pub fn is_about_credentials(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn head(status: u16, pairs: &[(&'static str, &'static str)]) -> ResponseHead {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in pairs {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        ResponseHead::of(&response)
    }

    fn judged(id: &str, head: &ResponseHead, body: &'static str) -> Judged {
        judge(&ServerName::parse("far").unwrap(), id, head, &Bytes::from_static(body.as_bytes()))
    }

    #[track_caller]
    fn answers(id: &str, status: u16, body: &'static str, expect: &str) {
        let expect = Judged::Answer(Bytes::copy_from_slice(expect.as_bytes()));
        assert_eq!(judged(id, &head(status, &[]), body), expect);
    }

    /// The message of the gateway's error.
    #[track_caller]
    fn error(id: &str, head: &ResponseHead, body: &'static str) -> String {
        let Judged::Error(error) = judged(id, head, body) else { panic!("an answer: {body}") };
        let error: serde_json::Value = serde_json::from_slice(&error).unwrap();
        assert_eq!(error["id"].to_string(), id);
        error["error"]["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn an_answer_goes_on_under_the_requests_id() {
        let plain = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
        answers("7", 200, plain, plain);
        answers("7", 400, plain, plain);
        answers("\"7\"", 200, plain, r#"{"jsonrpc":"2.0","id":"7","result":{}}"#);
        answers("7", 200, r#"[{"jsonrpc":"2.0","id":"7","result":{}}]"#, plain);
        for written in ["7.0", "7e0", "70e-1", "\"7.0\""] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{written},"result":{{}}}}"#);
            answers("7", 200, body.leak(), plain);
        }
        let of_text = r#"{"jsonrpc":"2.0","id":"07","result":{}}"#;
        answers("\"07\"", 200, plain, of_text);
        answers("7", 200, "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}", plain);
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":null}"#,
            r#"{"jsonrpc":"2.0","error":null,"id":"7","result":{}}"#,
            r#"[{"result":{},"error":null,"method":null,"jsonrpc":"2.0","id":7}]"#,
        ] {
            answers("7", 200, body, plain);
        }
        let note = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
        let other = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
        for body in [
            format!("{note}\n{other}\n{plain}\n"),
            format!("{plain}{note}"),
            format!("{plain}\r\n{{\"cut"),
        ] {
            answers("7", 200, body.leak(), plain);
        }
        let error = r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#;
        let body = r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":"no"}}"#;
        answers("7", 200, body, error);
        for sent in ["", "\"id\":null,", "\"id\":\"server-error\","] {
            let body = format!(r#"{{"jsonrpc":"2.0",{sent}"error":{{"code":1,"message":"no"}}}}"#);
            let body: &'static str = body.leak();
            let expect = r#"{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":"no"}}"#;
            answers("\"a\"", 400, body, expect);
            answers("\"a\"", 200, body, expect);
        }
    }

    #[test]
    fn what_is_no_answer_becomes_an_error_with_its_first_words() {
        let ok = head(200, &[]);
        for (body, words) in [
            ("Accepted", "Accepted"),
            ("<html>\n  <h1>Bad\u{1b}[31m</h1>", "<html> <h1>Bad\\u{1b}[31m</h1>"),
            (r#"{"jsonrpc":"2.0","id":8,"result":{}}"#, "\"id\":8"),
            (r#"{"jsonrpc":"2.0","result":{}}"#, "\"result\""),
            (r#"{"jsonrpc":"2.0","error":"no"}"#, "\"error\":\"no\""),
            (r#"{"jsonrpc":"2.0","id":7,"error":"out of paper"}"#, "out of paper"),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":"E1","message":"no"}}"#, "E1"),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"message":"no code"}}"#, "no code"),
            (r#"{"jsonrpc":"2.0","id":7.5,"result":{}}"#, "7.5"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, "ping"),
            ("null", "null"),
        ] {
            let text = error("7", &ok, body);
            assert!(text.contains(words) && text.contains("far"), "{text}");
            assert!(!text.contains(['\n', '\u{1b}']), "{text}");
        }
        let long = error("7", &head(500, &[]), "word ".repeat(9999).leak());
        assert!(long.len() < 2 * WORDS && long.starts_with("server far answers 500"), "{long}");
        assert_eq!(error("7", &head(502, &[]), " \n"), "server far answers 502 Bad Gateway");
    }

    #[test]
    fn nothing_that_a_refusal_of_credentials_says_goes_on() {
        for status in [401, 403, 407] {
            for body in [
                "token tok-123",
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"tok-123"}}"#,
            ] {
                let text = error("7", &head(status, &[]), body);
                assert!(!text.contains("tok-123") && text.contains("headers"), "{text}");
            }
        }
    }

    #[test]
    fn a_wait_is_told_to_programs_too() {
        for status in [429, 503] {
            let head = head(status, &[("retry-after", "7")]);
            let Judged::Error(error) = judged("1", &head, "slow down") else { panic!() };
            let error: serde_json::Value = serde_json::from_slice(&error).unwrap();
            let data = serde_json::json!({"status": status, "retryAfter": 7});
            assert_eq!(error["error"]["data"], data);
            assert!(error["error"]["message"].as_str().unwrap().contains("slow down"));
            let own = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}"#;
            let Judged::Answer(answer) = judged("1", &head, own) else { panic!() };
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["error"]["data"], data);
            assert_eq!(answer["error"]["message"], "no");
        }
        assert_eq!(head(500, &[("retry-after", "7")]).retry_after, None);
    }

    #[test]
    fn a_redirect_and_a_coding_are_named() {
        let place = ("location", "https://user:pass@other.example/mcp/?key=secret#x");
        let text = error("1", &head(307, &[place]), "");
        assert!(text.contains("https://other.example/mcp/,"), "{text}");
        assert!(!text.contains("pass") && !text.contains("secret"), "{text}");
        let text = error("1", &head(200, &[("content-encoding", "br")]), "\u{1}\u{2}");
        assert!(text.contains("Content-Encoding br"), "{text}");
    }
}
