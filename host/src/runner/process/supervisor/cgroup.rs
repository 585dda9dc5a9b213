//! A control group for each server, where a hierarchy (cgroup v2) is delegated to the gateway.
//!
//! ```text
//! the gateway's own group ──┬─ the gateway, its supervisor, its reapers
//!                           └─ mooring-servers-PID-ID (locked while its gateway lives)
//!                                 ├─ 1: a server with everything that it has started
//!                                 └─ 2
//! ```
//!
//! No process leaves its group by a fork or `setsid`, so one write kills a server with everything
//! that it has started, even if supervisor and reapers have been killed together. No controller is
//! switched on: the groups count and limit nothing, and the gateway stays where it is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, getxattr};

/// The names of the groups that belong to gateways.
const PREFIX: &str = "mooring-servers-";
/// A write of "1" kills all processes of a group and of those below it.
const KILL: &str = "cgroup.kill";
/// The kernel takes a moment to end killed processes: attempts to remove their group.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// The groups of this gateway's servers.
#[derive(Debug)]
pub struct ControlGroups {
    folder: PathBuf,
    next: AtomicU64,
    /// Locked: another gateway that finds the folder leaves it alone.
    _lock: File,
}

/// The group of one server. Dropping it kills what is in it.
#[derive(Debug)]
pub struct ControlGroup(PathBuf);

impl ControlGroups {
    /// Makes the folder of this gateway, after ending what killed gateways have left beside it.
    ///
    /// # Errors
    /// Why there are no groups for this gateway.
    pub fn open() -> Result<Self, String> {
        Self::within(&own_group()?)
    }

    fn within(parent: &Path) -> Result<Self, String> {
        end_leftovers(parent);
        let failed = |error| format!("{} cannot be used: {error}", parent.display());
        // A gateway that starts at the same time may take a folder that is not locked yet for a
        // leftover.
        let made = Self::made(parent).or_else(|_| Self::made(parent));
        let groups = made.or_else(|_| Self::made(parent)).map_err(failed)?;
        match groups.folder.join(KILL).exists() {
            true => Ok(groups),
            false => Err("the kernel cannot kill a control group (Linux 5.14)".to_owned()),
        }
    }

    fn made(parent: &Path) -> io::Result<Self> {
        let id = uuid::Uuid::new_v4().simple();
        let folder = parent.join(format!("{PREFIX}{}-{id}", std::process::id()));
        fs::create_dir(&folder)?;
        let lock = File::open(&folder).and_then(|lock| {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            // Whether it is still there: it might have been removed before it was locked.
            fs::metadata(&folder).map(|_| lock)
        });
        match lock {
            Ok(lock) => Ok(Self { folder, next: AtomicU64::new(1), _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    /// Removes the folder of this gateway. While a group is left in it, that is up to the next one.
    pub fn close(&self) {
        remove(&self.folder);
    }

    /// A group for one server, which its reaper makes and removes: a worker waits for no kernel
    /// lock.
    #[must_use]
    pub fn group(&self) -> ControlGroup {
        ControlGroup(self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()))
    }
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        self.close();
    }
}

impl ControlGroup {
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.0.clone()
    }

    /// Kills what is left in the group; resolves when nothing is. The reaper has removed it, unless
    /// it was killed.
    pub async fn end(self) {
        for _ in 0..ATTEMPTS {
            if kill(&self.0).is_ok() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!("{} still has processes after a kill", self.0.display());
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let _ = kill(&self.0);
    }
}

/// Makes a group; returns the file into which a process writes 0 to enter it.
pub fn make(folder: &Path) -> io::Result<File> {
    fs::create_dir(folder)?;
    File::options().write(true).open(folder.join("cgroup.procs"))
}

/// Removes a group without processes.
pub fn remove(folder: &Path) {
    // What cannot be removed is left to the gateway.
    let _ = fs::remove_dir(folder);
}

/// Kills all processes of a group and removes it; an error while one of them is left.
fn kill(group: &Path) -> io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    fs::write(group.join(KILL), "1")?;
    for below in fs::read_dir(group)?.flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill(&below.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Ends the servers of gateways that have been killed together with supervisor and reapers.
fn end_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path()) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            // Its gateway lives.
            continue;
        }
        let left = !is_empty(&entry.path());
        let ended = (0..ATTEMPTS).any(|_| {
            let done = kill(&entry.path()).is_ok();
            if !done {
                std::thread::sleep(PAUSE);
            }
            done
        });
        match (ended, left) {
            (true, true) => tracing::warn!("ended servers that a killed gateway had left behind"),
            (true, false) => {}
            (false, _) => tracing::warn!(
                "cannot end what a killed gateway has left in {}",
                entry.path().display()
            ),
        }
    }
}

