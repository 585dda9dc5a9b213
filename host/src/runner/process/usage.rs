//! What processes use, read from `/proc` when somebody asks.
//!
//! A server is counted with everything below it: `npx` and `uvx` leave the server
//! itself further down, and what it has put into the background hangs below its
//! reaper, of which it is the first child.

use std::collections::{HashMap, HashSet};

/// The kernel counts CPU time for programs in hundredths of a second, whatever
/// its own clock does (`USER_HZ`).
const TICK_MS: u64 = 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory. Pages that processes share count in each of them.
    pub rss_bytes: u64,
    /// Of those that run, and of those below them that have ended.
    pub cpu_ms: u64,
}

/// For each server that still runs. Reads every process of the machine once:
/// not on a thread that has requests to serve.
#[must_use]
pub fn of(servers: &[u32]) -> HashMap<u32, Usage> {
    let processes = Processes::read();
    servers.iter().filter_map(|pid| Some((*pid, processes.usage(*pid)?))).collect()
}

struct Process {
    parent: u32,
    cpu_ticks: u64,
}

/// The processes of this machine at one moment.
pub struct Processes {
    all: HashMap<u32, Process>,
    children: HashMap<u32, Vec<u32>>,
}

impl Processes {
    /// Reads every process of the machine once: not on a thread that has requests to serve.
    #[must_use]
    pub fn read() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let all = pids.filter_map(|pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse(&stat)?))
        });
        Self::new(all.collect())
    }

    fn new(all: HashMap<u32, Process>) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, process) in &all {
            children.entry(process.parent).or_default().push(*pid);
        }
        Self { all, children }
    }

    /// What a server and everything that it has started use; `None` if it is gone.
    #[must_use]
    pub fn usage(&self, server: u32) -> Option<Usage> {
        self.all.get(&server)?;
        let mut usage = Usage::default();
        for pid in self.family(server) {
            let Some(process) = self.all.get(&pid) else { continue };
            usage.cpu_ms += process.cpu_ticks * TICK_MS;
            usage.rss_bytes += resident(pid);
        }
        Some(usage)
    }

    /// The server, what is below it, and what else is below its reaper.
    fn family(&self, server: u32) -> HashSet<u32> {
        let mut family = HashSet::from([server]);
        let mut next = vec![server];
        if let Some(reaper) = self.reaper_of(server) {
            next.push(reaper);
        }
        while let Some(parent) = next.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                // Read one after the other, parents may seem to form a ring.
                if *child != parent && family.insert(*child) {
                    next.push(*child);
                }
            }
        }
        family
    }

    /// gateway ─► supervisor ─► reaper ─► server. Whoever else the parent is has
    /// children that are none of this server's.
    fn reaper_of(&self, server: u32) -> Option<u32> {
        let reaper = self.all.get(&server)?.parent;
        let supervisor = self.all.get(&reaper)?.parent;
        let gateway = self.all.get(&supervisor)?.parent;
        (gateway == std::process::id()).then_some(reaper)
    }
}

/// Parent and CPU time out of `/proc/{pid}/stat`.
fn parse(stat: &str) -> Option<Process> {
    // The name stands in parentheses and may hold anything; field 3 follows.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // utime and stime, and those of children that were waited for.
    let cpu_ticks = (14..=17).filter_map(number).sum();
    Some(Process { parent: u32::try_from(number(4)?).ok()?, cpu_ticks })
}

/// One that has gone meanwhile uses nothing.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_nothing() {
        let stat = "42 (a) b) R 7 42 42 0 -1 4194560 100 0 0 0 11 5 3 1 20 0 1 0 1000 1 1";
        let process = parse(stat).unwrap();
        assert_eq!((process.parent, process.cpu_ticks), (7, 20));
    }

    #[test]
    fn what_is_below_a_reaper_belongs_to_its_server() {
        let own = std::process::id();
        // own ─► 2 ─► 3 ─► 4 ─► 5, and 6 that was left to the reaper 3.
        let parents = [(2, own), (3, 2), (4, 3), (5, 4), (6, 3), (7, 2)];
        let all = parents.map(|(pid, parent)| (pid, Process { parent, cpu_ticks: 1 }));
        let processes = Processes::new(HashMap::from(all));
        assert_eq!(processes.family(4), HashSet::from([4, 5, 6]));
        // No reaper: only what is really below.
        assert_eq!(processes.family(3), HashSet::from([3, 4, 5, 6]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_of_this_one_is_found_with_what_it_uses() {
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // `spawn` returns before the program's pages are there: let it say something.
        let mut echoed = [0];
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
        let used = Processes::read().usage(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(used.is_some_and(|used| used.rss_bytes > 100_000), "{used:?}");
        assert_eq!(Processes::read().usage(child.id()), None);
    }
}
