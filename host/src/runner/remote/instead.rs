//! What the client of a session at an upstream is answered in its place.

use http::{Response, StatusCode, header};

use crate::net::{Body, Failure, Pool};
use crate::oauth::tokens::NoToken;
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::runner::channel::answer::mark_own;
use crate::runner::channel::mailbox::MailboxRefusal;
use crate::runner::channel::timeout;
use crate::seam::Outcome;
use crate::streams::response as events;

use super::errors;
use super::http::RemoteHttp;
use super::taking;

impl RemoteHttp {
    /// The answer to a request whose response head did not arrive in time.
    pub(super) fn expired(
        &self,
        pool: &Pool,
        request: &Envelope<'_>,
        expired: &timeout::Expired,
    ) -> Response<Body> {
        let text = format!("server {}: {expired}", self.session.server);
        tracing::info!("{text}");
        if let Some(id) = request.id_text() {
            taking::tell(&self.session, pool, jsonrpc::cancelled(id, &text));
        }
        let mut response = events::json(jsonrpc::error(request.id_text(), code::TIMED_OUT, &text));
        mark_own(&mut response, code::TIMED_OUT);
        response
    }

    /// The answer to a request whose stream has ended without one.
    pub(super) fn unanswered(&self, about: &Envelope<'_>) -> Response<Body> {
        let text = format!("server {} has not answered the request", self.session.server);
        let mut response = events::json(jsonrpc::error(about.id_text(), code::INTERNAL, &text));
        mark_own(&mut response, code::INTERNAL);
        *response.status_mut() = events::status_for(about, StatusCode::BAD_GATEWAY);
        response
    }

    /// The answer to a request that the upstream has not run because its session is lost: the edge
    /// opens another session and sends the request again.
    pub(super) fn forgotten(&self, about: &Envelope<'_>) -> Response<Body> {
        let text = format!("server {} has forgotten the session", self.session.server);
        let mut response = events::json(jsonrpc::error(about.id_text(), code::SESSION, &text));
        *response.status_mut() = StatusCode::NOT_FOUND;
        Outcome::UnknownSession.write(response.headers_mut());
        response
    }

    /// The answer to a request that runs already but cannot be adopted into the mailbox.
    pub(super) fn runs_apart(
        &self,
        about: &Envelope<'_>,
        refused: MailboxRefusal,
    ) -> Response<Body> {
        let why = match refused {
            MailboxRefusal::DuplicateId => {
                "a request with this id is still in flight in this session"
            }
            MailboxRefusal::Gone | MailboxRefusal::TooMany => "the session has ended",
        };
        let text = format!("server {}: {why}; this one may have run", self.session.server);
        let mut response = events::json(jsonrpc::error(about.id_text(), code::SERVER_LOST, &text));
        mark_own(&mut response, code::SERVER_LOST);
        if refused == MailboxRefusal::Gone {
            Outcome::Sent.write(response.headers_mut());
        }
        response
    }

    /// The answer to what could not be sent for want of a token. The session goes on: it is another
    /// server that has failed.
    pub(super) fn without_token(&self, about: &Envelope<'_>, why: &NoToken) -> Response<Body> {
        let text = format!("server {}: {why}; the request has not run", self.session.server);
        let mut response = events::json(jsonrpc::error(about.id_text(), code::UNAVAILABLE, &text));
        mark_own(&mut response, code::UNAVAILABLE);
        let after = headers::whole_seconds(why.after);
        response.headers_mut().insert(header::RETRY_AFTER, after);
        *response.status_mut() = events::status_for(about, StatusCode::BAD_GATEWAY);
        response
    }

    pub(super) fn unreachable(&self, envelope: &Envelope<'_>, failure: &Failure) -> Response<Body> {
        let outcome = match failure {
            Failure::NotSent(_) | Failure::Short(_) => Outcome::NotSent,
            Failure::Broken(_) => Outcome::Sent,
        };
        self.session.errors.note_unreached();
        let text = errors::unreachable(&self.session.server, failure);
        let mut response =
            events::json(jsonrpc::error(envelope.id_text(), code::SERVER_LOST, &text));
        // What was not sent is refused by the edge, which counts it.
        if outcome == Outcome::Sent {
            mark_own(&mut response, code::SERVER_LOST);
        }
        *response.status_mut() = events::status_for(envelope, StatusCode::BAD_GATEWAY);
        outcome.write(response.headers_mut());
        response
    }
}
