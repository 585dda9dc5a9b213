//! The messages of a server that come for one request, whether as one answer or as a stream.

use bytes::Bytes;
use http::Response;

use crate::edge::aggregate::server_ids;
use crate::net::{Body, EventReader, Read, collect, is_event_stream};
use crate::protocol::jsonrpc::{self, code};
use crate::streams::{EventId, Tag};

/// Where they come from.
pub enum CallMessages {
    Answer(Option<Bytes>),
    Events(Box<EventReader>),
}

/// A message, and the id of its event.
pub struct Told {
    pub message: Bytes,
    pub event: Option<String>,
}

impl CallMessages {
    /// Reads a response. `limit` is the largest message, in bytes.
    pub async fn of(response: Response<Body>, limit: usize) -> Self {
        if is_event_stream(&response) {
            return Self::Events(Box::new(EventReader::new(response.into_body(), limit)));
        }
        let message = collect(response.into_body(), limit).await.unwrap_or_else(|why| {
            let text = format!("the server's answer cannot be read: {why}");
            jsonrpc::error(None, code::SERVER_LOST, &text)
        });
        Self::Answer(Some(message).filter(|message| !message.is_empty()))
    }

    /// Notes that what still comes is read later, when the client comes back for it.
    pub fn set_aside(&mut self) {
        if let Self::Events(events) = self {
            events.set_aside();
        }
    }

    /// The next message; `None` if no more come.
    pub async fn next(&mut self) -> Option<Told> {
        match self {
            Self::Answer(answer) => answer.take().map(|message| Told { message, event: None }),
            Self::Events(events) => loop {
                match events.next().await? {
                    Read::Event(event) if event.has_message() => {
                        return Some(Told { message: event.data.into(), event: event.id });
                    }
                    Read::Event(_) | Read::Comment => {}
                    Read::Broken(_) => return None,
                }
            },
        }
    }
}

/// The place of an event in the stream of its request.
#[must_use]
pub fn number_of(event: &str) -> Option<u64> {
    let (_, own) = server_ids::of_event(event)?;
    Some(EventId::parse(own)?.number)
}

/// The id of the event before this one in the stream.
#[must_use]
pub fn before(event: &str) -> Option<String> {
    let (server, own) = server_ids::of_event(event)?;
    let place = EventId::parse(own)?;
    let tag = Tag::new(place.instance, place.stream, place.request.as_deref());
    let own = tag.id(place.number.checked_sub(1)?);
    Some(server_ids::marked_event(&server, &own, server_ids::mark_of(event)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerName;

    #[test]
    fn an_event_is_found_again_from_the_one_before() {
        let server = ServerName::parse("a b").unwrap();
        let id = |number| server_ids::event(&server, &Tag::new(9, 3, Some("\"r\"")).id(number));
        assert_eq!(before(&id(5)), Some(id(4)));
        assert_eq!(number_of(&id(5)), Some(5));
        assert_eq!(before(&id(0)), None);
        for other in ["", "x", "9-3-5", "9-3@s"] {
            assert_eq!(before(other), None, "{other}");
        }
    }
}
