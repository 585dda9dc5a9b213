//! An event as a store's text: version, kind, and what it is about.

use crate::model::{NodeId, ServerName, SessionId, UnixMillis};

use super::{FeedWord, Listening, SharedEvent, SharedLoss, binding_text};

/// The version of the text, which stands at its beginning.
const VERSION: &str = "1";
/// Bytes of the longest text that is read: what is known of a loss, or was said, sealed.
const MAX_TEXT: usize = 8 * 1024;
/// Stands for a text that is empty.
const NOTHING: &str = "-";

pub fn write(event: &SharedEvent) -> String {
    let rest = match event {
        SharedEvent::Moved(session, server, binding) => {
            // A server's name may have blanks, so that it comes last.
            format!("moved {session} {} {server}", binding_text::write(binding))
        }
        SharedEvent::Ended(session, until) => format!("ended {session} {}", until.0),
        SharedEvent::Lost(SharedLoss { session, server, teller, sealed }) => {
            let sealed = if sealed.is_empty() { NOTHING } else { sealed };
            format!("lost {session} {teller} {sealed} {server}")
        }
        SharedEvent::Told(session, teller) => format!("told {session} {teller}"),
        SharedEvent::Listens(session, Listening { stream, seen }) => match seen {
            None => format!("listens {session} {stream}"),
            Some((before, number)) => format!("listens {session} {stream} {before} {number}"),
        },
        SharedEvent::Rest(session, stream) => format!("rest {session} {stream}"),
        SharedEvent::Feed(session, teller, word) => {
            let word = match word {
                FeedWord::Waits => "waits".to_owned(),
                FeedWord::Hears => "hears".to_owned(),
                FeedWord::Leaves => "leaves".to_owned(),
                FeedWord::Said(sealed) => format!("said {sealed}"),
                FeedWord::Unsubscribed(sealed) => format!("unsubscribed {sealed}"),
            };
            format!("feed {session} {teller} {word}")
        }
        SharedEvent::Node(node) => format!("node {node}"),
        SharedEvent::Heard(node) => format!("heard {node}"),
        SharedEvent::Left(node, start) => format!("left {node} {start}"),
    };
    format!("{VERSION} {rest}")
}

