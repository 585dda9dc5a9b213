//! Free memory and load of the machine or the container, read from `/proc` and the control
//! groups on each call.

use std::path::{Path, PathBuf};

/// Free and total memory in bytes, each the lowest among the machine and the control groups with
/// a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub free: u64,
    pub total: u64,
}

impl Memory {
    fn tighter(self, other: Self) -> Self {
        Self { free: self.free.min(other.free), total: self.total.min(other.total) }
    }
}

/// Memory of the machine or the container. `None` where `/proc/meminfo` does not tell.
#[must_use]
pub fn memory() -> Option<Memory> {
    #[cfg(test)]
    if crate::model::played::is_played() {
        return None;
    }
    let machine = of_machine(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(
        groups_of(&groups)
            .iter()
            .filter_map(|group| of_group(group))
            .fold(machine, Memory::tighter),
    )
}

/// The one-minute load average: runnable processes.
#[must_use]
pub fn load_average() -> Option<f64> {
    #[cfg(test)]
    if crate::model::played::is_played() {
        return None;
    }
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn of_machine(meminfo: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some(Memory { free: kib("MemAvailable:")? * 1024, total: kib("MemTotal:")? * 1024 })
}

/// The folders of this process's control groups, the innermost first. In a container the path may
/// be the one seen from outside, which does not exist inside; the mounted root is then the
/// container's own group.
fn groups_of(cgroup: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                Path::new("/sys/fs/cgroup/memory")
            }
            _ => continue,
        };
        let own = root.join(path.trim_start_matches('/'));
        folders.extend(
            own.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned),
        );
    }
    folders
}

/// Free and total memory of a control group. `None` if it has no limit.
fn of_group(folder: &Path) -> Option<Memory> {
    let number =
        |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let total = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    // Inactive file pages count as free: the kernel reclaims them when memory runs short.
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = ["inactive_file ", "total_inactive_file "];
    let cache = stat.lines().find_map(|line| cache.iter().find_map(|name| line.strip_prefix(name)));
    let cache = cache.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some(Memory { free: total.saturating_sub(used.saturating_sub(cache)), total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_counts_and_not_what_is_unused() {
        let text = "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  400 kB\n";
        assert_eq!(of_machine(text), Some(Memory { free: 400 << 10, total: 1000 << 10 }));
        assert_eq!(of_machine("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn every_group_above_may_be_the_tightest() {
        let folders = groups_of("0::/a/b\n");
        let expect = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"];
        assert_eq!(folders, expect.map(PathBuf::from));
        let old = groups_of("3:cpu,cpuacct:/x\n2:memory:/\n");
        assert_eq!(old, [PathBuf::from("/sys/fs/cgroup/memory")]);
    }

    #[test]
    fn a_group_is_read_in_both_versions() {
        let folder = std::env::temp_dir().join(format!("mooring-group-{}", std::process::id()));
        for (max, current, stat) in [
            ("memory.max", "memory.current", "inactive_file 50\n"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file 50\n"),
        ] {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(max), "1000\n").unwrap();
            std::fs::write(folder.join(current), "800\n").unwrap();
            std::fs::write(folder.join("memory.stat"), stat).unwrap();
            assert_eq!(of_group(&folder), Some(Memory { free: 250, total: 1000 }));
            std::fs::write(folder.join(max), "max\n").unwrap();
            assert_eq!(of_group(&folder), None);
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
}
