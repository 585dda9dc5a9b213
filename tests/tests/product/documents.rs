//! The blocks of code in the README, `docs/` and `examples/` are run, or checked as far as they can
//! be here. The words behind a fence say how:
//!
//! | fence | what happens |
//! |---|---|
//! | `sh` | runs in bash and must succeed; what it starts has ended with it |
//! | `sh start` | runs on until the page ends; the next block runs when it serves |
//! | `sh terminals` | what runs ends; each line is started, then both nodes are waited for |
//! | `sh norun=PROGRAM` | only its syntax is checked: the program is not here, or takes too long |
//! | `text output` | what the block before it prints; `…` stands for anything, alone for any lines |
//! | `json settings` | a settings file, which passes `mooring check`; `// PATH` in front writes it |
//! | `json server` | members of `mcpServers`, which pass too |
//! | `json`, `json client` | JSON |
//! | `text` | nothing |
//!
//! A page's blocks share one folder, which has a copy of `examples/`. Ports 3000 to 3002 are
//! others there. `<!-- beside: quickstart -->` or `cluster` at the top starts that first.

use std::process::{Child, Command, Stdio};

use mooring_tests::{Port, Request, binaries, eventually, settings, sources};

/// Programs that are not here, or take too long for a test.
const NOT_RUN: [&str; 10] = [
    "cargo",
    "docker",
    "kubectl",
    "openssl",
    "build",
    "systemctl",
    "npm",
    "helm",
    "cosign",
    "curl",
];

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        const PAGES: &[&str] = &[$($path),*];
        $(#[test]
        fn $name() {
            Page::open($path).run();
        })*
    };
}

pages! {
    the_readme: "README.md",
    contributing: "CONTRIBUTING.md",
    security_policy: "SECURITY.md",
    contents: "docs/README.md",
    cluster: "docs/cluster.md",
    configuration: "docs/configuration.md",
    connecting: "docs/connecting.md",
    endpoints: "docs/endpoints.md",
    glossary: "docs/glossary.md",
    installing: "docs/installing.md",
    isolation_and_limits: "docs/isolation-and-limits.md",
    management_api: "docs/management-api.md",
    migrating_from_mcphub: "docs/migrating-from-mcphub.md",
    operating: "docs/operating.md",
    revisions: "docs/revisions.md",
    security: "docs/security.md",
    sessions_and_failover: "docs/sessions-and-failover.md",
    strategies: "docs/strategies.md",
    tls: "docs/tls.md",
    docker_compose_example: "examples/docker-compose/README.md",
    failover_example: "examples/failover/README.md",
    kubernetes_example: "examples/kubernetes/README.md",
    manual_example: "examples/manual/README.md",
    quickstart_example: "examples/quickstart/README.md",
    several_coordinators_example: "examples/several-coordinators/README.md",
    strategy_example: "examples/strategy-zone/README.md",
    conversation_example: "examples/strategy-thread/README.md",
    systemd_example: "examples/systemd/README.md",
}

#[test]
fn every_page_is_tested() {
    let root = settings::repository();
    let mut found =
        vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("SECURITY.md")];
    for folder in ["docs", "examples"] {
        found.extend(sources::files(&root.join(folder), &["md"]));
    }
    for file in found {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap();
        assert!(PAGES.contains(&path), "{path} is not in the list of pages here");
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let root = settings::repository();
    let others = [
        "ARCHITECTURE.md",
        "BENCHMARKS.md",
        "CHANGELOG.md",
        "plugins/README.md",
        "tests/conformance/README.md",
        "tests/witness/README.md",
    ];
    for page in PAGES.iter().chain(&others) {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        let folder = root.join(page).parent().unwrap().to_owned();
        let links = ["](", "src=\"", "srcset=\""].into_iter().flat_map(|start| {
            text.match_indices(start).map(|(at, start)| text.split_at(at + start.len()).1)
        });
        for rest in links {
            let target = rest.split([')', '"']).next().unwrap();
            let path = target.split('#').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let place = if path.is_empty() { root.join(page) } else { folder.join(path) };
            assert!(place.exists(), "{page} links to {target}");
            if let Some((_, anchor)) =
                target.split_once('#').filter(|_| target.contains(".md") || path.is_empty())
            {
                let text = std::fs::read_to_string(&place).unwrap();
                assert!(anchors(&text).any(|known| known == anchor), "{page} links to {target}");
            }
        }
    }
}

/// What links to the headings of a page end with.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    let mut is_code = false;
    let headings = page.lines().filter(move |line| {
        is_code ^= line.starts_with("```");
        !is_code && line.starts_with('#')
    });
    headings.map(|line| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let is_part = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
        text.chars()
            .filter(is_part)
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    })
}

