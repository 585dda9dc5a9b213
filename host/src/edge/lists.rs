//! Lists of an aggregate, page by page.
//!
//! A cursor names a snapshot by its content, so that pages fit together however
//! the catalogue changes meanwhile, and on any gateway that has the same one. A
//! snapshot that is gone makes its cursors invalid: the client begins anew
//! (2025-11-25, server/utilities/pagination).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::model::Scope;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::methods::List;

use super::Worker;
use super::merge::{self, Merged};
use super::rescue::Refusal;
use super::session::Session;

/// Lists that are being read page by page.
const SNAPSHOTS: usize = 64;

type Items = Arc<Vec<Bytes>>;
type Name = [u8; 8];

/// The lists that clients are reading, the latest last.
#[derive(Default)]
pub struct Snapshots(Mutex<VecDeque<(Name, Items)>>);

impl Snapshots {
    fn keep(&self, name: Name, items: &Items) {
        let mut snapshots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        snapshots.retain(|(known, _)| *known != name);
        snapshots.push_back((name, Arc::clone(items)));
        while snapshots.len() > SNAPSHOTS {
            snapshots.pop_front();
        }
    }

    fn get(&self, name: Name) -> Option<Items> {
        let snapshots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = snapshots.iter().find(|(known, _)| *known == name);
        found.map(|(_, items)| Arc::clone(items))
    }
}

/// Where a page begins, in which snapshot of which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    snapshot: Name,
    list: u8,
    offset: u32,
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

    /// None if it was not written with this key.
    fn read(text: &str, key: &[u8]) -> Option<Self> {
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

fn tag(key: &[u8], bytes: &[u8]) -> Name {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Name::default() };
    mac.update(b"cursor");
    mac.update(bytes);
    first(&mac.finalize().into_bytes())
}

fn name_of(items: &[Bytes]) -> Name {
    let mut hash = Sha256::new();
    for item in items {
        hash.update(item);
        hash.update([0]);
    }
    first(&hash.finalize())
}

fn first(bytes: &[u8]) -> Name {
    bytes.first_chunk().copied().unwrap_or_default()
}

impl Worker {
    /// The page that the request asks for.
    pub(super) async fn list(
        &self,
        scope: &Scope,
        session: &Session,
        list: List,
        request: &Envelope<'_>,
    ) -> Result<Bytes, Refusal> {
        let size = self.edge.config.page_size;
        let key = &self.edge.affinity_key;
        let Some(text) = cursor_of(request) else {
            let merged = self.offers_to(scope, session).await;
            let items = merged.items(list);
            return Ok(if items.len() <= size {
                merged.result(list)
            } else {
                let name = name_of(&items);
                self.edge.snapshots.keep(name, &items);
                page(list, &items, name, 0, size, key)
            });
        };
        let expired = || {
            Refusal::InvalidParams(
                "this cursor is not known (any more); list again from the start".into(),
            )
        };
        let cursor =
            Cursor::read(&text, key).filter(|c| c.list == list as u8).ok_or_else(expired)?;
        let kept = self.edge.snapshots.get(cursor.snapshot);
        let items = match kept {
            Some(items) => items,
            None => {
                let items = self.offers_to(scope, session).await.items(list);
                if name_of(&items) != cursor.snapshot {
                    return Err(expired());
                }
                items
            }
        };
        Ok(page(list, &items, cursor.snapshot, cursor.offset as usize, size, key))
    }

    async fn offers_to(&self, scope: &Scope, session: &Session) -> Arc<Merged> {
        let shared = self.offers(scope, session.client_set()).await;
        match self.own_offers(scope, session).await {
            Some(own) => Arc::new(own),
            None => shared,
        }
    }
}

fn page(list: List, items: &[Bytes], name: Name, offset: usize, size: usize, key: &[u8]) -> Bytes {
    let start = offset.min(items.len());
    let end = start.saturating_add(size).min(items.len());
    let next = u32::try_from(end).ok().filter(|_| end < items.len());
    let next = next.map(|offset| Cursor { snapshot: name, list: list as u8, offset }.write(key));
    merge::result(list, items.get(start..end).unwrap_or_default(), next.as_deref())
}

/// An empty cursor is one too (2025-11-25, server/utilities/pagination).
fn cursor_of(request: &Envelope<'_>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Page {
        cursor: Option<String>,
    }
    serde_json::from_str::<Page>(request.params?.get()).ok()?.cursor
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
        let name = name_of(&items);
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
