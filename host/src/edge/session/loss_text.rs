//! What became of a server's state at its last start, as one coordinator tells the others: its client may
//! listen at any of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::edge::state::outcome::Restored;
use crate::edge::worker::Edge;
use crate::model::{NodeId, ServerName, SessionId};
use crate::protocol::objects::object_only;

/// Failures, and calls whose outcome is unknown, that are told; the number of others is not.
const MOST: usize = 3;
/// Bytes of a failure's reason, and of a name.
const MAX_TEXT: usize = 100;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
struct LossText {
    /// The node that was left by plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restored: Option<RestoredText>,
}
object_only!(both LossText);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
#[serde(rename_all = "camelCase")]
struct RestoredText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_at: Option<String>,
    repeated: usize,
    failed: Vec<(String, String)>,
    untried: usize,
    dropped: u32,
    unsaved: u32,
    unsettled: Vec<String>,
    elsewhere: bool,
}
object_only!(both RestoredText);

impl Edge {
    /// What is told of a server's last start; nothing where there is nothing to tell but the loss.
    #[must_use]
    pub fn loss_text(&self, session: SessionId, server: &ServerName) -> Option<Vec<u8>> {
        let left = self.planned_moves.get(session, server);
        let restored = self.state.outcomes.get(session, server);
        if left.is_none() && restored.is_none() {
            return None;
        }
        let left = left.map(|node| node.to_string());
        let text = LossText { left, restored: restored.map(|restored| text_of(&restored)) };
        serde_json::to_vec(&text).ok()
    }

    /// Notes what another coordinator has told, for the notice.
    pub fn note_loss_text(&self, session: SessionId, server: &ServerName, text: Option<&[u8]>) {
        let text = text.and_then(|text| serde_json::from_slice::<LossText>(text).ok());
        let (left, restored) = text.map(|text| (text.left, text.restored)).unwrap_or_default();
        let left = left.and_then(|node| NodeId::parse(&node).ok());
        self.planned_moves.keep(session, server, left);
        let restored = restored.map(|text| Arc::new(restored_of(text)));
        self.state.outcomes.keep(session, server, restored);
    }
}

fn text_of(restored: &Restored) -> RestoredText {
    let failed = restored.failed.iter().take(MOST);
    RestoredText {
        saved_at: restored.saved_at.clone(),
        repeated: restored.repeated,
        failed: failed.map(|(what, why)| (cut(what), cut(why))).collect(),
        untried: restored.untried,
        dropped: restored.dropped,
        unsaved: restored.unsaved,
        unsettled: restored.unsettled.iter().take(MOST).map(|name| cut(name)).collect(),
        elsewhere: restored.elsewhere,
    }
}

fn restored_of(text: RestoredText) -> Restored {
    Restored {
        saved_at: text.saved_at,
        repeated: text.repeated,
        failed: text.failed,
        untried: text.untried,
        dropped: text.dropped,
        unsaved: text.unsaved,
        unsettled: text.unsettled,
        elsewhere: text.elsewhere,
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_restored_comes_back_and_stays_short() {
        let mut restored = Restored {
            saved_at: Some("now".to_owned()),
            repeated: 2,
            dropped: 1,
            unsettled: vec!["x".repeat(5000); 9],
            elsewhere: true,
            ..Restored::default()
        };
        (0..50).for_each(|_| restored.failed(&"é".repeat(5000), "why"));
        let text = LossText { left: None, restored: Some(text_of(&restored)) };
        let text = serde_json::to_vec(&text).unwrap();
        assert!(text.len() < 2000, "{}", text.len());
        let read: LossText = serde_json::from_slice(&text).unwrap();
        let read = restored_of(read.restored.unwrap());
        assert_eq!((read.repeated, read.dropped, read.failed.len()), (2, 1, MOST));
        assert!(!read.is_whole());
        let whole = Restored { repeated: 3, ..Restored::default() };
        assert_eq!(restored_of(text_of(&whole)), whole);
    }
}
