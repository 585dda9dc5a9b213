//! Requests to a collector over gRPC: each is a call with one message, on a connection that is kept.
//!
//! `h2` is spoken directly. A call takes the connection and gives it back once all of the answer was
//! there, so that one that broke, or hangs, is never used again.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use tokio::task::AbortHandle;

use crate::net::{Pool, Target};
use crate::protocol::headers::retry_after;
use crate::sync::Locked;

use super::grpc_status::GrpcStatus;
use super::http_request::may_repeat;
use super::outcome::{ExportReceipt, ExportRefusal, words};

/// Bytes of an answer's message, and of its headers.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_HEADERS: u32 = 16 * 1024;
/// Bytes in front of a message: a flag, and its length.
const PREFIX: usize = 5;
/// What a collector learns of how long an answer is waited for.
const TIMEOUT: HeaderValue = HeaderValue::from_static("10S");
const AGENT: &str = concat!("mooring/", env!("CARGO_PKG_VERSION"));

/// A connection that is kept from one call to the next.
#[derive(Debug, Clone, Default)]
pub struct GrpcChannel(Arc<Locked<Option<Http2Connection>>>);

/// An open connection. Dropping it closes it.
#[derive(Debug)]
struct Http2Connection {
    requests: SendRequest<Bytes>,
    /// Reads and writes.
    task: AbortHandle,
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a call has ended before its answer.
fn told(error: h2::Error) -> String {
    match error.is_library() {
        true => format!("does not speak HTTP/2 as it should: {error}"),
        false => format!("ends the call: {error}"),
    }
}

/// An answer, all of it.
struct GrpcAnswer {
    head: Parts,
    message: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl GrpcChannel {
    /// Sends one request, once.
    ///
    /// # Errors
    /// If it was not taken.
    pub async fn call(
        &self,
        pool: &Pool,
        (target, path): (&Target, &Uri),
        headers: &HeaderMap,
        message: &[u8],
    ) -> Result<ExportReceipt, ExportRefusal> {
        let request = request(target, path, headers).map_err(ExportRefusal::ever)?;
        let message = framed(message).map_err(ExportRefusal::ever)?;
        let mut connection = match self.kept().await {
            Some(connection) => connection,
            None => Http2Connection::open(pool, target).await.map_err(ExportRefusal::now)?,
        };
        let answer = connection.exchange(request, message).await.map_err(ExportRefusal::now)?;
        *self.0.lock() = Some(connection);
        answer.judged()
    }

    /// The connection of the last call, unless the collector has closed it or wants no more calls on it.
    async fn kept(&self) -> Option<Http2Connection> {
        let mut connection = self.0.lock().take()?;
        let ready = poll_fn(|cx| connection.requests.poll_ready(cx)).await;
        ready.is_ok().then_some(connection)
    }
}

impl Http2Connection {
    async fn open(pool: &Pool, target: &Target) -> Result<Self, String> {
        let stream = pool.http2_stream(target).await;
        let stream = stream.map_err(|unreached| format!("is not reached: {}", unreached.why))?;
        let shaken = Builder::new()
            .enable_push(false)
            .max_header_list_size(MAX_HEADERS)
            .handshake(stream)
            .await;
        let (requests, connection) =
            shaken.map_err(|error| format!("does not speak HTTP/2: {error}"))?;
        let task = tokio::spawn(async move {
            // Whoever uses it learns why it has ended.
            let _ = connection.await;
        });
        Ok(Self { requests, task: task.abort_handle() })
    }

    /// Sends a request, and reads the whole answer.
    async fn exchange(
        &mut self,
        request: Request<()>,
        message: Bytes,
    ) -> Result<GrpcAnswer, String> {
        poll_fn(|cx| self.requests.poll_ready(cx)).await.map_err(told)?;
        let (response, mut sending) = self.requests.send_request(request, false).map_err(told)?;
        // It waits here, since it is in memory anyway, until the collector has room for it.
        sending.send_data(message, true).map_err(told)?;
        let (head, mut body) = response.await.map_err(told)?.into_parts();
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(told)?;
            if message.len() + data.len() > MAX_ANSWER {
                return Err(format!("answers with more than {} KiB", MAX_ANSWER >> 10));
            }
            message.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).map_err(told)?;
        }
        let trailers = body.trailers().await.map_err(told)?;
        Ok(GrpcAnswer { head, message, trailers })
    }
}

