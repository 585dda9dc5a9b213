//! Takes an upstream's messages: each goes to the stream of the session that it belongs to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::runtime::Handle;

use crate::net::Pool;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::{methods, splice};
use crate::runner::channel::mailbox::Delivery;
use crate::runner::channel::spoilt;
use crate::streams::{Part, Stream};

use super::session::UpstreamSession;

/// Longest wait until an upstream accepts a message of the gateway's own.
const TOLD: Duration = Duration::from_secs(30);

/// Takes one event of a stream, or one JSON body: a message, or a batch.
pub async fn take(session: &UpstreamSession, pool: &Pool, stream: &Arc<Stream>, data: Bytes) {
    if let Ok(Some(batch)) = jsonrpc::batch(&data) {
        for message in batch {
            let message = Bytes::copy_from_slice(message.get().as_bytes());
            take_one(session, pool, stream, message).await;
        }
        return;
    }
    take_one(session, pool, stream, data).await;
}

/// Takes one message that has come on this stream.
pub async fn take_one(
    session: &UpstreamSession,
    pool: &Pool,
    stream: &Arc<Stream>,
    message: Bytes,
) {
    let Ok(envelope) = Envelope::parse(&message) else {
        match spoilt::answered(&message) {
            Some(id) if spoilt::is_id(&id) => {
                let text = spoilt::tell(&session.server, &message);
                session.mailbox().answer_for_server(&id, code::INTERNAL, &text);
            }
            _ if spoilt::answers_somebody(&message) => {
                let text = spoilt::tell(&session.server, &message);
                let failed = session.mailbox().nonsense_on(stream, &text);
                if let Some((asked, answer)) = failed {
                    asked.push(answer, Part::Answer).await;
                }
            }
            _ => {
                tracing::debug!(server = %session.server, bytes = message.len(), "dropped an event that is not a JSON-RPC message");
            }
        }
        return;
    };
    match envelope.kind() {
        Kind::Response => {
            // An answer may arrive on any stream of the session. It is dropped if its request is
            // not in flight.
            if let Some((asked, answer)) = answered(session, stream, &message, &envelope) {
                asked.push(answer, Part::Answer).await;
            }
        }
        Kind::Request => {
            let answer = session.mailbox().answer_at_once(&envelope);
            if let Some(answer) = answer {
                return tell(session, pool, answer);
            }
            let placed = {
                let mut mailbox = session.mailbox();
                mailbox.questions.ask(&envelope);
                mailbox.place_question_of(stream, message.clone())
            };
            match placed {
                Delivery::To(stream, message, part) => {
                    put(session, pool, &stream, message, part).await;
                }
                Delivery::Reply(answer) => tell(session, pool, answer),
                Delivery::Done => {}
            }
        }
        Kind::Notification if envelope.method() == methods::PROGRESS => {
            let found = session.mailbox().progress(message.clone(), &envelope);
            match found {
                Ok((stream, progress)) => put(session, pool, &stream, progress, Part::Notice).await,
                // On the stream of a request, that one is in flight, or is answered.
                Err(progress) if stream.is_without_end() => {
                    session.mailbox().hold_progress(progress, &envelope);
                }
                Err(_) => {}
            }
        }
        Kind::Notification => {
            if methods::is_list_changed(envelope.method()) && !session.list_changes.heard() {
                return;
            }
            if session.mailbox().is_of_restoration(envelope.method()) {
                return;
            }
            let (notice, stream) = {
                let mut mailbox = session.mailbox();
                let notice = mailbox.with_question(message.clone(), &envelope);
                let Some(stream) = mailbox.place_notice_of(stream, envelope.method()) else {
                    return mailbox.hold_notice(notice);
                };
                (notice, stream)
            };
            put(session, pool, &stream, notice, Part::Notice).await;
        }
    }
}

/// The stream that an answer goes to, and the answer as that request's client is to see it.
fn answered(
    session: &UpstreamSession,
    stream: &Arc<Stream>,
    message: &Bytes,
    envelope: &Envelope<'_>,
) -> Option<(Arc<Stream>, Bytes)> {
    let mut mailbox = session.mailbox();
    if let Some(id) = envelope.id.filter(|id| id.get() != "null") {
        // What comes on a request's own stream is for that one, if it may be.
        if let Some(own) = mailbox.meant_at(stream, id.get())
            && let Some(span) = splice::span(message, id)
        {
            let message = splice::replace(message, span, own.as_bytes());
            let envelope = Envelope::parse(&message).ok()?;
            return mailbox.answer(message.clone(), &envelope);
        }
        let id = id.get();
        let found = mailbox.answer(message.clone(), envelope);
        if found.is_some() || mailbox.may_be_late(id) {
            return found;
        }
    }
    // On the stream of one request it is about that one.
    if envelope.error.is_none() {
        let names_none = envelope.id_text().is_none();
        let text = spoilt::neither(message);
        return if names_none { mailbox.nonsense_on(stream, &text) } else { None };
    }
    mailbox.answer_on(stream, envelope)
}

async fn put(
    session: &UpstreamSession,
    pool: &Pool,
    stream: &Arc<Stream>,
    message: Bytes,
    part: Part,
) {
    let unread = if stream.is_without_end() {
        // Never waits: a client that does not read its GET stream must not block this reader.
        stream.put(message, part)
    } else {
        stream.push(message, part).await
    };
    for question in unread {
        let answer = session.mailbox().unread(&question);
        answer.into_iter().for_each(|answer| tell(session, pool, answer));
    }
}

/// Sends a message on its own task; failures are only logged.
pub fn tell(session: &UpstreamSession, pool: &Pool, message: Bytes) {
    let (client, pool) = (session.client.clone(), pool.clone());
    let server = session.server.clone();
    let mut place = session.left.note();
    let telling = async move {
        let none = HeaderMap::new();
        let posting = client.post(&pool, None, message, &none);
        let told = tokio::select! {
            told = tokio::time::timeout(TOLD, posting) => told,
            () = place.given_up() => return,
        };
        match told {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => tracing::debug!(server = %server, "{failure}"),
            Err(_) => tracing::debug!(server = %server, "a message was not accepted in time"),
        }
    };
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(telling);
    }
}
