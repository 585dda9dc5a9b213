//! How much memory servers use, with everything that they have started.
//!
//! Resident memory is summed up over the processes, so what they share counts
//! more than once: the sum is never too small. Known on Linux alone.

use std::collections::HashMap;
use std::fs;

/// The processes of this machine at one moment, by their parents.
#[derive(Debug, Default)]
pub struct Processes {
    parents: HashMap<u32, u32>,
    children: HashMap<u32, Vec<u32>>,
}

impl Processes {
    #[must_use]
    pub fn look() -> Self {
        let Ok(entries) = fs::read_dir("/proc") else { return Self::default() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut processes = Self::default();
        for pid in pids {
            if let Some(parent) = parent(pid) {
                processes.parents.insert(pid, parent);
                processes.children.entry(parent).or_default().push(pid);
            }
        }
        processes
    }

    /// Bytes of a server and of all that it has started; none if it is gone.
    #[must_use]
    pub fn memory_of(&self, server: u32) -> Option<u64> {
        let reaper = *self.parents.get(&server)?;
        // What has forked twice is below the server's own reaper, not below the
        // server. Without one its parent is this process, or nobody's.
        let mut below = if reaper == std::process::id() || reaper <= 1 {
            vec![server]
        } else {
            self.children.get(&reaper).cloned().unwrap_or_default()
        };
        let mut sum = 0_u64;
        while let Some(pid) = below.pop() {
            sum = sum.saturating_add(resident(pid).unwrap_or(0));
            below.extend(self.children.get(&pid).into_iter().flatten());
        }
        Some(sum)
    }
}

fn parent(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// Bytes of resident memory of one process.
fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_of_this_one_is_found_with_what_it_uses() {
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // `spawn` returns before the program's pages are there: let it say something.
        let mut echoed = [0];
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
        let used = Processes::look().memory_of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(used.is_some_and(|used| used > 100_000), "{used:?}");
        assert_eq!(Processes::look().memory_of(child.id()), None);
    }
}
