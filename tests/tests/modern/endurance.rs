//! The mark of conversations: clients without a session keep what servers hold for them, whatever
//! happens to the gateways, and are told what is lost with a node.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;

use mooring_tests::{Cluster, Gateway, Scripted, Stateless, borrowed, process, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::both;

const CLIENTS: usize = 4;

/// A coordinator and two nodes, each with these servers.
fn cluster(servers: &Value) -> Cluster {
    let system = json!({"systemConfig": both(&json!(["handle"]))});
    let coordinator = settings::merged(settings::coordinator(json!({})), system);
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, servers.clone());
    }
    cluster.wait_for_active(2);
    for node in &cluster.nodes {
        let names: Vec<&str> = servers.as_object().unwrap().keys().map(String::as_str).collect();
        node.wait_until_discovered(&names);
    }
    cluster
}

/// One conversation, which counts and takes notes.
struct Chat {
    number: usize,
    client: Stateless,
    count: i64,
    notes: Vec<String>,
    /// The processes that have answered.
    processes: BTreeSet<u64>,
}

impl Chat {
    fn new(cluster: &Cluster, number: usize) -> Self {
        let client = Stateless::new(cluster.coordinator.address(), "/mcp");
        let name = client.new_conversation();
        let client = client.conversation(&name);
        Self { number, client, count: 0, notes: Vec::new(), processes: BTreeSet::new() }
    }

    fn went_on_at(self, cluster: &Cluster) -> Self {
        Self { client: self.client.at(cluster.coordinator.address()), ..self }
    }

    /// Four calls.
    #[track_caller]
    fn goes_on(&mut self) {
        self.count += 1;
        assert_eq!(self.client.count("counter-count"), self.count, "chat {}", self.number);
        let note = format!("chat {} note {}", self.number, self.notes.len());
        let _ = self.client.call("notes-add_note", json!({"text": note}));
        self.notes.push(note);
        self.has_its_notes();
        self.processes.insert(self.client.whoami("counter-whoami").0);
    }

    #[track_caller]
    fn has_its_notes(&self) {
        let result = self.client.call("notes-list_notes", json!({}));
        let text = result["content"].to_string();
        let (number, count) = (self.number, self.notes.len());
        for note in &self.notes {
            assert!(text.contains(note.as_str()), "chat {number} has lost {note:?}: {text}");
        }
        assert_eq!(text.matches(" note ").count(), count, "chat {number} sees others': {text}");
    }
}

#[test]
fn four_conversations_keep_their_state_across_the_coordinators_and_are_told_of_a_nodes_death() {
    const ROUNDS: usize = 6;
    let mut cluster = cluster(&json!({"counter": servers::counter(), "notes": servers::notes()}));
    let chats: Vec<Chat> = (0..CLIENTS).map(|number| Chat::new(&cluster, number)).collect();
    let chats = side_by_side(chats, |chat| (0..ROUNDS).for_each(|_| chat.goes_on()));
    cluster.coordinator.restart_after(Signal::KILL);
    let chats = chats.into_iter().map(|chat| chat.went_on_at(&cluster)).collect();
    let chats = side_by_side(chats, |chat| (0..ROUNDS).for_each(|_| chat.goes_on()));
    for chat in &chats {
        assert_eq!(chat.processes.len(), 1, "chat {} has had one process", chat.number);
    }
    let all: BTreeSet<u64> = chats.iter().flat_map(|chat| chat.processes.clone()).collect();
    assert_eq!(all.len(), CLIENTS, "no two share one");

    let of_node = |node: &Gateway| process::descendants(node.pid());
    let first: Vec<u32> = of_node(&cluster.nodes[0]);
    let is_there = |chat: &Chat| {
        chat.processes.iter().any(|pid| first.contains(&u32::try_from(*pid).unwrap()))
    };
    let lost: Vec<bool> = chats.iter().map(is_there).collect();
    // The hash may have put all of them on one node: that one dies then.
    let dies = usize::from(!lost.contains(&true));
    let lost: Vec<bool> = lost.into_iter().map(|there| there == (dies == 0)).collect();
    cluster.nodes[dies].kill9();
    let _ = side_by_side(chats, |chat| {
        let result = chat.client.call("counter-count", json!({}));
        let told = result["_meta"]["mooring/notices"].to_string();
        if lost[chat.number] {
            assert!(told.contains("server counter was started again"), "{result}");
            assert!(result["content"].to_string().contains("Notice of the gateway"), "{result}");
            chat.count = 0;
        }
        chat.count += 1;
        assert_eq!(result["structuredContent"]["value"], chat.count, "{result}");
        // Its notes may have been on the other node.
        let notes = chat.client.call("notes-list_notes", json!({}));
        if notes["_meta"]["mooring/notices"].to_string().contains("server notes") {
            chat.notes.clear();
        }
        (0..ROUNDS).for_each(|_| chat.goes_on());
    });
}

