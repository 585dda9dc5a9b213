//! Finds, signals and reaps the descendants of this process.
//!
//! The calling process is a child subreaper: a descendant whose parent dies becomes its child, so
//! neither `setsid` nor a double fork lets one escape.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Signal, WaitOptions};

use super::system::{Signals, wait_for};

/// First and longest pause between two rounds of killing, which catch what was forked meanwhile.
/// The pause doubles while no process ends.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Some,
    Nobody,
}

/// Reaps every child that has ended; returns whether there are children left.
pub fn reap(ended: impl FnMut(Pid, i32)) -> Left {
    reap_each(WaitOptions::NOHANG, ended)
}

/// The same, and kills every child that somebody has stopped: a server of its user may have, so
/// that it does not end.
pub fn reap_and_kill_stopped(mut ended: impl FnMut(Pid, i32)) -> Left {
    reap_each(WaitOptions::NOHANG | WaitOptions::UNTRACED, |pid, status| {
        if libc::WIFSTOPPED(status) {
            let _ = process::kill_process(pid, Signal::KILL);
        } else {
            ended(pid, status);
        }
    })
}

fn reap_each(options: WaitOptions, mut ended: impl FnMut(Pid, i32)) -> Left {
    loop {
        match process::wait(options) {
            Ok(Some((pid, status))) => ended(pid, status.as_raw()),
            Ok(None) => return Left::Some,
            Err(Errno::INTR) => {}
            Err(_) => return Left::Nobody,
        }
    }
}

/// Kills all descendants; returns when none is left.
pub fn kill_all(signals: &Signals, mut ended: impl FnMut(Pid, i32)) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut any_ended = false;
        let left = reap(|pid, status| {
            any_ended = true;
            ended(pid, status);
        });
        if left == Left::Nobody {
            return;
        }
        signal_all(Signal::KILL, |_| false);
        pause = if any_ended { FIRST_PAUSE } else { (2 * pause).min(LONGEST_PAUSE) };
        wait_for([signals.fd()], Some(pause));
        signals.take();
    }
}

/// Signals every descendant except the spared children and their descendants; returns whether
/// there was one.
pub fn signal_all(signal: Signal, spared: impl Fn(Pid) -> bool) -> Left {
    let own = process::getpid();
    let mut parents = vec![own];
    let mut left = Left::Nobody;
    let processes = ProcessTree::look();
    while let Some(parent) = parents.pop() {
        for pid in processes.children_of(parent) {
            if parent == own && spared(pid) {
                continue;
            }
            left = Left::Some;
            // Children of a process that dies before they are read become ours: the next round
            // finds them.
            parents.push(pid);
            if parent == own && signal == Signal::KILL {
                kill_group_of(pid);
            }
            send(pid, parent, signal);
        }
    }
    left
}

/// Kills a child's process group at once, so that no member can fork faster than it is found.
/// Only for own children: a child not yet reaped keeps its group's id from being used again.
fn kill_group_of(child: Pid) {
    let foreign = |group: &Pid| *group != process::getpgrp();
    if let Some(group) = process::getpgid(Some(child)).ok().filter(foreign) {
        let _ = process::kill_process_group(group, Signal::KILL);
    }
}

/// Sends a signal. A process that is gone, or that may not be signalled, is skipped.
fn send(pid: Pid, parent: Pid, signal: Signal) {
    let own = process::getpid();
    if parent == own {
        // Only this process can reap it, so the id cannot belong to another one.
        let _ = process::kill_process(pid, signal);
        return;
    }
    // Further down the id may have been used again: open the process first, then check its parent.
    let Ok(process) = process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if parent_of(pid).is_some_and(|now| now == parent || now == own) {
        let _ = process::pidfd_send_signal(process, signal);
    }
}

/// Finds the children of a process.
enum ProcessTree {
    /// The kernel lists children (`CONFIG_PROC_CHILDREN`): only descendants are read.
    Listed,
    /// The kernel has no such lists: all processes, each with its parent.
    Scanned(Vec<(Pid, Pid)>),
}

impl ProcessTree {
    fn look() -> Self {
        if std::fs::metadata("/proc/thread-self/children").is_ok() {
            return Self::Listed;
        }
        let all = numbers_in("/proc").filter_map(|pid| Some((pid, parent_of(pid)?)));
        Self::Scanned(all.collect())
    }

    fn children_of(&self, parent: Pid) -> Vec<Pid> {
        match self {
            Self::Listed => listed_children_of(parent),
            Self::Scanned(all) => {
                let children = all.iter().filter(|(_, other)| *other == parent);
                children.map(|(pid, _)| *pid).collect()
            }
        }
    }
}

/// Joins the lists of all threads: each has its own.
fn listed_children_of(parent: Pid) -> Vec<Pid> {
    let tasks = format!("/proc/{}/task", parent.as_raw_nonzero());
    let lists = numbers_in(&tasks).filter_map(|task| {
        std::fs::read_to_string(format!("{tasks}/{}/children", task.as_raw_nonzero())).ok()
    });
    lists.flat_map(|list| list.split_whitespace().filter_map(pid).collect::<Vec<_>>()).collect()
}

fn numbers_in(folder: &str) -> impl Iterator<Item = Pid> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| pid(entry.ok()?.file_name().to_str()?))
}

fn parent_of(pid_: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid_.as_raw_nonzero())).ok()?;
    // The name is in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    pid(rest.split(' ').nth(1)?)
}

fn pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}
