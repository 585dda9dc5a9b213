//! Sessions that each have a browser: the real Playwright MCP server and this machine's Chromium.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use mooring_tests::{
    Cluster, Connection, Gateway, Scripted, Session, eventually, process, settings,
};
use serde_json::{Value, json};

use mooring_tests::borrowed;

/// An environment variable that only this test's server processes have.
const MARK: &str = "MOORING_TEST_MARK";

/// A call may have to start a browser first.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn each_session_of_a_cluster_has_a_browser_and_leaves_none() {
    let what = "browsers in a cluster";
    if !borrowed::at_hand(what, &["node", "playwright"]) {
        return;
    }
    let Some(chromium) = chromium() else {
        return borrowed::skip(what, "no Chromium that starts is on the PATH");
    };
    let pages = pages();
    let folder = tempfile::tempdir().unwrap();
    // Unique on this machine as long as the folder exists.
    let mark = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
    let output = folder.path().join("output");
    let server = json!({
        "command": borrowed::starter("server-playwright"),
        "args": [
            "--headless", "--isolated", "--no-sandbox", "--browser", "chromium",
            "--executable-path", chromium, "--output-dir", output, "--timeout-action", "60000",
        ],
        // Profiles and crash reports are deleted with the folder.
        "env": {MARK: mark, "HOME": folder.path(), "TMPDIR": folder.path()},
        "cwd": folder.path(),
    });
    let by_header = json!({"stickySession": {"strategy": "header"}});
    let coordinator = Gateway::start_with(&settings::coordinator(by_header));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"playwright": server}));
    }
    cluster.wait_for_active(2);

    // Two sessions on one node, and one on the other.
    let visitors = [("one", "a"), ("two", "a"), ("three", "b")].map(|(name, node)| {
        let client = cluster.client("/mcp/playwright").header("X-MCPHub-Node", node);
        Visitor { name, session: client.initialize(), pages: pages.address() }
    });
    // At the same time: none waits for another's browser.
    std::thread::scope(|scope| {
        for visitor in &visitors {
            scope.spawn(|| visitor.goes_to(visitor.name));
        }
    });
    for visitor in &visitors {
        visitor.sees_only_its_own();
    }
    for visitor in &visitors {
        visitor.has_only_its_own_cookie();
    }

    let [node_a, node_b] = [0, 1].map(|node| cluster.nodes[node].pid());
    let browsers_of_a = browsers_below(node_a);
    assert_eq!(browsers_of_a.len(), 2, "{browsers_of_a:?}");
    assert_eq!(browsers_below(node_b).len(), 1);
    // By their ids: Chromium overwrites the environment of most of its processes.
    let all: Vec<u32> = [node_a, node_b].into_iter().flat_map(process::servers).collect();

    let [one, two, three] = &visitors;
    three.session.delete().expect(200);
    eventually("nothing is left on node b", || process::servers(node_b).is_empty().then_some(()));
    one.session.delete().expect(200);
    let browser_of_two = eventually("one browser is left on node a", || {
        let browsers = browsers_below(node_a);
        (browsers.len() == 1).then(|| browsers[0])
    });
    assert!(browsers_of_a.contains(&browser_of_two), "it is the one from before");
    two.goes_to(two.name);
    two.sees_only_its_own();
    assert_eq!(browsers_below(node_a), [browser_of_two]);

    two.session.delete().expect(200);
    eventually("nothing is left at all", || {
        let is_gone = process::survivors(&all).is_empty()
            && process::servers(node_a).is_empty()
            && process::servers(node_b).is_empty()
            && process::with_variable(MARK, &mark).is_empty();
        is_gone.then_some(())
    });
}

/// The names of the visitors, and of their pages.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// A session, and the address of its pages.
struct Visitor {
    name: &'static str,
    session: Session,
    pages: SocketAddr,
}

impl Visitor {
    #[track_caller]
    fn goes_to(&self, page: &str) {
        let url = format!("http://{}/{page}", self.pages);
        let said = self.asks("browser_navigate", json!({"url": url}));
        assert!(said.contains(&format!("Title of {page}")), "{said}");
    }

    /// Checks that it sees its own page and tabs only.
    #[track_caller]
    fn sees_only_its_own(&self) {
        let page = self.asks("browser_snapshot", json!({}));
        let tabs = self.asks("browser_tabs", json!({"action": "list"}));
        for name in NAMES {
            let is_own = name == self.name;
            assert_eq!(page.contains(&format!("Text of {name}")), is_own, "{page}");
            assert_eq!(tabs.contains(&format!("Title of {name}")), is_own, "{tabs}");
        }
    }

    /// Checks that its browser has no cookie of another one.
    #[track_caller]
    fn has_only_its_own_cookie(&self) {
        self.goes_to("cookies");
        let page = self.asks("browser_snapshot", json!({}));
        assert!(page.contains(&format!("Cookies: name={};", self.name)), "{page}");
    }

    /// The text in a tool's result.
    #[track_caller]
    fn asks(&self, tool: &str, arguments: Value) -> String {
        let (message, id) =
            self.session.message("tools/call", json!({"name": tool, "arguments": arguments}));
        let response = Connection::open(self.session.client.address())
            .reads_within(LIMIT)
            .exchange(&self.session.post(&message))
            .expect(200);
        let messages = response.messages();
        let answer = messages.iter().find(|message| message["id"] == id).expect("an answer");
        assert!(answer["result"]["isError"] != true, "{tool}: {answer}");
        let text = answer["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{tool}: {answer}")).to_owned()
    }
}

/// Serves pages that show their path and the cookies of the request.
fn pages() -> Scripted {
    Scripted::start(|asked, out| {
        let name = asked.path.trim_start_matches('/');
        let cookies = asked.header("cookie").unwrap_or("none");
        let page = format!(
            "<!doctype html><title>Title of {name}</title><h1>Text of {name}</h1>\
             <p>Cookies: {cookies};</p>"
        );
        let cookie = format!("Set-Cookie: name={name}; Path=/");
        let mut headers = vec!["Content-Type: text/html"];
        // Not on every answer: a browser requests an icon too.
        if NAMES.contains(&name) {
            headers.push(&cookie);
        }
        out.reply("200 OK", &headers, page.as_bytes());
        None
    })
}

/// The browsers below a node, without their child processes.
fn browsers_below(node: u32) -> Vec<u32> {
    let is_browser = |pid: &u32| {
        let line = process::command_line(*pid);
        line.contains("--remote-debugging-") && !line.contains("--type=")
    };
    let found: Vec<u32> = process::servers(node).into_iter().filter(is_browser).collect();
    // A forked child looks like its parent until it runs another program.
    let children: Vec<u32> = found.iter().copied().flat_map(process::children).collect();
    found.into_iter().filter(|pid| !children.contains(pid)).collect()
}

/// This machine's Chromium, if it starts: some packages of that name install only a stub.
pub fn chromium() -> Option<PathBuf> {
    let program = borrowed::on_the_path("chromium")?;
    let starts = Command::new(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    starts.is_ok_and(|status| status.success()).then_some(program)
}