/// Whether no process is in the group or below it.
fn is_empty(group: &Path) -> bool {
    let events = fs::read_to_string(group.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 0")
}

/// The folder of the group that this process is in, if the gateway may make groups there.
fn own_group() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let (folder, is_root) =
        folder_of(&mounts, &own).ok_or("there is no hierarchy of control groups v2")?;
    // systemd removes and counts groups as it likes, unless it has delegated them.
    if !is_root && Path::new("/run/systemd/system").exists() && !is_delegated(&folder) {
        return Err("systemd has not delegated the control group; set Delegate=yes".to_owned());
    }
    let kind = fs::read_to_string(folder.join("cgroup.type")).unwrap_or_default();
    if !matches!(kind.trim(), "" | "domain") {
        return Err(format!("the control group is of type {:?}", kind.trim()));
    }
    Ok(folder)
}

fn is_delegated(folder: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 1];
        getxattr(folder, *name, &mut value[..]).is_ok() && value == *b"1"
    })
}

/// The folder of the version 2 group in `/proc/self/cgroup`, and whether it is the hierarchy's root.
fn folder_of(mounts: &str, own: &str) -> Option<(PathBuf, bool)> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        if !filesystem.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A group outside of what is mounted, or a path with spaces, is left alone.
        let below = Path::new(path).strip_prefix(root).ok()?;
        let plain = !point.contains('\\') && !path.contains("/..");
        plain.then(|| (Path::new(point).join(below), path == "/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        30 24 0:26 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
        31 24 0:27 / /proc rw - proc proc rw\n";

    #[test]
    fn the_own_group_is_found_below_the_mount() {
        let found = folder_of(MOUNTS, "0::/system.slice/mooring.service\n");
        assert_eq!(found, Some(("/sys/fs/cgroup/system.slice/mooring.service".into(), false)));
        assert_eq!(folder_of(MOUNTS, "0::/\n"), Some(("/sys/fs/cgroup".into(), true)));
        let hybrid = "9:name=systemd:/x\n0::/y\n";
        assert_eq!(folder_of(MOUNTS, hybrid), Some(("/sys/fs/cgroup/y".into(), false)));
    }

    #[test]
    fn a_group_that_is_not_mounted_is_not_guessed() {
        assert_eq!(folder_of(MOUNTS, "0::/../other\n"), None);
        assert_eq!(folder_of("", "0::/x\n"), None);
        assert_eq!(folder_of(MOUNTS, "2:memory:/x\n"), None);
        let part = MOUNTS.replace(" / /sys", " /docker/1 /sys");
        assert_eq!(folder_of(&part, "0::/docker/2\n"), None);
        assert_eq!(folder_of(&part, "0::/docker/1/x\n"), Some(("/sys/fs/cgroup/x".into(), false)));
    }

    /// A folder in which groups can be made for real; `None` where there is none.
    fn parent() -> Option<PathBuf> {
        let found = own_group().ok()?.join(format!("test-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&found).ok().map(|()| found)
    }

    #[test]
    fn leftovers_of_a_dead_gateway_are_ended_and_those_of_a_living_one_are_not() {
        let Some(parent) = parent() else {
            eprintln!("skipped: no control group of version 2 can be written here");
            return;
        };
        let living = ControlGroups::within(&parent).unwrap();
        let kept = living.group();
        drop(make(&kept.0).unwrap());
        let dead = parent.join(format!("{PREFIX}1-x"));
        fs::create_dir_all(dead.join("1")).unwrap();
        let mut left = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(dead.join("1/cgroup.procs"), left.id().to_string()).unwrap();
        let foreign = parent.join("mooring-other");
        fs::create_dir(&foreign).unwrap();
        // A thread of the child's parent must reap it, or its group stays populated.
        let reaped = std::thread::spawn(move || left.wait().unwrap());
        let next = ControlGroups::within(&parent).unwrap();
        assert!(!reaped.join().unwrap().success());
        assert!(!dead.exists() && foreign.exists() && kept.0.exists());
        drop((kept, next, living));
        fs::remove_dir(foreign).unwrap();
        fs::remove_dir(parent).unwrap();
    }
}
