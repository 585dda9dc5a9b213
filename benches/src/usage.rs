//! CPU time and memory of a gateway, from `/proc`.
//!
//! A gateway is its process and those descendants that run the same executable, such as the
//! supervisor. The servers that it has started do not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks per second in `/proc`: fixed by the kernel's interface, whatever its own rate.
const USER_HZ: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time since the process started.
    pub cpu: Duration,
    pub memory_bytes: u64,
}

impl Usage {
    pub fn of_gateway(pid: u32) -> Result<Self> {
        let program = executable(pid).with_context(|| format!("process {pid} is gone"))?;
        let mut sum = Self::of_process(pid)?;
        for descendant in descendants(pid) {
            if executable(descendant).is_some_and(|other| other == program) {
                // A process that has ended meanwhile adds nothing.
                let usage = Self::of_process(descendant).unwrap_or_default();
                sum.cpu += usage.cpu;
                sum.memory_bytes += usage.memory_bytes;
            }
        }
        Ok(sum)
    }

    pub fn of_process(pid: u32) -> Result<Self> {
        let stat = Stat::read(pid).with_context(|| format!("stat of process {pid}"))?;
        let seconds = stat.ticks as f64 / USER_HZ;
        Ok(Self { cpu: Duration::from_secs_f64(seconds), memory_bytes: resident(pid).unwrap_or(0) })
    }
}

/// The number of a gateway's servers.
pub fn servers_of(pid: u32) -> usize {
    servers(pid).len()
}

/// A gateway's servers: processes below it that are not the gateway.
pub fn servers(pid: u32) -> Vec<u32> {
    let program = executable(pid);
    let all = descendants(pid).into_iter();
    all.filter(|process| executable(*process).is_some_and(|other| Some(other) != program)).collect()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).context("its descriptors")?.count())
}

/// CPU time of the harness itself: the cost of generating the load.
pub fn own_cpu() -> Result<Duration> {
    Ok(Usage::of_process(std::process::id())?.cpu)
}

/// The load average of the last minute, which shows whether the machine was quiet.
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Memory in bytes, with shared pages divided among their processes (`Pss` of proc(5)), since a
/// supervisor and its forks share most of theirs.
fn resident(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name is in parentheses and may contain anything, so fields are counted from
    /// the last parenthesis: state is field 3 of proc(5).
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self { parent: u32::try_from(number(4)?).ok()?, ticks: number(14)? + number(15)? })
    }
}

fn executable(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes()
        .into_iter()
        .filter_map(|process| Some((process, Stat::read(process)?.parent)))
        .collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| child));
        next += 1;
    }
    family.split_off(1)
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 0 1 2 3 4 50 60 8 9 20 0 4 0 99 1000 42 18";
        let stat = Stat::parse(line).map(|stat| (stat.parent, stat.ticks));
        assert_eq!(stat, Some((3, 110)));
    }

    #[test]
    fn this_process_has_memory_and_its_parent_has_it_as_a_descendant() -> Result<()> {
        let own = std::process::id();
        assert!(Usage::of_gateway(own)?.memory_bytes > 0);
        assert!(descendants(std::os::unix::process::parent_id()).contains(&own));
        Ok(())
    }
}
