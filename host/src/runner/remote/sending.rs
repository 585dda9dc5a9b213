//! A request under way to a Streamable HTTP server, until its response begins.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;

use crate::net::{self, Body, Failure, Unanswered};
use crate::protocol::headers;
use crate::runner::channel::timeout::Expired;

/// Waits for a response's head and, if it is JSON, for the beginning of its body: some servers
/// send the head long before the answer.
pub struct LateResponse {
    pub(super) head: net::Sending,
    /// The response whose head has arrived, while its body has not begun.
    pub(super) response: Option<Response<Body>>,
}

/// The state of a call after its first second (`OPEN_AFTER`).
pub enum FirstSecond {
    Came(Response<Body>),
    Failed(Failure),
    /// The configured time limit is over.
    Expired(Expired),
    /// The response is still awaited: see `HttpCall::go_on`.
    Late,
}

impl Future for LateResponse {
    type Output = Result<Response<Body>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match self.response.take() {
            Some(response) => response,
            None => ready!(Pin::new(&mut self.head).poll(cx))?,
        };
        if headers::is_type(response.headers(), headers::JSON) {
            match response.body_mut().poll_begun(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    let failure = Failure::Broken(error.to_string());
                    return Poll::Ready(Err(Unanswered::Failed(failure)));
                }
                Poll::Pending => {
                    self.response = Some(response);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(response))
    }
}
