//! Memory and CPU time of servers, read from `/proc` on each call.
//!
//! A server is counted with all its descendants, since below `npx` and `uvx` the server itself is
//! a grandchild, and with everything else below its reaper: that is where the processes go that
//! it has put into the background.

use std::collections::{HashMap, HashSet};

/// The unit of CPU time in `/proc`: 1/100 s (`USER_HZ`), whatever the kernel's own timer does.
const TICK_MS: u64 = 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory. Pages that processes share count once for each of them.
    pub rss_bytes: u64,
    /// CPU time of the running processes and of their children that have ended.
    pub cpu_ms: u64,
}

/// The usage of each server that still runs. Reads every process of the machine once: do not call
/// it on a thread that serves requests.
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
    /// Reads every process of the machine: do not call it on a thread that serves requests.
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

    /// The usage of a server and of everything that it has started; `None` if it is gone.
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

    /// The server, its descendants, and everything else below its reaper.
    fn family(&self, server: u32) -> HashSet<u32> {
        let mut family = HashSet::from([server]);
        let mut next = vec![server];
        if let Some(reaper) = self.reaper_of(server) {
            next.push(reaper);
        }
        while let Some(parent) = next.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                // Processes are read one after the other, so ids used again may form a cycle.
                if *child != parent && family.insert(*child) {
                    next.push(*child);
                }
            }
        }
        family
    }

    /// The server's reaper: gateway ─► supervisor ─► reaper ─► server. `None` for any other
    /// parent, whose children do not belong to this server.
    fn reaper_of(&self, server: u32) -> Option<u32> {
        let reaper = self.all.get(&server)?.parent;
        let supervisor = self.all.get(&reaper)?.parent;
        let gateway = self.all.get(&supervisor)?.parent;
        (gateway == std::process::id()).then_some(reaper)
    }
}

/// Parent and CPU time from `/proc/{pid}/stat`.
fn parse(stat: &str) -> Option<Process> {
    // The name is in parentheses and may contain anything; field 3 follows it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // utime and stime, cutime and cstime.
    let cpu_ticks = (14..=17).filter_map(number).sum();
    Some(Process { parent: u32::try_from(number(4)?).ok()?, cpu_ticks })
}

/// Resident memory in bytes; 0 if the process has ended meanwhile.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
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
        // No reaper: only descendants.
        assert_eq!(processes.family(3), HashSet::from([3, 4, 5, 6]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_of_this_one_is_found_with_what_it_uses() {
        use std::io::{Read as _, Write as _};
        use std::process::{Command, Stdio};

        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // `spawn` returns before the program's pages are loaded; its output shows that they are.
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
