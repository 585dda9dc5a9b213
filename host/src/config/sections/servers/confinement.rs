//! Limits of a child process, the user that it runs as, and its privileges: `rlimits`, `user` and
//! `allowPrivileges`.

use crate::config::reader::item::Item;
use crate::config::reader::section::Section;

use super::sandbox::SandboxSettings;

/// Bytes of address space; no program starts with less.
const MIN_MEMORY: u64 = 1024 * 1024;
/// Bytes. More than any kernel supports, and the largest number that JSON readers in
/// JavaScript keep exact.
const MAX_MEMORY: u64 = 1 << 53;
/// The three standard streams, and five more files for the program.
const MIN_FILES: u64 = 8;
/// About the kernel's own maximum (`fs.nr_open`).
const MAX_FILES: u64 = 1 << 30;
/// The kernel's own maximum of process ids.
const MAX_PROCESSES: u64 = 1 << 22;
/// Seconds: 366 days.
const MAX_CPU_SECONDS: u64 = 366 * 24 * 3600;
/// Largest user or group id; -1 (`u32::MAX`) means "no change" to the kernel.
const MAX_ID: u64 = u32::MAX as u64 - 1;

/// Limits and user of a child process. What is absent is inherited from the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfinementSettings {
    /// Bytes of address space of each process.
    pub memory: Option<u64>,
    /// Open files of each process.
    pub files: Option<u64>,
    /// Processes and threads of the user on the whole machine.
    pub processes: Option<u64>,
    /// Seconds of CPU time of each process.
    pub cpu_seconds: Option<u64>,
    /// User id and group id.
    pub user: Option<(u32, u32)>,
    /// Whether setuid programs work, and the gateway's own files are not hidden.
    pub allow_privileges: bool,
    pub sandbox: Option<SandboxSettings>,
}

/// Reads all keys but `sandbox`; `None` if there is a mistake, which becomes a finding.
pub(in crate::config) fn read(entry: &Section<'_>) -> Option<ConfinementSettings> {
    let allow_privileges = entry.flag("allowPrivileges", false);
    if let Some(item) = entry.get("allowPrivileges").filter(|_| entry.get("sandbox").is_some())
        && allow_privileges
    {
        item.refuse("contradicts \"sandbox\", which takes privileges away", "remove one of them");
    }
    let rlimits = entry.section("rlimits");
    let limit = |key, range| match rlimits.get(key) {
        Some(item) => item.whole(range).map(Some),
        None => Some(None),
    };
    // All keys are read before the first `?`, so that every mistake is found.
    let memory = limit("memory", MIN_MEMORY..=MAX_MEMORY);
    let files = limit("files", MIN_FILES..=MAX_FILES);
    let processes = limit("processes", 1..=MAX_PROCESSES);
    let cpu_seconds = limit("cpuSeconds", 1..=MAX_CPU_SECONDS);
    let user = match entry.get("user") {
        Some(item) => user(&item).map(Some),
        None => Some(None),
    };
    Some(ConfinementSettings {
        memory: memory?,
        files: files?,
        processes: processes?,
        cpu_seconds: cpu_seconds?,
        user: user?,
        allow_privileges,
        sandbox: None,
    })
}

/// `1000` or `"1000:1000"`; without a group, the group id is the user id. Names are
/// refused: inside a container they may belong to other ids.
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
            "is not a user id",
            "write a number such as 1000, or a user and a group such as \"1000:1000\"",
        );
    }
    user
}