impl GrpcAnswer {
    fn judged(self) -> Result<ExportReceipt, ExportRefusal> {
        let status = self.trailers.as_ref().and_then(GrpcStatus::of);
        if let Some(status) = status.or_else(|| GrpcStatus::of(&self.head.headers)) {
            status.judged()?;
            return Ok(self.taken());
        }
        let (code, headers) = (self.head.status, &self.head.headers);
        if code != StatusCode::OK {
            // Something in between has answered.
            let wait = retry_after(headers);
            return Err(ExportRefusal {
                may_repeat: may_repeat(code),
                wait,
                why: format!("answers {code}"),
            });
        }
        let kind = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        Err(ExportRefusal::ever(match kind.starts_with(b"application/grpc") {
            true => "answers without a grpc-status".to_owned(),
            false => format!("does not speak gRPC: its answer is {:?}", words(kind)),
        }))
    }

    /// What the message says. One that is compressed was not asked for, and says nothing.
    fn taken(&self) -> ExportReceipt {
        match self.message.split_at_checked(PREFIX) {
            Some(([0, length @ ..], message)) => {
                let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                message.get(..length).map(ExportReceipt::read).unwrap_or_default()
            }
            _ => ExportReceipt::default(),
        }
    }
}

fn request(target: &Target, path: &Uri, headers: &HeaderMap) -> Result<Request<()>, String> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    let scheme = if target.is_tls() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(target.host_header().as_bytes());
    let uri = uri.path_and_query(path.path()).build();
    *request.uri_mut() = uri.map_err(|error| format!("has no usable URL: {error}"))?;
    let sent = request.headers_mut();
    sent.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    sent.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    sent.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    sent.insert(TE, HeaderValue::from_static("trailers"));
    sent.insert("grpc-timeout", TIMEOUT);
    Ok(request)
}

/// A message as it stands in a call: not compressed, with its length in front.
fn framed(message: &[u8]) -> Result<Bytes, String> {
    let length =
        u32::try_from(message.len()).map_err(|_| "is not sent 4 GiB at once".to_owned())?;
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Ok(framed.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], message: &[u8]) -> GrpcAnswer {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        GrpcAnswer { head, message: message.to_vec(), trailers: None }
    }

    #[test]
    fn an_answer_is_judged_by_its_trailers_its_headers_or_what_has_answered_instead() {
        let mut fine = answer(200, &[("content-type", "application/grpc")], b"");
        let trailers = [("grpc-status", "0")].map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        fine.trailers = Some(trailers.into_iter().collect());
        fine.message = framed(b"\x0a\x02\x08\x02").unwrap().to_vec();
        assert_eq!(fine.judged().unwrap().rejected, 2);
        let why = |answer: GrpcAnswer| answer.judged().unwrap_err();
        assert_eq!(why(answer(200, &[("grpc-status", "14")], b"")).why, "answers UNAVAILABLE");
        let proxy = why(answer(503, &[("retry-after", "3")], b""));
        assert_eq!((proxy.may_repeat, proxy.wait.map(|wait| wait.as_secs())), (true, Some(3)));
        assert!(!why(answer(404, &[], b"")).may_repeat);
        let page = why(answer(200, &[("content-type", "text/html")], b""));
        assert_eq!(page.why, "does not speak gRPC: its answer is \"text/html\"");
        let none = why(answer(200, &[("content-type", "application/grpc+proto")], b""));
        assert_eq!((none.may_repeat, &*none.why), (false, "answers without a grpc-status"));
    }

    #[test]
    fn a_message_that_is_none_says_nothing() {
        for message in [&b""[..], b"\0\0\0", b"\0\0\0\0\x09\x0a", b"\x01\0\0\0\x02\x0a\0"] {
            assert_eq!(answer(200, &[], message).taken(), ExportReceipt::default(), "{message:?}");
        }
    }
}
