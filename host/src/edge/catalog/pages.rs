//! Lists of an aggregate, page by page.
//!
//! A cursor names a snapshot of the list by its content, so that pages fit together even if the
//! catalog changes meanwhile, and on any gateway with the same catalog. Once the snapshot is gone
//! its cursors are invalid, and the client lists again from the start (2025-11-25,
//! server/utilities/pagination).

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::model::Scope;
use crate::protocol::methods::List;
use crate::protocol::proof::mac;
use crate::sync::Locked;

use super::merge;

/// Most snapshots that are kept; the oldest makes room for a new one.
const SNAPSHOTS: usize = 64;

pub type Items = Arc<Vec<Bytes>>;
/// The hash of a snapshot's scope and entries.
pub type SnapshotName = [u8; 8];

/// Snapshots of lists that clients read page by page, the latest last.
#[derive(Default)]
pub struct ListSnapshots(Locked<VecDeque<(SnapshotName, Items)>>);

impl ListSnapshots {
    pub fn keep(&self, name: SnapshotName, items: &Items) {
        let mut snapshots = self.0.lock();
        snapshots.retain(|(known, _)| *known != name);
        snapshots.push_back((name, Arc::clone(items)));
        while snapshots.len() > SNAPSHOTS {
            snapshots.pop_front();
        }
    }

    pub fn get(&self, name: SnapshotName) -> Option<Items> {
        let snapshots = self.0.lock();
        let found = snapshots.iter().find(|(known, _)| *known == name);
        found.map(|(_, items)| Arc::clone(items))
    }
}

/// Where a page begins, in which snapshot of which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub snapshot: SnapshotName,
    pub list: u8,
    pub offset: u32,
}

impl Cursor {
    fn write(self, key: &[u8]) -> String {
        let mut bytes = Vec::with_capacity(21);
        bytes.extend_from_slice(&self.snapshot);
        bytes.push(self.list);
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&tag(key, &bytes));
        BASE64.encode(bytes)
    }

    /// The cursor in a text; `None` if it was not written with this key.
    pub fn read(text: &str, key: &[u8]) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (body, given) = bytes.split_at_checked(13)?;
        if !bool::from(subtle::ConstantTimeEq::ct_eq(&tag(key, body)[..], given)) {
            return None;
        }
        let (snapshot, rest) = body.split_first_chunk::<8>()?;
        let (list, offset) = rest.split_first()?;
        let offset = u32::from_be_bytes(offset.try_into().ok()?);
        Some(Self { snapshot: *snapshot, list: *list, offset })
    }
}

fn tag(key: &[u8], bytes: &[u8]) -> SnapshotName {
    first(&mac::hmac_sha256(key, &[b"cursor", bytes]))
}

/// The name of a scope's list: a cursor of another scope, which may show more, finds nothing.
pub fn name_of(scope: &Scope, items: &[Bytes]) -> SnapshotName {
    let mut hash = Sha256::new();
    hash.update(scope.seal_text());
    hash.update([0]);
    for item in items {
        hash.update(item);
        hash.update([0]);
    }
    first(&hash.finalize())
}

fn first(bytes: &[u8]) -> SnapshotName {
    bytes.first_chunk().copied().unwrap_or_default()
}

/// One page of a list, with the cursor of the next page if there is one.
pub fn page(
    list: List,
    items: &[Bytes],
    name: SnapshotName,
    offset: usize,
    size: usize,
    key: &[u8],
) -> Bytes {
    let start = offset.min(items.len());
    let end = start.saturating_add(size).min(items.len());
    let next = u32::try_from(end).ok().filter(|_| end < items.len());
    let next = next.map(|offset| Cursor { snapshot: name, list: list as u8, offset }.write(key));
    merge::result(list, items.get(start..end).unwrap_or_default(), next.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_a_changed_one_does_not() {
        let cursor = Cursor { snapshot: [7; 8], list: 2, offset: 1000 };
        let text = cursor.write(b"key");
        assert_eq!(Cursor::read(&text, b"key"), Some(cursor));
        assert_eq!(Cursor::read(&text, b"other"), None);
        for wrong in ["", "AAAA", &text[1..], &format!("{text}AA")] {
            assert_eq!(Cursor::read(wrong, b"key"), None, "{wrong}");
        }
    }

    #[test]
    fn pages_are_all_of_the_list_and_end() {
        let items: Vec<Bytes> = (0..5).map(|n| format!("{{\"name\":\"{n}\"}}").into()).collect();
        let name = name_of(&Scope::All, &items);
        let (mut offset, mut names) = (0, Vec::new());
        for _ in 0..3 {
            let text = page(List::Tools, &items, name, offset, 2, b"k");
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            names.extend(value["tools"].as_array().unwrap().iter().map(|t| t["name"].to_string()));
            match value["nextCursor"].as_str() {
                Some(cursor) => offset = Cursor::read(cursor, b"k").unwrap().offset as usize,
                None => break,
            }
        }
        assert_eq!(names.concat(), "\"0\"\"1\"\"2\"\"3\"\"4\"");
    }
}
