//! `bench-leash PROGRAM ARGUMENTS…` becomes that program and dies with its parent, so that a
//! harness ended by SIGKILL leaves no gateway behind. The kernel does it: the parent-death signal
//! survives exec.

#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("no program given")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Err(Command::new(&program).args(arguments).exec())
        .with_context(|| format!("{}", program.display()))
}
