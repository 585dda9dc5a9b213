//! Finds, inspects and signals processes by their ids.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::eventually;

/// Sends a signal; nothing happens if the process is gone. One that stops it has done so when this
/// returns: under load a thread may go on for a moment.
pub fn signal(pid: u32, signal: Signal) {
    let Some(to) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    if kill_process(to, signal).is_ok() && signal == Signal::STOP {
        eventually("the process has stopped", || threads_stand(pid).then_some(()));
    }
}

/// Whether no thread of the process runs.
fn threads_stand(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
    })
}

/// Whether the process runs; a zombie does not. After a kill its first thread may be a zombie while
/// another one still holds the pipes.
#[must_use]
pub fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != 'Z') || has_threads(pid)
}

/// Whether it has threads besides the first.
fn has_threads(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    threads.is_ok_and(|threads| threads.count() > 1)
}

/// The running descendants of `pid`.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, Stat)> =
        all().into_iter().filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let mut below = vec![pid];
    let mut next = 0;
    while let Some(parent) = below.get(next).copied() {
        let children = all.iter().filter(|(_, stat)| stat.parent == parent && stat.state != 'Z');
        below.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    below.split_off(1)
}

/// The processes below a gateway except its own helpers: servers and what they have started.
#[must_use]
pub fn servers(gateway: u32) -> Vec<u32> {
    let is_helper = |pid: &u32| command_line(*pid).contains("--supervise-children");
    descendants(gateway).into_iter().filter(|pid| !is_helper(pid)).collect()
}

/// The supervisors of a gateway: its children that are the gateway's own program.
#[must_use]
pub fn supervisors(gateway: u32) -> Vec<u32> {
    children(gateway)
        .into_iter()
        .filter(|pid| command_line(*pid).contains("--supervise-children"))
        .collect()
}

/// Those of `pids` that still run.
#[must_use]
pub fn survivors(pids: &[u32]) -> Vec<u32> {
    pids.iter().copied().filter(|pid| runs(*pid)).collect()
}

/// The running processes that were started with `name=value` in their environment.
#[must_use]
pub fn with_variable(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    let has = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()))
    };
    all().into_iter().filter(|pid| has(pid) && runs(*pid)).collect()
}

/// The command line, arguments separated by single spaces.
#[must_use]
pub fn command_line(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ")
}

/// Whether the process is stopped, as by SIGSTOP.
#[must_use]
pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == 'T')
}

/// Resident memory of a process, in bytes.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// Bytes that the process has not read from the pipe that is its standard input.
#[must_use]
pub fn unread_input(pid: u32) -> usize {
    let Ok(pipe) = std::fs::File::open(format!("/proc/{pid}/fd/0")) else { return 0 };
    rustix::io::ioctl_fionread(&pipe).map_or(0, |bytes| bytes as usize)
}

/// Resident memory in bytes; `None` if the process is gone.
#[must_use]
pub fn memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How many descriptors the process has open.
#[must_use]
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

/// CPU time that the process has used.
#[must_use]
pub fn processor_time(pid: u32) -> std::time::Duration {
    const TICKS_A_SECOND: u32 = 100;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, rest) = text.rsplit_once(") ").expect("a state");
    let ticks = rest.split(' ').skip(11).take(2).map(|field| field.parse::<u32>().expect("ticks"));
    std::time::Duration::from_secs(1) * ticks.sum() / TICKS_A_SECOND
}

/// Its running children.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let is_child =
        |other: &u32| stat(*other).is_some_and(|stat| stat.parent == pid && stat.state != 'Z');
    all().into_iter().filter(is_child).collect()
}

fn all() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

struct Stat {
    state: char,
    parent: u32,
}

fn stat(pid: u32) -> Option<Stat> {
    let text =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name is in parentheses and may contain anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent })
}
