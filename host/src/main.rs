//! The `mooring` program: starts the supervisor or the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    mooring::runner::guard_memory();
    // Before any thread exists: the supervisor of server processes forks.
    mooring::runner::supervise_if_asked()
        .or_else(mooring::wasm::probe_if_asked)
        .unwrap_or_else(mooring::cli::main)
}
