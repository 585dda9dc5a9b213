//! What clients have set in their sessions, for a new instance that needs it again. All of it comes
//! from outside, so that all of it is bounded.

use std::sync::atomic::Ordering;

use crate::model::{ServerName, SessionId, UnixMillis};
use crate::protocol::log_level::LogLevel;

use super::bindings::Bindings;

/// Subscriptions of one session that are restored on a new instance.
const MAX_SUBSCRIPTIONS: usize = 1000;
/// Bytes of one session's subscriptions. URIs have a few dozen.
const MAX_BYTES: usize = 64 << 10;
/// Bytes of the subscriptions of all sessions that count for one key.
const MAX_BYTES_OF_KEY: usize = 16 << 20;
/// Bytes of the subscriptions of all sessions.
const MAX_BYTES_IN_ALL: usize = 128 << 20;
/// Bytes that a subscription needs beside its URI.
const ENTRY: usize = 64;

impl Bindings {
    /// Notes the level that the client has set.
    pub fn set_log_level(&self, session: SessionId, level: LogLevel) {
        let now = UnixMillis::now();
        self.with_room(session, |records| {
            self.entry(records, session, now).log_level = Some(level);
        });
        self.changed(session);
    }

    /// Notes the level that a node reports, unless this process knows one: that is as
    /// new or newer.
    pub fn set_log_level_if_unknown(&self, session: SessionId, level: LogLevel) {
        let now = UnixMillis::now();
        self.with_room(session, |records| {
            self.entry(records, session, now).log_level.get_or_insert(level);
        });
    }

    /// Notes a subscription, to be restored after a loss of the server. Above 1000
    /// of a session, or too many bytes, further ones are not noted.
    pub fn subscribe(&self, session: SessionId, server: &ServerName, uri: &str) {
        let now = UnixMillis::now();
        let is_noted = self.with_room(session, |records| {
            let record = self.entry(records, session, now);
            let known =
                |(name, known): &(_, std::sync::Arc<str>)| name == server && **known == *uri;
            if record.subscriptions.iter().any(known) {
                return true;
            }
            let held: usize = record.subscriptions.iter().map(|(_, uri)| uri.len() + ENTRY).sum();
            let bytes = uri.len() + ENTRY;
            if record.subscriptions.len() >= MAX_SUBSCRIPTIONS || held + bytes > MAX_BYTES {
                return false;
            }
            // A session that a node has reported is not counted before its client comes.
            let fits = record.counted.as_mut().is_none_or(|counted| {
                self.quotas.lock().grow(counted, bytes, MAX_BYTES_OF_KEY, MAX_BYTES_IN_ALL)
            });
            if fits {
                record.subscriptions.push((server.clone(), uri.into()));
                self.subscribed.fetch_add(uri.len(), Ordering::Relaxed);
            }
            fits
        });
        self.changed(session);
        if !is_noted {
            self.met.subscriptions.note_refused(|since| {
                tracing::warn!(
                    session = %session.short(), server = %server, since,
                    "a client subscribes to more resources than are remembered: this one is not \
                     subscribed to again if its server is lost"
                );
            });
        }
    }

    /// Forgets a subscription that the client has ended.
    pub fn unsubscribe(&self, session: SessionId, server: &ServerName, uri: &str) {
        self.with(session, |records| {
            let Some(record) = records.get_mut(&session) else { return };
            let before = record.subscriptions.len();
            record.subscriptions.retain(|(name, known)| name != server || **known != *uri);
            let ended = before - record.subscriptions.len();
            self.subscribed.fetch_sub(ended * uri.len(), Ordering::Relaxed);
            if ended > 0
                && let Some(counted) = &mut record.counted
            {
                self.quotas.lock().shrink(counted, uri.len() + ENTRY);
            }
        });
        self.changed(session);
    }

    /// Bytes of all subscriptions' URIs.
    #[must_use]
    pub fn subscribed(&self) -> usize {
        self.subscribed.load(Ordering::Relaxed)
    }
}
