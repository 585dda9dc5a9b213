//! The `mooring` program: arguments, exit codes, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before the first thread: the supervisor of the servers' processes forks.
    mooring::runner::supervise_if_asked().unwrap_or_else(mooring::cli::main)
}
