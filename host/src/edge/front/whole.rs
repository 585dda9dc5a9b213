//! Bodies of clients' requests that are read as a whole, within the limits of what may be said.

use bytes::Bytes;
use http::header;
use http_body::Body as _;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::{Refusal, Refused};
use crate::edge::worker::Worker;
use crate::net::{Body, TooLong, UNCLAIMED, collect_request};
use crate::protocol::request_id::RequestId;

use super::begin::{MAX_FIRST, MAX_PARAMS};
use super::request_ids::begun;

impl Worker {
    /// The whole body of a message, counted for the client's quota key.
    pub(in crate::edge) async fn whole(
        &self,
        mut body: Body,
        context: &ClientRequest,
    ) -> Result<Bytes, Refused> {
        count_for(&body, context);
        match collect_request(&mut body, self.edge.config.request_body).await {
            Ok(message) => Ok(message),
            Err((why, request)) => {
                let id = id_of_rest(&mut body, &why, request, asks_first(context)).await;
                Err((self.unreadable(&why), id))
            }
        }
    }

    /// The whole body of a message that can only be `initialize`.
    pub(in crate::edge) async fn whole_first(
        &self,
        mut body: Body,
        context: &ClientRequest,
    ) -> Result<Bytes, Refused> {
        count_for(&body, context);
        let limit = MAX_FIRST.min(self.edge.config.request_body);
        match collect_request(&mut body, limit).await {
            Ok(message) => Ok(message),
            Err((why, request)) => {
                let id = id_of_rest(&mut body, &why, request, asks_first(context)).await;
                let refusal = match why {
                    TooLong::Limit(MAX_FIRST) => Refusal::FirstTooLarge(MAX_FIRST, MAX_PARAMS),
                    other => self.unreadable(&other),
                };
                Err((refusal, id))
            }
        }
    }

    /// The refusal of a body that cannot be read to its end.
    pub(in crate::edge) fn unreadable(&self, error: &TooLong) -> Refusal {
        match error {
            TooLong::Limit(limit) => Refusal::TooLarge(*limit),
            TooLong::NoRoom(_) => Refusal::NoRoomForBody,
            TooLong::Stalled(_) => Refusal::BodyStalled(self.edge.config.body_rate),
            TooLong::Broken(_) => Refusal::BodyBroken,
        }
    }
}

/// The id of a request whose body could not be read to its end. One that is too large goes on; one
/// that has broken off does not, and neither does one whose client asks first.
pub async fn id_of_rest(
    body: &mut Body,
    why: &TooLong,
    read: Box<RequestId>,
    asks_first: bool,
) -> Option<String> {
    match why {
        TooLong::Limit(_) | TooLong::NoRoom(_) if !asks_first => Box::pin(begun(body, *read)).await,
        _ => read.get().map(str::to_owned),
    }
}

/// Whether the client waits for a word before it sends the body (RFC 9110 §10.1.1). Whoever reads
/// the body says that word.
pub fn asks_first(context: &ClientRequest) -> bool {
    context.headers.contains_key(header::EXPECT)
}

/// Counts a body for the client's quota key, if it is not small.
pub fn count_for(body: &Body, context: &ClientRequest) {
    let is_small = body.size_hint().upper().is_some_and(|most| most <= UNCLAIMED as u64);
    if !is_small && let Some(intake) = body.intake() {
        intake.count_for(&context.quota);
    }
}
