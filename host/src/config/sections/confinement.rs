//! What a child process may use, and whom it runs as: `rlimits` and `user`.

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

/// A program does not even start in less address space.
const MIN_MEMORY: u64 = 1024 * 1024;
/// Beyond what any kernel has; also what JavaScript still counts exactly.
const MAX_MEMORY: u64 = 1 << 53;
/// Standard streams, and something to work with.
const MIN_FILES: u64 = 8;
/// The kernel's own bound is about a billion (`fs.nr_open`).
const MAX_FILES: u64 = 1 << 30;
/// The kernel's own bound on ids of processes.
const MAX_PROCESSES: u64 = 1 << 22;
/// A year.
const MAX_CPU_SECONDS: u64 = 366 * 24 * 3600;
/// -1 means "no change" to the kernel.
const MAX_ID: u64 = u32::MAX as u64 - 1;

/// What is absent is as the gateway has it itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Bytes of address space of each process.
    pub memory: Option<u64>,
    /// Open files of each process.
    pub files: Option<u64>,
    /// Processes and threads of the user, on the whole machine.
    pub processes: Option<u64>,
    /// Seconds of CPU time of each process.
    pub cpu_seconds: Option<u64>,
    /// User and group.
    pub user: Option<(u32, u32)>,
}

/// `None` leaves a finding behind.
pub(in crate::config) fn read(entry: &Section<'_>) -> Option<Confinement> {
    let rlimits = entry.section("rlimits");
    let limit = |key, range| match rlimits.get(key) {
        Some(item) => item.whole(range).map(Some),
        None => Some(None),
    };
    // All of them are looked at before the first mistake counts.
    let memory = limit("memory", MIN_MEMORY..=MAX_MEMORY);
    let files = limit("files", MIN_FILES..=MAX_FILES);
    let processes = limit("processes", 1..=MAX_PROCESSES);
    let cpu_seconds = limit("cpuSeconds", 1..=MAX_CPU_SECONDS);
    let user = match entry.get("user") {
        Some(item) => user(&item).map(Some),
        None => Some(None),
    };
    Some(Confinement {
        memory: memory?,
        files: files?,
        processes: processes?,
        cpu_seconds: cpu_seconds?,
        user: user?,
    })
}

/// `1000` or `"1000:1000"`; without a group, the one of the user's number. Names
/// would be another machine's in a container.
fn user(item: &Item<'_>) -> Option<(u32, u32)> {
    let text = item.word()?;
    let id = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|id| digits && u64::from(*id) <= MAX_ID)
    };
    let user = match text.split_once(':') {
        Some((uid, gid)) => id(uid).zip(id(gid)),
        None => id(&text).map(|id| (id, id)),
    };
    if user.is_none() {
        item.refuse(
            "is not a user",
            "write the number of a user, or of a user and a group, such as \"1000:1000\"",
        );
    }
    user
}
