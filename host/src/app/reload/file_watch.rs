//! Notices that files of the settings have changed. It asks for their state at short intervals: that
//! works on every file system, and for editors that replace a file as for Kubernetes, which replaces
//! a link somewhere on its path.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;

/// Time between two looks. A file that is the same in two of them is taken for written.
const LOOK: Duration = Duration::from_millis(500);
/// Looks after which a file that is missing counts as removed.
const PATIENCE: u32 = 4;

/// What a file is like: its device, number, size, when it was written, and when its rights or its name
/// were changed. One that could not be read may be readable now.
type State = Option<([u64; 3], [i64; 4])>;

/// Watches the settings file, files that it names for what is in them, `.env` and the strategy's
/// plugin.
pub struct FileWatch {
    files: Vec<PathBuf>,
    /// As they were at the last reload.
    known: Vec<State>,
    /// As they were at the last look.
    seen: Vec<State>,
}

impl FileWatch {
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut watch = Self { files: files_of(config), known: Vec::new(), seen: Vec::new() };
        watch.note();
        watch
    }

    /// Resolves once files have changed and do not change any more. `is_outdated`: they had changed
    /// before they were watched.
    pub async fn changed(&mut self, is_outdated: bool) {
        let mut missing = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            let files = self.files.clone();
            // A file may be in a network that does not answer.
            let Ok(now) = tokio::task::spawn_blocking(move || states(&files)).await else {
                continue;
            };
            let is_settled = now == self.seen;
            self.seen = now;
            if !is_settled || (self.seen == self.known && !is_outdated) {
                missing = 0;
                continue;
            }
            let is_gone = |(now, before): (&State, &State)| now.is_none() && before.is_some();
            // Some programs remove a file before they write the next one.
            missing += u32::from(self.seen.iter().zip(&self.known).any(is_gone));
            if missing == 0 || missing > PATIENCE {
                return;
            }
        }
    }

    /// The files are about to be read as they are now.
    pub fn note(&mut self) {
        self.known = states(&self.files);
        self.seen.clone_from(&self.known);
    }

    /// The settings in force name other files.
    pub fn follow(&mut self, config: &Config) {
        let files = files_of(config);
        if files != self.files {
            let now = states(&files);
            // Those of before may have changed since they were read.
            let of = |(file, now): (&PathBuf, State)| {
                let at = self.files.iter().position(|known| known == file);
                at.map_or(now, |at| self.known[at])
            };
            self.known = files.iter().zip(now).map(of).collect();
            self.seen.clone_from(&self.known);
            self.files = files;
        }
    }
}

/// Why the settings cannot be read again: a part of them was read from a pipe, or the like, where
/// nobody may ever write again.
pub fn unreadable(config: &Config) -> Option<String> {
    let is_no_file = |path: &&PathBuf| std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let path = config.own_files.iter().find(is_no_file)?;
    let path = path.display();
    Some(format!("{path}: is no regular file, so that it cannot be read again; start from a file"))
}

fn files_of(config: &Config) -> Vec<PathBuf> {
    let mut files = config.own_files.clone();
    let beside = files.last().and_then(|settings| Some(settings.parent()?.join(".env")));
    files.extend(beside);
    files.extend(config.named_files.iter().cloned());
    files.push(PathBuf::from(&config.sticky.strategy));
    files
}

fn states(files: &[PathBuf]) -> Vec<State> {
    let state = |file: &PathBuf| {
        // What is no file, as a pipe, says nothing of its content.
        let file = std::fs::metadata(file).ok().filter(Metadata::is_file)?;
        let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
        Some(([file.dev(), file.ino(), file.size()], times))
    };
    files.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_and_rewriting_and_another_link_are_changes() {
        let folder = std::env::temp_dir().join(format!("mooring-watch-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        std::fs::create_dir(path("one")).unwrap();
        std::fs::create_dir(path("two")).unwrap();
        std::fs::write(path("one/file"), "{}").unwrap();
        std::fs::write(path("two/file"), "{}").unwrap();
        std::os::unix::fs::symlink("one", path("data")).unwrap();
        let files = vec![path("data/file")];
        let mut before = states(&files);
        assert!(before[0].is_some());
        assert_eq!(states(&files), before);
        let mut differs = |what: &str| {
            let now = states(&files);
            assert_ne!(now, before, "{what}");
            before = now;
        };
        std::os::unix::fs::symlink("two", path("next")).unwrap();
        std::fs::rename(path("next"), path("data")).unwrap();
        differs("another link");
        std::fs::write(path("new"), "{}").unwrap();
        std::fs::rename(path("new"), path("two/file")).unwrap();
        differs("another file");
        std::fs::write(path("two/file"), "{ }").unwrap();
        differs("other text");
        let rights = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(path("two/file"), rights).unwrap();
        differs("other rights");
        std::fs::remove_file(path("two/file")).unwrap();
        differs("no file");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
