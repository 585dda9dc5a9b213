//! What was found out about the revisions of servers, for their settings as they are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::ServerName;
use crate::runner::session::served::Served;
use crate::sync::{Locked, now, since};

use super::tools::ToolHeaders;

/// How long it counts that a server has no sessions: it may be replaced by one that has both.
const MODERN: Duration = Duration::from_secs(24 * 3600);
/// How long it counts that a server that refuses sessions does not serve the other revision
/// either. What refuses may be about to be mended.
const LEGACY: Duration = Duration::from_secs(600);

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does not serve the revision without sessions.
    Legacy,
    /// It serves it, and opens no session.
    Modern,
}

/// The verdicts, by server.
#[derive(Debug, Default)]
pub struct Eras(Locked<HashMap<ServerName, Found>>);

#[derive(Debug)]
struct Found {
    /// The settings with which it was found.
    with: Arc<Served>,
    verdict: Option<(Verdict, Instant)>,
    tools: Arc<ToolHeaders>,
}

impl Found {
    fn is_of(&self, served: &Arc<Served>) -> bool {
        Arc::ptr_eq(&self.with, served) || self.with.recipe == served.recipe
    }
}

impl Eras {
    /// The verdict, if there is one for these settings that still counts.
    #[must_use]
    pub fn known(&self, server: &ServerName, served: &Arc<Served>) -> Option<Verdict> {
        let found = self.0.lock();
        let found = found.get(server).filter(|found| found.is_of(served))?;
        let (verdict, at) = found.verdict?;
        let horizon = match verdict {
            Verdict::Legacy => LEGACY,
            Verdict::Modern => MODERN,
        };
        (since(at) < horizon).then_some(verdict)
    }

    /// Notes a verdict.
    pub fn note(&self, server: &ServerName, served: &Arc<Served>, verdict: Verdict) {
        self.with(server, served, |found| found.verdict = Some((verdict, now())));
    }

    /// Forgets the verdict: the server has shown that it is wrong.
    pub fn doubt(&self, server: &ServerName) {
        if let Some(found) = self.0.lock().get_mut(server) {
            found.verdict = None;
        }
    }

    /// Forgets a server, which has other settings by now.
    pub fn forget(&self, server: &ServerName) {
        self.0.lock().remove(server);
    }

    /// The arguments of its tools that stand in headers.
    #[must_use]
    pub fn tools(&self, server: &ServerName, served: &Arc<Served>) -> Arc<ToolHeaders> {
        self.with(server, served, |found| Arc::clone(&found.tools))
    }

    fn with<T>(
        &self,
        server: &ServerName,
        served: &Arc<Served>,
        act: impl FnOnce(&mut Found) -> T,
    ) -> T {
        let mut all = self.0.lock();
        let new = || Found { with: Arc::clone(served), verdict: None, tools: Arc::default() };
        let found = all.entry(server.clone()).or_insert_with(new);
        if !found.is_of(served) {
            *found = new();
        }
        act(found)
    }
}
