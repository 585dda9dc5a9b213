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
    path_with(&folder())
}

/// `PATH` with this folder in front.
#[must_use]
pub fn path_with(first: &Path) -> std::ffi::OsString {
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_owned()).chain(std::env::split_paths(&others));
    std::env::join_paths(folders).expect("a PATH")
}

/// Puts the gateway, and the example servers that these settings name, into a folder that any user
/// may enter: the build folder may stand in somebody's private one.
pub fn provide(to: &Path, settings: &str) {
    std::fs::create_dir_all(to).expect("a folder of programs");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(to, open).expect("a folder of programs");
    for file in std::fs::read_dir(folder()).expect("the build folder").flatten() {
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        let named = name == "mooring" || name.starts_with("mooring-") && settings.contains(name);
        let target = to.join(name);
        if !named || name.contains('.') || target.exists() || !file.path().is_file() {
            continue;
        }
        // A copy only where the two folders are on different file systems.
        if std::fs::hard_link(file.path(), &target).is_err() {
            std::fs::copy(file.path(), &target).expect("a copy of a program");
        }
    }
}
