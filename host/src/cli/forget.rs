//! Takes secrets out of the environment once the settings have been read. Child processes get none
//! of them in any case, but `/proc` shows the first environment of a process as long as it lives.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::SECRETS;
use crate::runner;
use crate::sync::Locked;

/// Variables that the gateway or a library reads later, whatever a settings file makes of them.
const KEPT: [&str; 12] = [
    "MOORING_DATA",
    "MOORING_HOST",
    "MOORING_LOG",
    "MOORING_LOG_FORMAT",
    "MOORING_DUMPABLE",
    "PORT",
    "HOSTNAME",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_BACKTRACE",
    "MCPHUB_SETTING_PATH",
];

/// The environment, with a note of every variable that was asked for.
#[derive(Default)]
pub struct Environment {
    asked: Locked<BTreeSet<String>>,
    /// What was forgotten, for the next reading of the settings.
    kept: BTreeMap<String, String>,
}

impl Environment {
    pub fn variable(&self, name: &str) -> Option<String> {
        if let Some(kept) = self.kept.get(name) {
            return Some(kept.clone());
        }
        self.asked.lock().insert(name.to_owned());
        std::env::var(name).ok()
    }

    /// Forgets the secrets that have variables of their own, and what a settings file refers to as
    /// `${NAME}`. Their values stay here. Call it while there is one thread.
    pub fn forget_secrets(&mut self) {
        let asked = std::mem::take(self.asked.get_mut());
        let referred = asked.iter().map(String::as_str).filter(|name| !is_kept(name));
        let forgotten: Vec<&str> = SECRETS.into_iter().chain(referred).collect();
        let value = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
        self.kept = forgotten.iter().filter_map(value).collect();
        runner::forget_variables(forgotten);
    }
}

fn is_kept(name: &str) -> bool {
    // The path of a file with a secret is none itself.
    let names_file = || name.strip_suffix("_FILE").is_some_and(|name| SECRETS.contains(&name));
    KEPT.contains(&name) || runner::INHERITED.contains(&name) || names_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_inherit_and_what_is_read_later_is_kept() {
        for (name, expect) in [
            ("PATH", true),
            ("MOORING_LOG", true),
            ("SSL_CERT_FILE", true),
            ("MOORING_SECRET_FILE", true),
            ("MOORING_SEARCH_KEY", false),
            ("MOORING_SEARCH_FILE", false),
            ("SEARCH_KEY", false),
            ("PATHS", false),
        ] {
            assert_eq!(is_kept(name), expect, "{name}");
        }
    }
}
