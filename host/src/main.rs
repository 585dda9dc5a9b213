//! The `mooring` program: arguments, exit codes, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    mooring::cli::main()
}