/// The same with servers of others: a browser and a knowledge graph for each conversation.
#[test]
#[ignore = "long: a thousand calls with four browsers"]
fn four_conversations_keep_their_browsers_and_their_notes_over_a_thousand_calls() {
    const CALLS: usize = 250;
    let what = "conversations with browsers";
    if !borrowed::at_hand(what, &["node", "playwright", "memory"]) {
        return;
    }
    let Some(chromium) = crate::witnesses::browsers::chromium() else {
        return borrowed::skip(what, "no Chromium that starts is on the PATH");
    };
    let pages = Scripted::start(|asked, out| {
        let name = asked.path.trim_start_matches('/');
        let page = format!("<!doctype html><title>Title of {name}</title><h1>Text of {name}</h1>");
        out.reply("200 OK", &["Content-Type: text/html"], page.as_bytes());
        None
    });
    let folder = tempfile::tempdir().unwrap();
    let servers = real_servers(folder.path(), &chromium);
    let mut cluster = cluster(&servers);
    let visitors: Vec<Visitor> = (0..CLIENTS)
        .map(|number| {
            let client = Stateless::new(cluster.coordinator.address(), "/mcp");
            let name = client.new_conversation();
            let page = format!("http://{}/page-{number}", pages.address());
            Visitor { number, client: client.conversation(&name), page, observed: 0, at: None }
        })
        .collect();
    let visitors = side_by_side(visitors, |visitor| visitor.works(CALLS / 2));
    cluster.coordinator.restart_after(Signal::KILL);
    let address = cluster.coordinator.address();
    let visitors = visitors
        .into_iter()
        .map(|visitor| Visitor { client: visitor.client.at(address), ..visitor })
        .collect();
    let visitors = side_by_side(visitors, |visitor| {
        visitor.sees_its_page();
        visitor.works(CALLS / 2);
    });
    cluster.nodes[0].kill9();
    let _ = side_by_side(visitors, |visitor| {
        let result = visitor.calls("playwright-browser_snapshot", json!({}));
        let is_told = result["_meta"]["mooring/notices"].to_string();
        let has_page = result["content"].to_string().contains(&visitor.heading());
        let was_told = is_told.contains("server playwright was started again");
        assert_ne!(has_page, was_told, "a browser that is lost is said to be: {result}");
        visitor.at = None;
        visitor.works(10);
    });
}

fn real_servers(folder: &Path, chromium: &Path) -> Value {
    json!({
        "playwright": {
            "command": borrowed::starter("server-playwright"),
            "args": [
                "--headless", "--isolated", "--no-sandbox", "--browser", "chromium",
                "--executable-path", chromium, "--output-dir", folder.join("output"),
                "--timeout-action", "60000",
            ],
            "env": {"HOME": folder, "TMPDIR": folder},
            "cwd": folder,
        },
        // Without a file of its own each process would share one: it keeps what is observed there.
        "memory": {
            "command": "sh",
            "args": ["-c", "MEMORY_FILE_PATH=$(mktemp) exec \"$0\"",
                borrowed::starter("server-memory")],
            "env": {"TMPDIR": folder},
        },
    })
}

/// One conversation with a browser and a knowledge graph.
struct Visitor {
    number: usize,
    client: Stateless,
    page: String,
    observed: usize,
    at: Option<String>,
}

impl Visitor {
    fn heading(&self) -> String {
        format!("Text of page-{}", self.number)
    }

    #[track_caller]
    fn calls(&self, tool: &str, arguments: Value) -> Value {
        let result = self.client.call(tool, arguments);
        assert!(result["isError"] != true, "visitor {} {tool}: {result}", self.number);
        result
    }

    #[track_caller]
    fn sees_its_page(&self) {
        let result = self.calls("playwright-browser_snapshot", json!({}));
        let text = result["content"].to_string();
        assert!(text.contains(&self.heading()), "visitor {}: {text}", self.number);
        for other in (0..CLIENTS).filter(|other| *other != self.number) {
            assert!(!text.contains(&format!("page-{other}")), "visitor {}: {text}", self.number);
        }
    }

    /// So many calls, of which every other is to the browser.
    #[track_caller]
    fn works(&mut self, calls: usize) {
        if self.at.is_none() {
            let page = self.page.clone();
            self.calls("playwright-browser_navigate", json!({"url": page}));
            self.at = Some(page);
        }
        for call in 0..calls {
            match call % 4 {
                0 | 2 => self.sees_its_page(),
                1 => {
                    let name = format!("visitor {} fact {}", self.number, self.observed);
                    let entity =
                        json!({"name": name, "entityType": "fact", "observations": ["seen"]});
                    self.calls("memory-create_entities", json!({"entities": [entity]}));
                    self.observed += 1;
                }
                _ => {
                    let graph = self.calls("memory-read_graph", json!({}));
                    let text = graph["content"].to_string();
                    let others = (0..CLIENTS).filter(|other| *other != self.number);
                    for other in others {
                        assert!(!text.contains(&format!("visitor {other} fact")), "{text}");
                    }
                }
            }
        }
    }
}

/// Lets all go on at the same time, and returns them.
fn side_by_side<T: Send>(all: Vec<T>, go_on: impl Fn(&mut T) + Sync) -> Vec<T> {
    let begin = Barrier::new(all.len());
    std::thread::scope(|scope| {
        let running: Vec<_> = all
            .into_iter()
            .map(|mut one| {
                let (begin, go_on) = (&begin, &go_on);
                scope.spawn(move || {
                    begin.wait();
                    go_on(&mut one);
                    one
                })
            })
            .collect();
        running.into_iter().map(|running| running.join().expect("no failure")).collect()
    })
}
