//! A server of the revision without sessions, as one session of the gateway reaches it, and one
//! request to it with what comes back.

use std::sync::Arc;

use bytes::Bytes;
use http::Uri;

use crate::runner::channel::judge::ResponseHead;
use crate::seam::UserTokenRefused;

use super::exchange::{Heard, Outgoing, Unanswered};
use super::http::{HttpExchange, HttpServer};
use super::mux::{MuxExchange, Place};

/// How it is reached. Clones are the same place.
#[derive(Clone)]
pub enum ModernServer {
    Http(Arc<HttpServer>),
    Process(Arc<Place>),
}

/// A request under way. Dropping it before the answer cancels it at the server.
pub enum Exchange {
    Http(Box<HttpExchange>),
    Process(MuxExchange),
}

impl ModernServer {
    /// An id for the next request.
    #[must_use]
    pub fn number(&self) -> u64 {
        match self {
            Self::Http(server) => server.number(),
            Self::Process(place) => place.mux().number(),
        }
    }

    /// How the response to a request refuses the token of the client's user, if it does.
    #[must_use]
    pub fn refuses_user(&self, exchange: &Exchange) -> Option<UserTokenRefused> {
        match self {
            Self::Http(server) => server.refuses_user(exchange.head()?),
            Self::Process(_) => None,
        }
    }

    /// Sends a request.
    pub async fn send(&self, outgoing: Outgoing) -> Exchange {
        match self {
            Self::Http(server) => Exchange::Http(Box::new(server.send(outgoing))),
            Self::Process(place) => Exchange::Process(place.mux().send(outgoing).await),
        }
    }
}

impl Exchange {
    /// What comes next. May be dropped while it waits.
    pub async fn next(&mut self) -> Heard {
        match self {
            Self::Http(exchange) => exchange.next().await,
            Self::Process(exchange) => exchange.next().await,
        }
    }

    /// The head of the response, once it has come, if it is one of HTTP.
    #[must_use]
    pub fn head(&self) -> Option<&ResponseHead> {
        match self {
            Self::Http(exchange) => exchange.head(),
            Self::Process(_) => None,
        }
    }

    /// Where redirects have led to, if it is one of HTTP.
    #[must_use]
    pub fn moved(&self) -> Option<Uri> {
        match self {
            Self::Http(exchange) => exchange.moved.clone(),
            Self::Process(_) => None,
        }
    }

    /// Reads on to the answer, and passes over what comes before it.
    pub async fn answer(&mut self) -> Result<Bytes, Unanswered> {
        loop {
            match self.next().await {
                Heard::Notice(_) => {}
                Heard::Answer(answer) => return Ok(answer),
                Heard::Failed(why) => return Err(why),
            }
        }
    }
}
