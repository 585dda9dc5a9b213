//! Responses that are the same for every transport to a server: the session's GET
//! stream, an acceptance, a refusal.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};

use crate::net::Body;
use crate::protocol::headers::{self, JSON, JSON_VALUE};
use crate::protocol::jsonrpc::{self, Envelope, code};
use crate::protocol::methods::List;
use crate::seam::{Outcome, write_token_refused};
use crate::streams::{EventId, Part, Way, response as events};

use super::answer::{RunnerAnswer, mark_own};
use super::mailbox::{Mailbox, MailboxRefusal};

/// The GET stream of a session, or the rest of the stream that the client resumes.
/// Streams of an earlier instance are gone: the client then gets an error for its
/// request, or notifications that the lists may have changed.
pub fn listen(
    mailbox: &mut Mailbox,
    last_event_id: Option<&HeaderValue>,
    way: Way,
) -> Response<Body> {
    let last = last_event_id.and_then(|id| id.to_str().ok());
    let place = last.and_then(EventId::parse);
    let known = place.as_ref().filter(|place| place.instance == mailbox.instance());
    if let Some(place) = known
        && let Some(stream) = mailbox.published(place.stream)
    {
        let reader = stream.read_after(place.number);
        if reader.has_gap && stream.number == mailbox.unrelated().number {
            say_that_lists_changed(mailbox);
        }
        let tag = mailbox.tag(&stream, place.request.as_deref());
        mailbox.publish(&stream);
        mailbox.put_held(&stream, None);
        return events::event_stream(reader, tag, way);
    }
    if let (Some(place), Some(last)) = (&place, last)
        && let Some(request) = &place.request
    {
        return events::too_late(last, request);
    }
    let stream = Arc::clone(mailbox.unrelated());
    // The newest one is surely alive: an older one may hang in a network that has forgotten it
    // (2025-11-25, basic/transports, "Multiple Connections"). Only the gateway's own return to a
    // stream gives way to it.
    if last == Some(headers::LOST_STREAM) && stream.is_attached() {
        return conflict("another GET stream of this session is open");
    }
    let reader = stream.read_on();
    if last.is_some() || reader.has_gap {
        say_that_lists_changed(mailbox);
    }
    mailbox.publish(&stream);
    events::event_stream(reader, mailbox.tag(&stream, None), way)
}

/// Marks the response to so many messages that a server has refused with the token of their client's
/// user. Of several, others may have run.
pub fn write_refusal(response: &mut Response<Body>, messages: usize) {
    if messages == 1 {
        Outcome::NotSent.write(response.headers_mut());
        write_token_refused(response.headers_mut());
    }
}

/// Marks the response to so many messages as the runner's, which has counted its error.
pub fn mark_settled(response: &mut Response<Body>, messages: usize) {
    if messages == 1 {
        response.extensions_mut().insert(RunnerAnswer);
    }
}

fn say_that_lists_changed(mailbox: &Mailbox) {
    for list in List::NOTIFIED {
        mailbox.unrelated().put(jsonrpc::notification(list.changed()), Part::Notice);
    }
}

/// The response with only those headers that are meant for the client. Its body is the answer,
/// whatever type the upstream has named.
pub fn passed_on(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    if !is_type_alone(headers) {
        let cached = headers.remove(header::CACHE_CONTROL);
        // Cleared, not replaced, to reuse its allocation.
        headers.clear();
        headers.insert(header::CONTENT_TYPE, JSON_VALUE);
        if let Some(cached) = cached {
            headers.insert(header::CACHE_CONTROL, cached);
        }
    }
    *response.status_mut() = StatusCode::OK;
    *response.version_mut() = Version::HTTP_11;
    response.extensions_mut().clear();
    response
}

/// Whether a response has the headers already that it gets here, as most have.
fn is_type_alone(headers: &HeaderMap) -> bool {
    let mut all = headers.iter();
    all.next().is_some_and(|(name, value)| *name == header::CONTENT_TYPE && value == JSON)
        && all.next().is_none()
}

pub fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn conflict(text: &str) -> Response<Body> {
    let mut response = events::json(jsonrpc::error(None, code::TRANSPORT, text));
    *response.status_mut() = StatusCode::CONFLICT;
    response
}

pub fn refuse(envelope: &Envelope<'_>, refused: MailboxRefusal) -> Response<Body> {
    let (status, text) = match refused {
        MailboxRefusal::DuplicateId => {
            (StatusCode::BAD_REQUEST, "a request with this id is still in flight in this session")
        }
        MailboxRefusal::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, "too many requests in flight in this session")
        }
        MailboxRefusal::Gone => (StatusCode::BAD_GATEWAY, "the server has ended"),
    };
    let mut response =
        events::json(jsonrpc::error(envelope.id_text(), code::INVALID_REQUEST, text));
    *response.status_mut() = status;
    mark_own(&mut response, code::INVALID_REQUEST);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_on_with_its_type_and_how_long_it_may_be_kept() {
        for (came, goes_on) in [
            (&[("content-type", "application/json")][..], 1),
            (&[("content-type", "text/plain")], 1),
            (&[("content-type", "application/json"), ("content-type", "text/plain")], 1),
            (&[("content-type", "application/json"), ("set-cookie", "a=b")], 1),
            (&[("set-cookie", "a=b")], 1),
            (&[("cache-control", "no-store"), ("content-type", "application/json")], 2),
            (&[], 1),
        ] {
            let mut response = Response::new(Body::Empty);
            for (name, value) in came {
                response.headers_mut().append(*name, HeaderValue::from_static(value));
            }
            *response.status_mut() = StatusCode::CREATED;
            let response = passed_on(response);
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers().len(), goes_on, "{came:?}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], JSON, "{came:?}");
            assert_eq!(response.headers().contains_key(header::CACHE_CONTROL), goes_on == 2);
        }
    }
}
