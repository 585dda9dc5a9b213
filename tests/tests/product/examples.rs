//! Every file of `examples/` can be read by the gateway or by its platform.

use std::path::{Path, PathBuf};

use mooring_tests::{Setup, settings, sources};
use yaml_rust2::{Yaml, YamlLoader};

fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let found = sources::files(&settings::repository().join("examples"), extensions);
    assert!(!found.is_empty());
    found
}

/// The output of `mooring check` for a settings file that must be valid.
fn checked(text: &str, origin: &Path) -> String {
    let output = Setup::text(text).run(&["check"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {errors}", origin.display());
    // The programs of other people's servers need not be on the machine of the tests.
    let told: Vec<&str> =
        errors.lines().filter(|line| !line.contains(".command: PATH has no ")).collect();
    assert!(told.is_empty(), "{} has a warning: {told:?}", origin.display());
    String::from_utf8(output.stdout).unwrap()
}

fn documents(path: &Path) -> Vec<Yaml> {
    let text = std::fs::read_to_string(path).unwrap();
    YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_settings_file_passes_mooring_check_without_a_warning() {
    let files = files(&["json"]);
    assert!(files.len() >= 7, "{files:?}");
    for path in files {
        checked(&std::fs::read_to_string(&path).unwrap(), &path);
    }
}

#[test]
fn every_yaml_file_parses() {
    for path in files(&["yaml", "yml"]) {
        assert!(!documents(&path).is_empty(), "{}", path.display());
    }
}

#[test]
fn the_settings_inside_config_maps_pass_mooring_check() {
    let mut modes = Vec::new();
    for path in files(&["yaml"]) {
        for document in documents(&path) {
            if document["kind"].as_str() != Some("ConfigMap") {
                continue;
            }
            let text = document["data"]["mcp_settings.json"].as_str().expect("settings");
            let page = checked(text, &path);
            modes.push(page.lines().next().unwrap().replace("mode", "").trim().to_owned());
        }
    }
    modes.sort();
    assert_eq!(modes, ["coordinator", "node"]);
}
