//! What this system has to keep the gateway's secrets from its servers.

use std::process::{Command, ExitCode, Stdio};

use crate::runner::process::program::Walls;

use super::hiding::Hiding;
use super::keeper::OWN_PROGRAM;
use super::landlock;

/// The only argument of a process that tries whether files can be hidden.
const ARGUMENT: &str = "--try-to-hide-files";

/// Asks the kernel, and tries in a process of its own what can only be tried.
#[must_use]
pub fn walls() -> Walls {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(ARGUMENT).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let tried = command.stderr(Stdio::null()).status();
    Walls {
        hides_files: tried.is_ok_and(|status| status.success()),
        separates_servers: landlock::version().is_some_and(|version| version >= landlock::WALL),
    }
}

/// Runs the try if this process was started for it; otherwise `None`.
pub fn try_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ARGUMENT || args.next().is_some() {
        return None;
    }
    Some(if Hiding::find(Vec::new()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
