//! What a server without sessions tells a client that listens concerns the gateway too: when lists have
//! changed, it reads them again.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use tokio::sync::mpsc;

use crate::model::ServerName;
use crate::net::{Body, EventReader, Read};
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::methods::is_list_changed;
use crate::protocol::{splice, sse};

use super::catalog::discovery::Discovery;

/// Events that wait for a client which reads slowly.
const AHEAD: usize = 64;

/// Hears of one server.
pub struct Overhearing {
    pub discovery: Arc<Discovery>,
    pub server: ServerName,
}

impl Overhearing {
    /// Takes note of a message for the client.
    pub fn hear(&self, message: &[u8]) {
        let heard = Envelope::parse(message);
        if heard.is_ok_and(|heard| is_list_changed(heard.method())) {
            self.discovery.ask_again(&self.server);
        }
    }

    /// The same response, of which all events are heard. `line` is the largest message, in bytes.
    pub fn overheard(self, response: Response<Body>, line: usize) -> Response<Body> {
        let (sayer, said) = mpsc::channel(AHEAD);
        let (parts, body) = response.into_parts();
        let mut events = EventReader::new(body, line);
        tokio::spawn(async move {
            loop {
                let read = tokio::select! {
                    biased;
                    // Dropping the events closes the response of the server.
                    () = sayer.closed() => return,
                    read = events.next() => read,
                };
                let event = match read {
                    Some(Read::Event(event)) if event.has_message() => {
                        let message = Bytes::from(event.data);
                        self.hear(&message);
                        sse::event(&splice::on_one_line(message))
                    }
                    Some(Read::Event(_) | Read::Comment) => Bytes::from_static(sse::KEEP_ALIVE),
                    Some(Read::Broken(_)) | None => return,
                };
                if sayer.send(event).await.is_err() {
                    return;
                }
            }
        });
        Response::from_parts(parts, Body::Channel(said))
    }
}
