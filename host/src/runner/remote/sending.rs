//! A request under way to a Streamable HTTP server, until its response begins.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;

use crate::net::{self, Body, Failure, Unanswered, is_open_stream};
use crate::runner::channel::timeout::Expired;

use super::session::UpstreamSession;
use crate::oauth::source::AccessToken;
use crate::oauth::tokens::NoToken;

/// Waits for a response's head and, unless it is an event stream, for the beginning of its body:
/// some servers send the head long before the answer.
pub struct LateResponse {
    pub(super) session: Arc<UpstreamSession>,
    pub(super) head: net::Sending,
    /// The response whose head has arrived, while its body has not begun.
    pub(super) response: Option<Response<Body>>,
    /// The fetched token that was sent with it.
    pub(super) token: Option<AccessToken>,
}

/// The state of a call after its first second (`OPEN_AFTER`).
pub enum FirstSecond {
    Came(Response<Body>),
    Failed(Failure),
    /// Nothing was sent, or it was refused: there is no access token.
    NoToken(NoToken),
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
            None => {
                let response = ready!(Pin::new(&mut self.head).poll(cx))?;
                self.session.client.received(response, self.session.rules.line)
            }
        };
        if !is_open_stream(&response) {
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
