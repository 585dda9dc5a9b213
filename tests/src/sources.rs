//! The files of this repository, for tests that read them.

use std::path::{Path, PathBuf};

use crate::settings;

/// Folders of what is built, downloaded or written by a run.
const NOT_OURS: [&str; 3] = ["target", "data", "node_modules"];

/// All files below the folder with one of these extensions, in the order of their paths.
#[must_use]
pub fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = everything(folder);
    found.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    });
    found
}

/// All files below the folder, in the order of their paths.
#[must_use]
pub fn everything(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !path.is_dir() {
                found.push(path);
            } else if !NOT_OURS.contains(&name) {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The gateway's own sources, and where they begin.
#[must_use]
pub fn of_the_gateway() -> (PathBuf, Vec<PathBuf>) {
    let root = settings::repository().join("host/src");
    let found = files(&root, &["rs"]);
    assert!(found.len() > 50, "only {found:?}");
    (root, found)
}
