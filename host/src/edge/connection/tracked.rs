//! One connection as the looks at all of them see it: what it owes, for how long, and how soon it
//! gives way to another one.

use std::net::IpAddr;
use std::sync::Arc;

use super::activity::Activity;
use super::pace::{Pace, Required};

/// What is asked of every connection. Times are numbers of looks.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Looks in a row without a request after which a connection is closed.
    pub silence: u32,
    /// Looks for which the head of a request may be incomplete.
    pub head: u32,
    pub body: Required,
    pub answer: Required,
}

/// Looks in a row in which a client takes nothing, after which it is cut off while too much memory
/// is held by answers that nobody reads.
const UNREAD: u32 = 5;
/// Looks in a row for which a client may owe what a request needs before it is cut off to make
/// room for another connection.
const OWED: u32 = 5;
/// Looks after which a connection that was told to end and is still there counts again.
const LEAVING: u32 = 3;

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Well,
    Silent,
    /// The head of a request is incomplete for too long.
    LateHead,
    /// The body of a request does not go on.
    SlowBody,
    /// The client does not read its answer.
    Unread,
}

/// How soon a connection gives way; the largest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It has been owing its part of a request for so many looks.
    Owing(u32),
    /// It has been silent for so many looks.
    Silent(u32),
}

/// A connection in the table.
pub struct TrackedConnection {
    pub activity: Arc<Activity>,
    /// The address that it counts for; `None` if it counts for none.
    pub address: Option<IpAddr>,
    /// Whether the other end has proved to be a part of the cluster. It gives way to nobody: if
    /// strangers could take the cluster's connections, they could make its leases expire.
    pub is_of_cluster: bool,
    /// `moves` at the last look; `None` before the first.
    seen: Option<u64>,
    /// Looks in a row without activity. The first counts as activity.
    quiet: u32,
    /// Looks in a row at which a head was incomplete.
    head: u32,
    /// The number of the request whose body is judged.
    request: u64,
    body: Pace,
    answer: Pace,
    /// Looks since it was told to make room.
    leaving: Option<u32>,
}

impl TrackedConnection {
    #[must_use]
    pub fn new(activity: Arc<Activity>, address: Option<IpAddr>) -> Self {
        Self {
            activity,
            address,
            is_of_cluster: false,
            seen: None,
            quiet: 0,
            head: 0,
            request: 0,
            body: Pace::default(),
            answer: Pace::default(),
            leaving: None,
        }
    }

    /// Looks at the connection, and orders it to end if it has to. `is_short` says that too much
    /// memory is held by unread answers.
    pub fn look(&mut self, rules: &Rules, is_short: bool) -> Found {
        let found = self.judge(rules, is_short);
        match found {
            Found::Well => {}
            Found::Silent => self.activity.end_if_silent(),
            Found::LateHead => self.activity.late(),
            // The receiver of the body answers with a status that says so.
            Found::SlowBody => self.activity.intake.stall(),
            Found::Unread => self.activity.end(),
        }
        found
    }

    fn judge(&mut self, rules: &Rules, is_short: bool) -> Found {
        let activity = &self.activity;
        let moves = activity.moves();
        let is_used = activity.is_in_use() || self.seen != Some(moves);
        self.quiet = if is_used { 0 } else { self.quiet + 1 };
        self.seen = Some(moves);
        self.head = if activity.owes_head() { self.head + 1 } else { 0 };
        if self.request != activity.requests() {
            self.request = activity.requests();
            self.body = Pace::from(activity.bytes_received());
        }
        let body_is_slow =
            activity.owes_body() && self.body.look(activity.bytes_received(), rules.body);
        let mut is_unread = false;
        if activity.is_blocked() {
            is_unread = self.answer.look(activity.bytes_sent(), rules.answer);
            is_unread |= is_short && self.answer.still() >= UNREAD;
        } else {
            self.answer = Pace::from(activity.bytes_sent());
        }
        if is_unread {
            Found::Unread
        } else if body_is_slow {
            Found::SlowBody
        } else if self.head > rules.head {
            Found::LateHead
        } else if self.quiet >= rules.silence {
            Found::Silent
        } else {
            Found::Well
        }
    }

    /// Counts the looks of a connection that was told to make room. True once: it stays after all.
    pub fn stays(&mut self) -> bool {
        let Some(looks) = &mut self.leaving else { return false };
        *looks += 1;
        let stays = *looks > LEAVING;
        if stays {
            self.leaving = None;
        }
        stays
    }

    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// `None` if it gives way to nobody: it is the cluster's, or a request is in progress, and the
    /// client owes nothing.
    #[must_use]
    pub fn rank(&self) -> Option<Rank> {
        let activity = &self.activity;
        if self.is_leaving() || self.is_of_cluster {
            return None;
        }
        if !activity.is_in_use() && !activity.is_blocked() {
            // Used since the last look: the last of the silent ones.
            let moved = self.seen.is_some_and(|seen| seen != activity.moves());
            return Some(Rank::Silent(if moved { 0 } else { self.quiet + 1 }));
        }
        let owed = if activity.is_blocked() {
            self.answer.still()
        } else if activity.owes_body() {
            self.body.still()
        } else {
            0
        };
        (owed >= OWED).then_some(Rank::Owing(owed))
    }

    /// Tells the connection to make room for another one.
    pub fn give_way(&mut self) {
        self.leaving = Some(0);
        if self.activity.is_in_use() || self.activity.is_blocked() {
            self.activity.end();
        } else {
            self.activity.end_if_silent();
        }
    }
}