/// Paths that ARCHITECTURE.md names stand in backticks, from the root or from host/src.
#[test]
fn every_path_of_the_architecture_exists() {
    let root = settings::repository();
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let is_path = word.contains('/')
            && !word.contains([' ', '{', '*', ':'])
            && (word.ends_with('/')
                || [".rs", ".md", ".toml", ".wit", ".sh"].iter().any(|end| word.ends_with(end)));
        if is_path && !word.starts_with('/') {
            checked += 1;
            let is_there = root.join(word).exists() || root.join("host/src").join(word).exists();
            assert!(is_there, "ARCHITECTURE.md names {word}");
        }
    }
    assert!(checked > 50, "only {checked} paths were recognised");
}

/// `./examples/quickstart/run` builds for minutes: a stand-in for cargo does nothing instead. What
/// it prints is run.
#[test]
fn the_quickstart_says_what_works() {
    let page = Page::open("examples/quickstart/README.md");
    let target = page.folder.path().join("target");
    std::fs::create_dir_all(target.join("bin")).unwrap();
    std::os::unix::fs::symlink(binaries::folder(), target.join("quickstart")).unwrap();
    let cargo = target.join("bin/cargo");
    std::fs::write(&cargo, "#!/bin/sh\nprintf '%s ' \"$@\" >> \"$CARGO_TARGET_DIR/asked\"\n")
        .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&cargo, mode).unwrap();

    let mut started = page.shell("exec ./examples/quickstart/run");
    let others = std::env::var("PATH").unwrap();
    started
        .env("PATH", format!("{}:{others}", target.join("bin").display()))
        .env("CARGO_TARGET_DIR", &target)
        .env("PORT", page.ports[0].number().to_string());
    let log = page.folder.path().join("quickstart.log");
    let _running = Running(started.stdout(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    page.wait_until_it_serves();
    let asked = std::fs::read_to_string(target.join("asked")).unwrap();
    assert!(asked.contains("build --profile quickstart --locked"), "{asked}");

    let text = std::fs::read_to_string(&log).unwrap();
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .skip_while(|line| !line.starts_with("mcp()"))
        .take_while(|line| !line.starts_with("Claude"))
        .collect();
    let output = page.output(&commands.join("\n"));
    assert!(output.contains(r#""value":5"#), "{text}\n{output}");
}

/// A page, and the folder that its blocks run in.
struct Page {
    path: &'static str,
    text: String,
    folder: tempfile::TempDir,
    ports: [Port; 3],
}

impl Page {
    fn open(path: &'static str) -> Self {
        let text = std::fs::read_to_string(settings::repository().join(path)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
        let page = Self { path, text, folder, ports };
        let examples = settings::repository().join("examples");
        for file in sources::everything(&examples) {
            let copy =
                page.folder.path().join("examples").join(file.strip_prefix(&examples).unwrap());
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(&file, &copy).unwrap();
            if file.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&file).unwrap();
                std::fs::write(&copy, page.with_ports(&text)).unwrap();
            }
        }
        page
    }

    fn run(&self) {
        let mut running = Vec::new();
        let beside = self.text.lines().take(5).find_map(|line| line.strip_prefix("<!-- beside: "));
        match beside.map(|rest| rest.trim_end_matches(" -->")) {
            None => {}
            Some("quickstart") => {
                let command = "exec mooring --config examples/quickstart/mcp_settings.json";
                running.push(self.start(&format!("PORT=3000 MOORING_DATA=.data {command}")));
                self.wait_until_it_serves();
                self.wait_for("/health", r#""discovered":false"#, false);
            }
            Some("cluster") => {
                for (folder, port) in [("coordinator", 3000), ("node1", 3001), ("node2", 3002)] {
                    let command =
                        format!("cd examples/manual/{folder} && PORT={port} exec mooring");
                    running.push(self.start(&command));
                }
                self.wait_for_both_nodes();
            }
            Some(other) => panic!("{}: what is {other}?", self.path),
        }
        let mut printed = String::new();
        for block in blocks(&self.text) {
            self.check(&block, &mut printed, &mut running);
        }
    }

    fn check(&self, block: &Block<'_>, printed: &mut String, running: &mut Vec<Running>) {
        let place = format!("{}, line {}", self.path, block.line);
        match (block.language, block.how) {
            ("sh", "") => *printed = self.output(&block.body),
            ("sh", "start") => {
                running.push(self.start(&block.body));
                self.wait_until_it_serves();
            }
            ("sh", "terminals") => {
                running.clear();
                running.extend(block.body.lines().map(|line| self.start(line)));
                self.wait_for_both_nodes();
            }
            ("sh", how) => {
                let program = how.strip_prefix("norun=").unwrap_or_default();
                assert!(NOT_RUN.contains(&program), "{place}: {how} is no reason");
                let status = Command::new("bash").args(["-n", "-c", &block.body]).status().unwrap();
                assert!(status.success(), "{place}");
                printed.clear();
            }
            ("text", "output") => {
                let wanted: Vec<&str> = block.body.lines().collect();
                let found: Vec<&str> = printed.lines().collect();
                let printed = found.join("\n");
                assert!(is_like(&wanted, &found), "{place}:\n{}but got\n{printed}", block.body);
            }
            ("json", "settings") => {
                self.check_settings(&block.body, &place);
                let named = block.body.lines().next().and_then(|line| line.strip_prefix("// "));
                if let Some(path) = named.filter(|path| path.ends_with("mcp_settings.json")) {
                    let file = self.folder.path().join(path);
                    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                    std::fs::write(file, self.with_ports(&block.body)).unwrap();
                }
            }
            ("json", "server") => {
                self.check_settings(&format!("{{\"mcpServers\":{{{}}}}}", block.body), &place);
            }
            ("json", "" | "client") => {
                let parsed = serde_json::from_str::<serde_json::Value>(&block.body);
                assert!(parsed.is_ok(), "{place}: {}", parsed.unwrap_err());
            }
            ("text", "") => {}
            (language, how) => panic!("{place}: no fence is called {language} {how}"),
        }
    }

    fn check_settings(&self, text: &str, place: &str) {
        let checked = mooring_tests::Setup::text(text).env("REDIS_PASSWORD", "one-of-a-secret");
        let checked = checked.run(&["check"]);
        let errors = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{place}: {errors}");
    }

    fn with_ports(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (known, port) in ["3000", "3001", "3002"].iter().zip(&self.ports) {
            text = text.replace(known, &port.number().to_string());
        }
        text
    }

    /// A command of the page, in its folder.
    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("timeout");
        shell
            .args(["60", "bash", "-euo", "pipefail", "-c", &self.with_ports(command)])
            .current_dir(self.folder.path())
            .env("PATH", binaries::path_variable())
            .env("MOORING_HOST", "127.0.0.1")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        shell
    }

    fn start(&self, command: &str) -> Running {
        Running(self.shell(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn output(&self, command: &str) -> String {
        let output = self.shell(command).output().unwrap();
        let (printed, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}:\n{command}\n{printed}{errors}", self.path);
        printed.into_owned()
    }

    fn wait_until_it_serves(&self) {
        eventually("it serves", || std::net::TcpStream::connect(self.ports[0].address()).ok());
    }

    fn wait_for_both_nodes(&self) {
        self.wait_until_it_serves();
        eventually("both nodes are registered with what their servers offer", || {
            let tools = self.get("/api/cluster/nodes?active=true");
            (tools.matches(r#""status":"active""#).count() == 2).then_some(())
        });
    }

    /// Waits until the answer has this part, or no longer has it.
    fn wait_for(&self, path: &str, part: &str, has: bool) {
        eventually(path, || (self.get(path).contains(part) == has).then_some(()));
    }

    fn get(&self, path: &str) -> String {
        let response = Request::get(path).send(self.ports[0].address());
        String::from_utf8_lossy(&response.body).into_owned()
    }
}

/// A process of a page, which ends with it, and with everything that it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `timeout` hands the signal on.
        mooring_tests::process::signal(self.0.id(), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

struct Block<'a> {
    line: usize,
    language: &'a str,
    how: &'a str,
    body: String,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let (language, how) = info.split_once(' ').unwrap_or((info, ""));
        let mut body = String::new();
        loop {
            let (_, line) =
                lines.next().unwrap_or_else(|| panic!("line {}: an open fence", at + 1));
            if line.trim() == "```" {
                break;
            }
            body.extend([line, "\n"]);
        }
        blocks.push(Block { line: at + 1, language, how, body });
    }
    blocks
}

/// Whether what was printed is like the page says.
fn is_like(wanted: &[&str], found: &[&str]) -> bool {
    match (wanted.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((&"…", rest)), _) => {
            (0..=found.len()).any(|skipped| is_like(rest, &found[skipped..]))
        }
        (Some((line, rest)), Some((printed, others))) => {
            line_is_like(line, printed) && is_like(rest, others)
        }
        _ => false,
    }
}

fn line_is_like(wanted: &str, found: &str) -> bool {
    let mut parts = wanted.trim_end().split('…');
    let found = found.trim_end();
    let Some(mut rest) = parts.next().and_then(|first| found.strip_prefix(first)) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn output_is_compared_as_the_table_says() {
    for (wanted, found, expect) in [
        (&["a", "…", "d"][..], &["a", "b", "c", "d"][..], true),
        (&["a", "…"], &["a"], true),
        (&["a … c"], &["a b c"], true),
        (&["a … c"], &["a b d"], false),
        (&["a"], &["a", "b"], false),
        (&["…x"], &["wx"], true),
    ] {
        assert_eq!(is_like(wanted, found), expect, "{wanted:?} {found:?}");
    }
}
