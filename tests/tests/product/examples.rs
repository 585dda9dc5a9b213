//! Every file of `examples/` can be read by the gateway or by its platform.

use std::path::{Path, PathBuf};

use mooring_tests::{Setup, settings};
use yaml_rust2::{Yaml, YamlLoader};

fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![settings::repository().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let is_ours = !["target", "data", "node_modules"].contains(&name.as_str());
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|known| e == *known)) {
                found.push(path);
            }
        }
    }
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

#[test]
fn manifests_mount_settings_and_data_where_the_image_has_them() {
    let mut deployments = 0;
    for path in files(&["yaml"]) {
        let all = documents(&path);
        for document in
            all.iter().filter(|document| document["kind"].as_str() == Some("Deployment"))
        {
            deployments += 1;
            let pod = &document["spec"]["template"]["spec"];
            let mounts = pod["containers"][0]["volumeMounts"].as_vec().unwrap();
            let paths: Vec<_> =
                mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
            assert_eq!(paths, ["/app/mcp_settings.json", "/app/data"]);
            assert_eq!(mounts[0]["subPath"].as_str(), Some("mcp_settings.json"));
            let map = pod["volumes"][0]["configMap"]["name"].as_str().unwrap();
            let named = |document: &Yaml| document["metadata"]["name"].as_str() == Some(map);
            assert!(all.iter().any(named), "no ConfigMap {map} in {}", path.display());
        }
    }
    assert_eq!(deployments, 2);
}

#[test]
fn the_compose_file_mounts_files_that_exist() {
    let folder = settings::repository().join("examples/docker-compose");
    let compose = documents(&folder.join("docker-compose.yml")).remove(0);
    let services = compose["services"].as_hash().unwrap();
    assert_eq!(services.len(), 3);
    for (name, service) in services {
        let volumes = service["volumes"].as_vec().unwrap();
        let (file, inside) = volumes[0].as_str().unwrap().split_once(':').unwrap();
        assert!(folder.join(file).is_file(), "{name:?}: {file}");
        assert_eq!(inside, "/app/mcp_settings.json");
        assert!(volumes[1].as_str().unwrap().ends_with(":/app/data"), "{name:?}");
    }
}
