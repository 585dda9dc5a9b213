//! The programs under test, which cargo builds next to the test executable.

use std::path::{Path, PathBuf};

/// The folder of the built programs: `MOORING_BIN_DIR`, or `target/<profile>`.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("MOORING_BIN_DIR") {
        return folder.into();
    }
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    folder.to_owned()
}

#[must_use]
pub fn program(name: &str) -> PathBuf {
    let program = folder().join(name);
    assert!(
        program.exists(),
        "{} is not built: cargo build -p mooring -p mooring-example-servers",
        program.display()
    );
    program
}

#[must_use]
pub fn mooring() -> PathBuf {
    program("mooring")
}

/// `PATH` with the programs' folder in front, as the example files expect.
#[must_use]
pub fn path_variable() -> std::ffi::OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder()).chain(std::env::split_paths(&others));
    std::env::join_paths(folders).expect("a PATH")
}
