//! What this process is short of: descriptors and memory. Looked at once a second; said in the log
//! when it begins and ends, and in `/readyz` and the metrics as long as it lasts.

use crate::sync::{Locked, Seldom};

use super::machine::Memory;

/// Descriptors that connections of clients leave to upstreams, server processes and files, where the
/// limit is large.
const RESERVE: u64 = 256;

/// What there was at the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Open descriptors of this process, if the system tells.
    pub open_files: Option<u64>,
    pub memory: Option<Memory>,
    /// Whether less memory is free than must be.
    pub is_low: bool,
}

/// What this process is short of, shared by all who say so.
#[derive(Debug)]
pub struct Pressure {
    /// Descriptors that this process may have.
    most_files: u64,
    state: Locked<State>,
    files_said: Seldom,
    memory_said: Seldom,
}

#[derive(Debug, Default)]
struct State {
    reading: Reading,
    short_of_files: bool,
}

impl Pressure {
    #[must_use]
    pub fn new(most_files: u64) -> Self {
        Self {
            most_files,
            state: Locked::default(),
            files_said: Seldom::default(),
            memory_said: Seldom::default(),
        }
    }

    /// Descriptors that this process may have.
    #[must_use]
    pub fn most_files(&self) -> u64 {
        self.most_files
    }

    #[must_use]
    pub fn reading(&self) -> Reading {
        self.state.lock().reading
    }

    /// Whether so few descriptors are left that nothing new should begin here.
    #[must_use]
    pub fn is_short_of_files(&self) -> bool {
        self.state.lock().short_of_files
    }

    /// Takes a look.
    pub fn note(&self, reading: Reading) {
        let (was_short, was_low) = {
            let mut state = self.state.lock();
            let before = (state.short_of_files, state.reading.is_low);
            state.short_of_files = is_short(reading.open_files, self.most_files, before.0);
            state.reading = reading;
            before
        };
        let is_short = self.is_short_of_files();
        if is_short != was_short {
            say(&self.files_said, is_short, "open files", &self.files());
        }
        if reading.is_low != was_low {
            say(&self.memory_said, reading.is_low, "memory", &self.memory());
        }
    }

    /// What is short now, a line each.
    #[must_use]
    pub fn shortages(&self) -> Vec<(&'static str, String)> {
        let files = self.is_short_of_files().then(|| ("open-files", self.files()));
        let memory = self.reading().is_low.then(|| ("memory", self.memory()));
        files.into_iter().chain(memory).collect()
    }

    fn files(&self) -> String {
        format!(
            "open files: {} of {} are in use; below the reserve silent connections are closed and \
             new sessions go to other nodes (ulimit -n, LimitNOFILE=)",
            self.reading().open_files.unwrap_or(0),
            self.most_files
        )
    }

    fn memory(&self) -> String {
        let Memory { free, total } = self.reading().memory.unwrap_or(Memory { free: 0, total: 0 });
        format!(
            "memory: {} of {} MiB are free; below the reserve (minFreeMemory) new sessions go to \
             other nodes",
            free >> 20,
            total >> 20
        )
    }
}

fn say(seldom: &Seldom, has_begun: bool, what: &str, line: &str) {
    if !has_begun {
        tracing::info!("no longer short of {what}");
    } else if seldom.line().is_some() {
        tracing::warn!("{line}");
    }
}

/// What has begun ends at twice the reserve, so that it does not begin and end in turn.
fn is_short(open: Option<u64>, most: u64, was_short: bool) -> bool {
    let reserve = RESERVE.min(most / 8);
    let left = most.saturating_sub(open.unwrap_or(0));
    left < if was_short { reserve * 2 } else { reserve }
}

/// The number of open descriptors of this process.
#[must_use]
pub fn open_files() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    // Since Linux 6.2 the size of the folder is their number.
    let counted = std::fs::metadata(FOLDER).ok()?.len();
    if counted > 0 {
        return Some(counted);
    }
    // One of them is that of the folder itself.
    Some((std::fs::read_dir(FOLDER).ok()?.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_begins_at_the_reserve_and_ends_at_twice_of_it() {
        for (left, most, was_short, expect) in [
            (257, 10_000, false, false),
            (255, 10_000, false, true),
            (257, 10_000, true, true),
            (513, 10_000, true, false),
            (33, 256, false, false),
            (31, 256, false, true),
        ] {
            assert_eq!(is_short(Some(most - left), most, was_short), expect, "{left} of {most}");
        }
        assert!(!is_short(None, 1024, false));
    }

    #[test]
    fn what_is_short_is_said_until_it_is_over() {
        let pressure = Pressure::new(1024);
        let names = || pressure.shortages().iter().map(|(what, _)| *what).collect::<Vec<_>>();
        assert!(names().is_empty());
        let memory = Some(Memory { free: 5 << 20, total: 1000 << 20 });
        pressure.note(Reading { open_files: Some(1000), memory, is_low: true });
        assert_eq!(names(), ["open-files", "memory"]);
        let lines = pressure.shortages();
        assert!(lines[0].1.starts_with("open files: 1000 of 1024 are in use"), "{lines:?}");
        assert!(lines[1].1.starts_with("memory: 5 of 1000 MiB are free"), "{lines:?}");
        pressure.note(Reading { open_files: Some(10), memory, is_low: false });
        assert!(names().is_empty());
    }

    #[test]
    fn the_open_descriptors_of_this_process_are_counted() {
        let before = open_files().unwrap();
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some at the same time.
        assert!(open_files().unwrap() >= before.saturating_sub(20) + 30, "{before}");
        drop(files);
    }
}
