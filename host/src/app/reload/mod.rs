//! New settings for a process that goes on, as a transaction.
//!
//! ```text
//! SIGHUP, a changed file, POST /api/reload
//!   │  one after another; those that wait are answered by the next one
//!   ▼
//! read and check ─► what may change ─► try new servers ─► the strategy ─► swap ─► retire
//!        └────────────────┴─────────────────┴─────────────────┘
//!                 an error: told, and nothing has changed
//! ```

mod applicable;
mod change;
mod file_watch;
mod tell;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::admin::{Asked, ReloadReport};
use crate::config::{Config, ConfigErrors, Loaded};

use super::advice::notices;
use super::ending::signals::HangUp;
use super::parts::Parts;

use file_watch::FileWatch;

/// Reads the settings again, from the same sources as at the start.
pub type ReadSettings = Arc<dyn Fn() -> Result<Loaded, ConfigErrors> + Send + Sync>;

/// Carries out reloads.
pub struct Reloader {
    parts: Arc<Parts>,
    read: ReadSettings,
    /// The settings that are in force.
    config: Config,
    /// The file that they are from.
    path: Option<PathBuf>,
    address: SocketAddr,
    /// What the file of the strategy had in it when it was loaded.
    plugin: Option<u64>,
    /// Compares the names in the newest file.
    names: Option<AbortHandle>,
    /// What the log has told of the file that was read last: it is not told again while it stays.
    told: Vec<String>,
}

/// What is found in a file that can be used.
fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().chain(&loaded.no_servers).map(ToString::to_string).collect()
}

impl Reloader {
    #[must_use]
    pub fn new(
        parts: &Arc<Parts>,
        read: ReadSettings,
        loaded: &Loaded,
        address: SocketAddr,
    ) -> Self {
        let plugin = change::digest_of_plugin(&loaded.config.sticky.strategy);
        let (parts, config, path) = (Arc::clone(parts), loaded.config.clone(), loaded.path.clone());
        Self { parts, read, config, path, address, plugin, names: None, told: warnings(loaded) }
    }

    /// Reloads whenever it is asked for, until it is dropped.
    pub async fn run(mut self, mut asked: mpsc::Receiver<Asked>, mut hang_up: HangUp) {
        let mut files = FileWatch::of(&self.config);
        let mut is_outdated = self.is_outdated().await;
        loop {
            let mut waiting = Vec::new();
            let cause = tokio::select! {
                () = hang_up.next() => "SIGHUP",
                () = files.changed(std::mem::take(&mut is_outdated)) => "a changed file",
                Some(answer) = asked.recv() => {
                    waiting.push(answer);
                    "POST /api/reload"
                }
            };
            // Whoever asked before this one begins is answered by it.
            while let Ok(answer) = asked.try_recv() {
                waiting.push(answer);
            }
            files.note();
            tracing::info!("reloads the settings: {cause}");
            let report = self.reload().await;
            tell::log(&report);
            self.parts.reloads.note(cause, &report);
            files.follow(&self.config);
            for answer in waiting {
                let _ = answer.send(report.clone());
            }
        }
    }

    /// Whether a file has changed since the start has read it, before it was watched: a start takes
    /// a second where much has to be compiled.
    async fn is_outdated(&self) -> bool {
        if file_watch::unreadable(&self.config).is_some() {
            return false;
        }
        let read = Arc::clone(&self.read);
        match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(loaded)) => loaded.config != self.config,
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }

    async fn reload(&mut self) -> ReloadReport {
        if let Some(why) = file_watch::unreadable(&self.config) {
            return refused(vec![why]);
        }
        let read = Arc::clone(&self.read);
        let loaded = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(errors)) => {
                return refused(errors.errors.iter().map(ToString::to_string).collect());
            }
            Err(error) => return refused(vec![format!("the settings were not read: {error}")]),
        };
        if let Some(path) = self.path.as_ref().filter(|_| self.path != loaded.path) {
            // A start would go on with another file, or with none: with no server and no key.
            let gone =
                format!("{}: is gone; bring it back, or start again without it", path.display());
            return refused(vec![gone]);
        }
        let warnings = warnings(&loaded);
        for warning in warnings.iter().filter(|warning| !self.told.contains(*warning)) {
            tracing::warn!("{warning}");
        }
        self.told.clone_from(&warnings);
        if let Some(why) = self.without_a_word(&loaded) {
            return ReloadReport { warnings, ..refused(vec![why]) };
        }
        let before = notices::of(&self.config);
        match self.change(&loaded.config).await {
            Ok(report) => {
                self.path = loaded.path;
                let now = notices::of(&self.config).into_iter();
                let new = now.filter(|notice| !before.contains(notice));
                new.for_each(|notice| tracing::warn!("{notice}"));
                ReloadReport { warnings, ..report }
            }
            Err(reasons) => ReloadReport { warnings, ..refused(reasons) },
        }
    }

    /// Why all servers would go although the file does not say so. A start has nothing to lose by
    /// such a file; here it would end every session, while the file is being written, or for one
    /// wrong letter.
    fn without_a_word(&self, loaded: &Loaded) -> Option<String> {
        let (now, finding) = (self.config.servers.len(), loaded.no_servers.as_ref()?);
        let is_accident = now > 0 && loaded.config.servers.is_empty() && !loaded.lists_servers;
        is_accident.then(|| {
            format!(
                "{finding}; of the {now} in force none would be left: write \"mcpServers\": {{}} if \
                 that is meant"
            )
        })
    }
}

fn refused(reasons: Vec<String>) -> ReloadReport {
    ReloadReport { reasons, ..ReloadReport::default() }
}
