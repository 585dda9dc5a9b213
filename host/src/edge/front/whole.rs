//! Bodies of clients' requests that are read as a whole, within the limits of what may be said.

use bytes::Bytes;
use http_body::Body as _;

use crate::edge::client_request::ClientRequest;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;
use crate::net::{Body, TooLong, UNCLAIMED, collect};

use super::begin::{MAX_FIRST, MAX_PARAMS};

impl Worker {
    /// The whole body of a message, counted for the client's quota key.
    pub(in crate::edge) async fn whole(
        &self,
        body: Body,
        context: &ClientRequest,
    ) -> Result<Bytes, Refusal> {
        count_for(&body, context);
        let limit = self.edge.config.request_body;
        collect(body, limit).await.map_err(|error| self.unreadable(&error))
    }

    /// The whole body of a message that can only be `initialize`.
    pub(in crate::edge) async fn whole_first(
        &self,
        body: Body,
        context: &ClientRequest,
    ) -> Result<Bytes, Refusal> {
        count_for(&body, context);
        let limit = MAX_FIRST.min(self.edge.config.request_body);
        collect(body, limit).await.map_err(|error| match error {
            TooLong::Limit(MAX_FIRST) => Refusal::FirstTooLarge(MAX_FIRST, MAX_PARAMS),
            other => self.unreadable(&other),
        })
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

/// Counts a body for the client's quota key, if it is not small.
pub fn count_for(body: &Body, context: &ClientRequest) {
    let is_small = body.size_hint().upper().is_some_and(|most| most <= UNCLAIMED as u64);
    if !is_small && let Some(intake) = body.intake() {
        intake.count_for(&context.quota);
    }
}
