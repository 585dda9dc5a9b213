//! Requests without a session that the edge of this process has read: they go on to a server behind a
//! URL without being read again.
//!
//! What the edge has found in a request it has found strictly, so that all clients of a server see the
//! same message. Whatever has to be judged by more than that goes the way of all others.

use std::mem::take;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};

use crate::model::ServerName;
use crate::net::{Body, collect_request};
use crate::protocol::era::read_places::ReadPlaces;

use super::endpoint::{Asks, Runner, Sender};
use super::remote::sessionless::Repeated;
use super::session::served::Recipe;
use super::stateless::Passing;
use super::unserved::{not_hosted, unreadable};

impl Runner {
    /// Answers a request in which the edge has read what stands at these places.
    pub(super) async fn read_request(
        &self,
        server: &ServerName,
        sender: Sender,
        places: ReadPlaces,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let served = self.shared.servers.load().get(server).map(Arc::clone);
        let Some(served) = served else { return not_hosted(server) };
        let asks = Asks::of(&served);
        let mut body = take(request.body_mut());
        let message = match collect_request(&mut body, self.shared.config.message).await {
            Ok(message) => message,
            Err((error, read)) => return unreadable(&error, read.get()),
        };
        if let Some(read) = places.within(&message) {
            if !asks.withholds()
                && let Recipe::Http(upstream) | Recipe::HttpOrSse(upstream) = &served.recipe
            {
                let forwarded = match asks.passes_headers() {
                    true => self.forwarded(server, request.headers()),
                    false => HeaderMap::new(),
                };
                let passing = Passing { runner: self, server, served: &served, id: read.id };
                let repeated = Repeated::Read(&read);
                return passing.over_http(upstream, message.clone(), forwarded, repeated).await;
            }
            request.headers_mut().extend(read.headers());
        }
        *request.body_mut() = Body::from(message);
        Box::pin(self.stateless(server, sender, asks, request)).await
    }
}