/// `None` for anything else, also for the text of a later version.
pub fn read(text: &[u8]) -> Option<SharedEvent> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TEXT)?;
    let (kind, rest) = text.strip_prefix(VERSION)?.strip_prefix(' ')?.split_once(' ')?;
    let node = || NodeId::parse(rest).ok();
    match kind {
        "moved" => {
            let (session, rest) = rest.split_once(' ')?;
            let (at, _) = rest.match_indices(' ').nth(binding_text::WORDS - 1)?;
            let (binding, server) = rest.split_at(at);
            Some(SharedEvent::Moved(
                SessionId::parse(session)?,
                ServerName::parse(server.strip_prefix(' ')?).ok()?,
                binding_text::read(binding.as_bytes())?,
            ))
        }
        "ended" => {
            let (session, until) = rest.split_once(' ')?;
            let until = UnixMillis(until.parse().ok()?);
            Some(SharedEvent::Ended(SessionId::parse(session)?, until))
        }
        "lost" => {
            let (session, rest) = rest.split_once(' ')?;
            let (teller, rest) = rest.split_once(' ')?;
            let (sealed, server) = rest.split_once(' ')?;
            Some(SharedEvent::Lost(SharedLoss {
                session: SessionId::parse(session)?,
                server: ServerName::parse(server).ok()?,
                teller: teller.parse().ok()?,
                sealed: if sealed == NOTHING { String::new() } else { sealed.to_owned() },
            }))
        }
        "told" => {
            let (session, teller) = rest.split_once(' ')?;
            Some(SharedEvent::Told(SessionId::parse(session)?, teller.parse().ok()?))
        }
        "listens" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let (session, stream, seen) = match words.as_slice() {
                [session, stream] => (session, stream, None),
                [session, stream, before, number] => {
                    (session, stream, Some((before.parse().ok()?, number.parse().ok()?)))
                }
                _ => return None,
            };
            let listening = Listening { stream: stream.parse().ok()?, seen };
            Some(SharedEvent::Listens(SessionId::parse(session)?, listening))
        }
        "rest" => {
            let (session, stream) = rest.split_once(' ')?;
            Some(SharedEvent::Rest(SessionId::parse(session)?, stream.parse().ok()?))
        }
        "feed" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let (session, teller, word) = match words.as_slice() {
                [session, teller, "waits"] => (session, teller, FeedWord::Waits),
                [session, teller, "hears"] => (session, teller, FeedWord::Hears),
                [session, teller, "leaves"] => (session, teller, FeedWord::Leaves),
                [session, teller, "said", sealed] => {
                    (session, teller, FeedWord::Said((*sealed).to_owned()))
                }
                [session, teller, "unsubscribed", sealed] => {
                    (session, teller, FeedWord::Unsubscribed((*sealed).to_owned()))
                }
                _ => return None,
            };
            Some(SharedEvent::Feed(SessionId::parse(session)?, teller.parse().ok()?, word))
        }
        "node" => Some(SharedEvent::Node(node()?)),
        "heard" => Some(SharedEvent::Heard(node()?)),
        "left" => {
            let (node, start) = rest.split_once(' ')?;
            Some(SharedEvent::Left(NodeId::parse(node).ok()?, start.parse().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SharedBinding;
    use super::*;
    use crate::model::Epoch;

    #[test]
    fn an_event_comes_back_and_nothing_else_does() {
        let session = SessionId::mint();
        let node = NodeId::parse("node-1").unwrap();
        let server = ServerName::parse("a server").unwrap();
        let (epoch, opened) = (Epoch::nearest(2), Epoch::new(1));
        let binding = SharedBinding { node: node.clone(), epoch, opened, was_open: true };
        let loss = |sealed: &str| {
            let (server, sealed) = (server.clone(), sealed.to_owned());
            SharedEvent::Lost(SharedLoss { session, server, teller: u64::MAX, sealed })
        };
        for event in [
            SharedEvent::Moved(session, server.clone(), binding),
            SharedEvent::Ended(session, UnixMillis(7)),
            loss(""),
            loss("sealed-text_1"),
            SharedEvent::Told(session, 0),
            SharedEvent::Listens(session, Listening { stream: u32::MAX, seen: None }),
            SharedEvent::Listens(session, Listening { stream: 0, seen: Some((7, u64::MAX)) }),
            SharedEvent::Rest(session, 7),
            SharedEvent::Feed(session, 0, FeedWord::Waits),
            SharedEvent::Feed(session, u64::MAX, FeedWord::Hears),
            SharedEvent::Feed(session, 7, FeedWord::Leaves),
            SharedEvent::Feed(session, 7, FeedWord::Said("sealed-text_1".into())),
            SharedEvent::Feed(session, 7, FeedWord::Unsubscribed("sealed-text_1".into())),
            SharedEvent::Node(node.clone()),
            SharedEvent::Heard(node.clone()),
            SharedEvent::Left(node, u64::MAX),
        ] {
            assert_eq!(read(write(&event).as_bytes()), Some(event));
        }
        let long = format!("1 node {}", "n".repeat(20_000));
        for text in [
            "",
            "1",
            "1 ",
            "2 node n",
            "1 node",
            "1 node a/b",
            "1 moved",
            "1 moved x 1 2 0 open n s",
            "1 ended x 7",
            "1 lost x",
            "1 lost x y",
            "1 lost x 1 -",
            "1 told x",
            "1 told x y",
            "1 listens x 1",
            "1 listens 1 1 1",
            "1 rest x 1",
            "1 feed x 1 waits",
            "1 feed 1 said",
            "1 left n",
            "1 left n x",
            "1 other n",
            &long,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
