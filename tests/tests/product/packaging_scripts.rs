//! The scripts that package: what they refuse, and what they write about the place where they run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mooring_tests::{borrowed, settings};
use serde_json::{Value, json};

fn script(path: &str) -> PathBuf {
    settings::repository().join(path)
}

/// Npm takes an attestation only for packages that name the repository that built them.
#[test]
fn npm_packages_name_the_repository_whose_workflow_builds_them() {
    if borrowed::on_the_path("npm").is_none() {
        borrowed::skip("the repository of the npm packages", "npm is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let packages = folder.path().join("packages");
    let binary = folder.path().join("binary");
    fs::write(&binary, "stands for one").unwrap();
    let output = Command::new(script("packaging/npm/build"))
        .arg(&packages)
        .arg(format!("linux-x64={}", binary.display()))
        .env("npm_config_cache", folder.path().join("cache"))
        .env("GITHUB_SERVER_URL", "https://github.example")
        .env("GITHUB_REPOSITORY", "Some/Where")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["mooring-gateway", "mooring-gateway-linux-x64"] {
        let file = packages.join(format!("{name}-{}.tgz", env!("CARGO_PKG_VERSION")));
        let unpack = ["-xOzf", file.to_str().unwrap(), "package/package.json"];
        let package = Command::new("tar").args(unpack).output().unwrap().stdout;
        let package: Value = serde_json::from_slice(&package).unwrap();
        let url = "git+https://github.example/Some/Where.git";
        assert_eq!(package["repository"], json!({"type": "git", "url": url}), "{name}");
    }
}

#[test]
fn packaging_scripts_name_a_binary_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("no-such-binary");
    let none = none.to_str().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let pair = format!("linux-x64={none}");
    for (name, words) in
        [("deb/build", [none, out]), ("image/build", [none, out]), ("npm/build", [out, &pair])]
    {
        let output = Command::new(script("packaging").join(name)).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(none), "{name}: {said}");
    }
}

#[test]
fn the_fuzzing_script_takes_a_time_and_its_own_targets() {
    for words in [&[][..], &["--help"], &["0"], &["soon"], &["5", "no-such-target"]] {
        let output = Command::new(script("fuzz/run")).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("SECONDS") || said.contains("none of"), "{words:?}: {said}");
    }
}
