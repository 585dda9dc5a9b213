//! The Dockerfile. No Docker engine runs here, so it is parsed: what is in the image, who runs it,
//! and where it keeps what it downloads. What is built from it without an engine is in `built_image`.

use std::collections::BTreeMap;

use mooring_tests::settings;

/// A stage: what it is made from, and its instructions in their order.
struct Stage {
    name: String,
    base: String,
    instructions: Vec<(String, String)>,
}

impl Stage {
    /// The arguments of all instructions of this name.
    fn all(&self, instruction: &str) -> Vec<&str> {
        let named = self.instructions.iter().filter(|(name, _)| name == instruction);
        named.map(|(_, arguments)| arguments.as_str()).collect()
    }

    fn environment(&self) -> BTreeMap<&str, &str> {
        let pairs = self.all("ENV").into_iter().flat_map(str::split_whitespace);
        pairs.map(|pair| pair.split_once('=').expect("NAME=value")).collect()
    }
}

/// The arguments before the first stage, and the stages.
fn dockerfile() -> (BTreeMap<String, String>, Vec<Stage>) {
    let text = std::fs::read_to_string(settings::repository().join("Dockerfile")).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let (mut arguments, mut stages) = (BTreeMap::new(), Vec::<Stage>::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(' ').unwrap();
        match (name, stages.last_mut()) {
            ("FROM", _) => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let [base, "AS", name] = words[..] else { panic!("{line}: a stage has a name") };
                let (name, base) = (name.to_owned(), base.to_owned());
                stages.push(Stage { name, base, instructions: Vec::new() });
            }
            ("ARG", None) => {
                let (name, value) = rest.split_once('=').unwrap();
                arguments.insert(name.to_owned(), value.to_owned());
            }
            (_, Some(stage)) => stage.instructions.push((name.to_owned(), rest.to_owned())),
            (_, None) => panic!("{line}: before the first stage"),
        }
    }
    (arguments, stages)
}

fn stage(name: &str) -> Stage {
    dockerfile().1.into_iter().find(|stage| stage.name == name).expect("the stage")
}

#[test]
fn the_image_that_is_built_by_default_is_the_full_one() {
    let (_, stages) = dockerfile();
    let last = stages.last().unwrap();
    assert_eq!((last.name.as_str(), last.base.as_str()), ("full", "slim"));
}

#[test]
fn all_stages_have_one_release_of_debian_and_the_builder_has_our_rust() {
    let (arguments, stages) = dockerfile();
    assert!(arguments.contains_key("DEBIAN"));
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    for stage in stages.iter().filter(|stage| !names.contains(&stage.base.as_str())) {
        assert!(stage.base.contains("${DEBIAN}"), "{} is from {}", stage.name, stage.base);
    }
    let manifest = std::fs::read_to_string(settings::repository().join("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert_eq!(stages[0].base, format!("rust:{}-${{DEBIAN}}", version.trim_matches('"')));
}

#[test]
fn the_full_image_has_what_settings_files_start_their_servers_with() {
    let (arguments, _) = dockerfile();
    assert!(arguments["NODE"].parse::<u32>().unwrap() >= 22);
    let full = stage("full");
    let node = full.all("COPY").iter().any(|copy| copy.ends_with("/bin/node /usr/local/bin/node"));
    assert!(node, "Node.js is the official one");
    let run = full.all("RUN").join("\n");
    let packages = ["curl", "git", "python3", "python-is-python3", "python3-pip", "python3-venv"];
    for package in packages {
        assert!(run.split_whitespace().any(|word| word == package), "{package}");
    }
    // A build fails, and not a user's server, if one of them does not run.
    let tried = run.split_once("for program in ").expect("all are tried").1;
    let tried: Vec<&str> = tried.split(';').next().unwrap().split_whitespace().collect();
    for program in ["node", "npm", "npx", "python", "uv", "uvx", "git", "curl"] {
        assert!(tried.contains(&program), "{program} is not tried: {tried:?}");
    }
    let uv = full.all("ARG").join(" ");
    let version = uv.strip_prefix("UV_VERSION=").expect("one version of uv");
    assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
}

#[test]
fn no_stage_that_runs_is_roots() {
    for name in ["slim", "full"] {
        assert_eq!(stage(name).all("USER").last(), Some(&"10001:10001"), "{name}");
    }
}

#[test]
fn what_is_downloaded_and_what_is_kept_is_on_the_volume() {
    let slim = stage("slim");
    assert_eq!(slim.all("VOLUME"), ["/app/data"]);
    let environment = slim.environment();
    for (name, path) in [
        ("HOME", "/app/data"),
        ("npm_config_cache", "/app/data/cache/npm"),
        ("UV_CACHE_DIR", "/app/data/cache/uv"),
    ] {
        assert_eq!(environment[name], path, "{name}");
    }
    // The gateway's folder is hidden from servers, so their home must not be inside of it.
    assert!(environment["MOORING_DATA"].starts_with("/app/data/"));
    let run = slim.all("RUN").join("\n");
    assert!(run.contains("--home-dir /app/data") && run.contains("install -d -o mooring"), "{run}");
    assert_eq!(slim.all("WORKDIR"), ["/app"]);
}

#[test]
fn process_one_reaps_and_the_health_check_is_our_own() {
    let slim = stage("slim");
    assert_eq!(slim.all("ENTRYPOINT"), [r#"["/usr/bin/tini", "--", "mooring"]"#]);
    assert!(slim.all("HEALTHCHECK")[0].ends_with(r#"CMD ["mooring", "health", "--live"]"#));
}

/// What the build needs is sent to it: every crate of the workspace, since cargo reads all manifests.
#[test]
fn the_build_context_has_every_crate_of_the_workspace() {
    let root = settings::repository();
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    let patterns: Vec<&str> =
        ignored.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    for member in members.trim_matches(['[', ']']).split(", ").map(|name| name.trim_matches('"')) {
        let top = member.split('/').next().unwrap();
        let is_left_out = patterns.contains(&top)
            || patterns.contains(&format!("{top}/*").as_str())
                && !patterns.contains(&format!("!{member}").as_str());
        assert!(!is_left_out, "{member} is not in the build's context");
    }
}
