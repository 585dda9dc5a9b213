//! What the GET stream of an aggregate has left when its client listens at another coordinator: it
//! goes there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::edge::worker::Edge;
use crate::model::SessionId;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::objects::object_only;
use crate::store::shared::Listening;
use crate::streams::{Part, Reader};

use super::get_streams::OwnStream;

/// Longest wait until the nodes have turned to the new stream. What they send until then comes here.
const TURNING: Duration = Duration::from_millis(500);
/// Time for what has come last to be on the stream.
const ON_THE_WAY: Duration = Duration::from_millis(20);
/// Bytes of messages that are left. The oldest give way: their client is told that lists may differ.
const MAX_LEFT: usize = 1 << 20;

/// A message that its client has not read.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct LeftMessage {
    /// Whether the server waits for an answer to it.
    asks: bool,
    message: String,
}
object_only!(both LeftMessage);

impl Edge {
    /// Ends the stream that a session has here, if it listens to another one, and leaves its rest to
    /// that.
    pub(super) fn give_way(self: &Arc<Self>, session: SessionId, to: Listening) {
        let Some(own) = self.streams.get(session) else { return };
        if own.instance == to.stream {
            return own.told();
        }
        // Otherwise its client has come here since.
        let Some(sharing) = self.sharing.clone().filter(|_| own.is_told()) else { return };
        // Those who listen to a conversation stay, and hear what the other one tells.
        self.feeds.taken_over(session);
        let edge = Arc::clone(self);
        tokio::spawn(async move {
            let mut heard = own.heard.subscribe();
            let turned = heard.wait_for(|heard| heard.is_empty());
            let _ = tokio::time::timeout(TURNING, turned).await;
            tokio::time::sleep(ON_THE_WAY).await;
            edge.streams.give_way(session, &own);
            let rest = rest_of(unseen(&own, to.seen)).await;
            if !rest.is_empty()
                && let Ok(text) = serde_json::to_vec(&rest)
            {
                sharing.leave_rest(session, to.stream, &text).await;
            }
        });
    }

    /// Puts onto a session's stream what the stream before has left, if it is this one that it is
    /// left to.
    pub(super) fn take_over(self: &Arc<Self>, session: SessionId, stream: u32) {
        let own = self.streams.get(session).filter(|own| own.instance == stream);
        let (Some(own), Some(sharing)) = (own, self.sharing.clone()) else { return };
        tokio::spawn(async move {
            let Some(text) = sharing.take_rest(session).await else { return };
            for (part, message) in read(&text) {
                // The stream has just begun: it drops none.
                let _ = own.stream.put(message, part);
            }
        });
    }
}

/// A reader of what the client has not seen, as far as it has said what it has.
fn unseen(own: &OwnStream, seen: Option<(u32, u64)>) -> Reader {
    match seen {
        Some((stream, number)) if stream == own.instance => own.stream.read_after(number),
        _ => own.stream.read_on(),
    }
}

/// What is left on a stream that has ended.
async fn rest_of(mut reader: Reader) -> Vec<LeftMessage> {
    let mut rest = Vec::new();
    let mut bytes = 0;
    while let Some(item) = reader.next().await {
        let Ok(message) = String::from_utf8(item.message.into()) else { continue };
        bytes += message.len();
        rest.push(LeftMessage { asks: item.part == Part::Question, message });
    }
    let too_many = rest.iter().take_while(|left| {
        let is_over = bytes > MAX_LEFT;
        bytes -= if is_over { left.message.len() } else { 0 };
        is_over
    });
    let too_many = too_many.count();
    rest.drain(..too_many);
    rest
}

/// The messages of a rest. What is none is left out.
fn read(text: &[u8]) -> Vec<(Part, Bytes)> {
    let rest: Vec<LeftMessage> = serde_json::from_slice(text).unwrap_or_default();
    let messages = rest.into_iter().map(|left| {
        let part = if left.asks { Part::Question } else { Part::Notice };
        (part, Bytes::from(left.message))
    });
    messages.filter(|(_, message)| Envelope::parse(message).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{Bounds, Stream};

    fn notice(text: &str) -> Bytes {
        format!(r#"{{"jsonrpc":"2.0","method":"{text}"}}"#).into()
    }

    fn own(instance: u32) -> OwnStream {
        let stream = Stream::new(0, None, Bounds { events: 100, bytes: 4 << 20 });
        stream.publish();
        let (heard, over, untold) = (Arc::default(), Arc::default(), Arc::default());
        OwnStream { instance, stream, rights: None, heard, over, untold }
    }

    async fn left(own: &OwnStream, seen: Option<(u32, u64)>) -> Vec<(Part, Bytes)> {
        own.stream.end();
        read(&serde_json::to_vec(&rest_of(unseen(own, seen)).await).unwrap())
    }

    #[tokio::test]
    async fn what_a_client_has_not_seen_is_left() {
        let own = own(7);
        for text in ["a", "b", "c"] {
            own.stream.put(notice(text), Part::Notice);
        }
        own.stream.put(notice("ask"), Part::Question);
        own.stream.read_on().next().await;
        let all = [(Part::Notice, notice("b")), (Part::Notice, notice("c"))];
        let ask = [(Part::Question, notice("ask"))];
        // By its last event id, or by what was written to it.
        assert_eq!(left(&own, Some((7, 3))).await, ask);
        assert_eq!(left(&own, Some((7, 1))).await, [&all[..], &ask].concat());
        assert!(left(&own, Some((8, 1))).await.is_empty(), "all of it was read by now");
    }

    #[test]
    fn a_stream_that_was_told_twice_waits_for_both() {
        let own = own(7);
        assert!(own.is_told());
        own.untold.store(2, std::sync::atomic::Ordering::Relaxed);
        for is_told in [false, true, true] {
            own.told();
            assert_eq!(own.is_told(), is_told);
        }
    }

    #[tokio::test]
    async fn of_too_much_the_latest_is_left_and_what_is_no_message_is_not() {
        let own = own(7);
        for number in 0..3 {
            own.stream.put(notice(&"x".repeat((500 << 10) + number)), Part::Notice);
        }
        let left = left(&own, None).await;
        assert_eq!(left.len(), 2);
        assert_eq!(left[1].1, notice(&"x".repeat((500 << 10) + 2)));
        for text in
            [&b""[..], b"7", b"[1]", br#"[{"asks":true,"message":"no"}]"#, br#"[[true,"{}"]]"#]
        {
            assert!(read(text).is_empty());
        }
    }
}
