//! The operators' page: its files and their rules, its key, and the stream that it reads.

use std::collections::BTreeMap;

use mooring_tests::fake_node::Says;
use mooring_tests::http::Incoming;
use mooring_tests::{Cluster, Gateway, Request, Response, Setup, eventually, servers, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

const EVENTS: &str = "/api/events";
const KEY: &str = "a-key-for-tests";

fn locked() -> Value {
    let routing = json!({"enableBearerAuth": true, "bearerAuthKey": KEY});
    settings::merged(
        settings::standalone(json!({"counter": servers::counter()})),
        json!({"systemConfig": {"routing": routing}}),
    )
}

/// What a reader of the stream knows.
struct Reader {
    stream: Incoming,
    head: Value,
    sections: BTreeMap<String, BTreeMap<String, Value>>,
    /// What the last event said.
    last: Value,
}

impl Reader {
    #[track_caller]
    fn open(gateway: &Gateway) -> Self {
        Self::over(Request::get(EVENTS).open(gateway.address()))
    }

    #[track_caller]
    fn over(stream: Incoming) -> Self {
        assert_eq!(stream.status, 200);
        assert_eq!(stream.header("content-type"), Some("text/event-stream"));
        Self { stream, head: Value::Null, sections: BTreeMap::new(), last: Value::Null }
    }

    fn read(&mut self) {
        let event = self.stream.event();
        assert_eq!(event.kind.as_deref(), Some("state"));
        self.last = event.json();
        if !self.last["head"].is_null() {
            self.head = self.last["head"].clone();
        }
        for (name, change) in self.last["sections"].as_object().unwrap() {
            let section = self.sections.entry(name.clone()).or_default();
            for key in change["gone"].as_array().unwrap() {
                let key = key.as_str().unwrap();
                assert!(section.remove(key).is_some(), "{name}/{key} was not there");
            }
            for (key, entry) in change["set"].as_object().unwrap() {
                section.insert(key.clone(), entry.clone());
            }
        }
    }

    /// Reads until this is so.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..40 {
            self.read();
            if is_so(self) {
                return;
            }
        }
        panic!("{what}: {:?}", self.sections);
    }

    fn entry(&self, section: &str, key: &str) -> &Value {
        self.sections.get(section).and_then(|all| all.get(key)).unwrap_or(&Value::Null)
    }

    fn any(&self, section: &str, is_it: impl Fn(&Value) -> bool) -> bool {
        self.sections.get(section).is_some_and(|all| all.values().any(is_it))
    }
}

#[test]
fn the_page_has_strict_rules_and_needs_no_key() {
    let gateway = Gateway::start_with(&locked());
    let html = gateway.get("/ui").expect(200);
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    let text = html.text();
    assert!(text.contains("data-key-header=\"authorization\""), "{text}");
    let mut files: Vec<Response> = vec![html];
    let names = text.split("\"ui/").skip(1).filter_map(|rest| rest.split('"').next());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() >= 3, "{names:?}");
    names.push("stream.js".to_owned());
    for name in names {
        let file = gateway.get(&format!("/ui/{name}")).expect(200);
        let kind = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(file.header("content-type"), Some(kind), "{name}");
        files.push(file);
    }
    for file in &files {
        let policy = file.header("content-security-policy").expect("a policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|part| part == rule), "{rule}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("x-frame-options"), Some("DENY"));
        assert_eq!(file.header("referrer-policy"), Some("no-referrer"));
    }
    gateway.get("/ui/nothing.js").expect(404);
    gateway.get("/ui/..%2fmod.rs").expect(404);
    gateway.get("/uix").expect(404);
    let slash = gateway.get("/ui/").expect(308);
    assert_eq!(slash.header("location"), Some("../ui"));
    Request::post("/ui").body("").send(gateway.address()).expect(405);
    let rebound = Request::get("/ui").header("Host", "evil.example").send(gateway.address());
    rebound.expect(403);
    assert!(gateway.get("/").expect(404).text().contains("/ui"));
}

#[test]
fn the_page_is_below_the_base_path_and_names_the_header_of_the_key() {
    let header = json!({"systemConfig": {"routing": {"bearerAuthHeaderName": "X-Team-Key"}}});
    let settings = settings::merged(locked(), header);
    let gateway = Setup::new(&settings).env("BASE_PATH", "/hub").start();
    let text = gateway.get("/hub/ui").expect(200).text();
    assert!(text.contains("data-key-header=\"x-team-key\""), "{text}");
    gateway.get("/hub/ui/page.js").expect(200);
    gateway.get("/ui").expect(404);
    gateway.get(&format!("/hub{EVENTS}")).expect(401);
    let key = format!("Bearer {KEY}");
    let events = Request::get(&format!("/hub{EVENTS}")).header("X-Team-Key", &key);
    let mut reader = Reader::over(events.open(gateway.address()));
    reader.read();
    assert_eq!(reader.head["mode"], "standalone");
}

#[test]
fn the_stream_is_for_who_may_use_the_api() {
    let restricted = json!({"bearerKeys": [
        {"id": "1", "name": "ops", "token": "of-ops-12345678", "enabled": true, "accessType": "all"},
        {"id": "2", "name": "team", "token": "of-team-12345678", "enabled": true,
         "accessType": "servers", "allowedServers": ["counter"]},
    ]});
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&settings::merged(servers, restricted));
    let get = |key: &str| {
        let request = Request::get(EVENTS).header("Authorization", &format!("Bearer {key}"));
        request.open(gateway.address())
    };
    gateway.get(EVENTS).expect(401);
    assert_eq!(get("wrong").status, 401);
    assert_eq!(get("of-team-12345678").status, 403);
    Reader::over(get("of-ops-12345678")).read();
    let foreign = Request::get(EVENTS)
        .header("Authorization", "Bearer of-ops-12345678")
        .header("Origin", "http://evil.example");
    foreign.send(gateway.address()).expect(403);
}

#[test]
fn changes_are_told_and_nothing_else() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    gateway.wait_until_discovered(&["counter"]);
    let mut reader = Reader::open(&gateway);
    reader.until("all has been asked", |seen| seen.head["isAsked"] == true);
    assert_eq!(reader.entry("servers", "counter")["state"], "ok");
    assert_eq!(reader.sections.get("sessions").map_or(0, BTreeMap::len), 0);
    let session = gateway.client("/mcp/counter").initialize();
    reader.until("the session is there", |seen| seen.any("sessions", |_| true));
    let first = reader.last.clone();
    assert!(first["sections"].get("servers").is_none(), "they have not changed: {first}");
    let decision = reader.sections["decisions"].values().next().unwrap().clone();
    let shown = reader.sections["sessions"].values().next().unwrap().clone();
    assert_eq!(decision["session"], shown["session"]);
    assert_eq!(shown["servers"][0]["server"], "counter", "{shown}");
    assert_eq!(shown["session"].as_str().unwrap().len(), 8, "the short name only");
    reader.until("its process is there", |seen| {
        seen.any("instances", |one| {
            one["state"] == "ready" && one["sessions"][0] == shown["session"]
        })
    });
    session.delete().expect(200);
    reader.until("the session is gone", |seen| !seen.any("sessions", |_| true));
    reader.until("its process is gone", |seen| !seen.any("instances", |_| true));
}

#[test]
fn a_dead_node_and_its_servers_are_told_with_the_reason() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({"coordinator": {"nodeTimeout": 1500}}));
    cluster.add("c", json!({"notes": servers::notes()}));
    cluster.wait_for_active(3);
    let mut reader = Reader::open(&cluster.coordinator);
    reader.until("all are well", |seen| {
        ["a", "b", "c"].iter().all(|node| seen.entry("nodes", node)["state"] == "ok")
            && ["counter", "notes"].iter().all(|name| seen.entry("servers", name)["state"] == "ok")
    });
    cluster.nodes[1].signal(Signal::KILL);
    cluster.nodes[2].signal(Signal::KILL);
    reader.until("both are gone", |seen| {
        ["b", "c"].iter().all(|node| seen.entry("nodes", node)["state"] == "failed")
    });
    let counter = reader.entry("servers", "counter");
    assert_eq!(
        (&counter["state"], &counter["usable"]),
        (&json!("degraded"), &json!(1)),
        "{counter}"
    );
    let notes = reader.entry("servers", "notes");
    assert_eq!((&notes["state"], &notes["usable"]), (&json!("failed"), &json!(0)), "{notes}");
    assert!(notes["replicas"][0]["why"].as_str().unwrap().starts_with("the node "), "{notes}");
    // The log of the coordinator tells of it, too.
    reader.until("the log says so", |seen| {
        seen.any("log", |line| {
            let text = line["text"].as_str().unwrap();
            line["level"] == "warn" && (text.contains("node b") || text.contains("node=b"))
        })
    });
}

#[test]
fn a_server_in_a_crash_loop_is_told() {
    let broken = json!({"command": "sh", "args": ["-c", "echo no-such-zone >&2; exit 3"]});
    let gateway = Gateway::start_with(&settings::standalone(
        json!({"bad": broken, "counter": servers::counter()}),
    ));
    let mut reader = Reader::open(&gateway);
    reader.until("it has failed", |seen| seen.entry("servers", "bad")["state"] == "failed");
    let bad = &reader.entry("servers", "bad")["replicas"][0];
    assert!(bad["why"].as_str().unwrap().contains("no-such-zone"), "{bad}");
    assert_eq!(reader.entry("servers", "counter")["state"], "ok");
}

#[test]
fn errors_limits_and_rates_are_told() {
    let limits = json!({"systemConfig": {"limits": {"sessionsPerPrincipal": 2}}});
    let servers = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Gateway::start_with(&settings::merged(servers, limits));
    gateway.wait_until_discovered(&["counter"]);
    let mut reader = Reader::open(&gateway);
    reader.until("the limits are there", |seen| {
        seen.entry("limits", "sessionsPerPrincipal")["refused"] == 0
    });
    let sessions = reader.entry("limits", "sessions").clone();
    assert_eq!((&sessions["used"], &sessions["isBytes"]), (&json!(0), &json!(false)));
    assert!(sessions["most"].as_u64().unwrap() > 1, "{sessions}");
    let folder = reader.entry("limits", "dataFolder");
    assert_eq!((&folder["isBytes"], &folder["most"]), (&json!(true), &json!(1 << 30)), "{folder}");
    assert!(!reader.any("errors", |_| true));
    let session = gateway.client("/mcp/counter").initialize();
    for _ in 0..3 {
        let _ = session.answer("tools/call", json!({"name": "no-such", "arguments": {}}));
    }
    gateway.client("/mcp/no-such-server").try_initialize().expect(404);
    let other = gateway.client("/mcp/counter").initialize();
    gateway.client("/mcp/counter").try_initialize().expect(429);
    reader.until("the server's errors", |seen| {
        seen.any("errors", |one| {
            one["server"] == "counter" && one["emitter"] == "server" && one["count"] == 3
        })
    });
    reader.until("the gateway's own", |seen| {
        seen.any("errors", |one| one["emitter"] == "gateway" && one["server"] == "")
    });
    reader.until("the limit", |seen| {
        let limit = seen.entry("limits", "sessionsPerPrincipal");
        limit["refused"] == 1
    });
    reader
        .until("calls of each second", |seen| seen.head["callsPerSecond"].as_f64().unwrap() > 0.0);
    drop((session, other));
}

#[test]
fn errors_of_nodes_are_told_too_each_with_its_node() {
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add_public("c", json!({"notes": servers::notes()}));
    cluster.wait_for_active(3);
    let mut reader = Reader::open(&cluster.coordinator);
    reader.until("all have been asked", |seen| seen.head["isAsked"] == true);
    assert!(!reader.any("errors", |_| true), "{:?}", reader.sections["errors"]);
    let session = cluster.client("/mcp/notes").initialize();
    for _ in 0..3 {
        let unknown = json!({"name": "no-such", "arguments": {}});
        assert!(session.answer("tools/call", unknown)["error"].is_object());
    }
    reader.until("the errors of the node's server", |seen| {
        seen.any("errors", |one| {
            one["node"] == "c"
                && one["server"] == "notes"
                && one["emitter"] == "server"
                && one["kind"] == "invalid-params"
                && one["count"] == 3
        })
    });
    cluster.client("/mcp/no-such-server").try_initialize().expect(404);
    reader.until("the coordinator's own", |seen| {
        seen.any("errors", |one| one["node"].is_null() && one["emitter"] == "gateway")
    });
    // A node's own page does not tell them twice.
    let mut reader = Reader::open(&cluster.nodes[2]);
    reader.until("its own, once it has asked itself", |seen| {
        let has_them = seen.any("errors", |one| one["server"] == "notes" && one["count"] == 3);
        has_them && seen.head["isAsked"] == true
    });
    let all: Vec<&Value> = reader.sections["errors"].values().collect();
    assert!(all.iter().all(|one| one["node"].is_null()), "{all:?}");
}

#[test]
fn a_node_that_lies_about_errors_fills_no_page_and_hides_nothing() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let (emitter, kind, most) = ("\u{1b}[2J", "k\u{202e}", u64::MAX);
    let error =
        |server: String| json!({"server": server, "emitter": emitter, "kind": kind, "count": most});
    let many = (0..5000).map(|number| error(format!("{number}{}", "x".repeat(300))));
    let page = json!({"instances": [], "more": false, "servers": [], "moreErrors": 7,
        "errors": many.collect::<Vec<_>>()});
    let node = Says::default().instances(page).start("liar");
    node.register(&coordinator, json!([]), json!({})).expect(200);
    coordinator.client("/mcp/no-such-server").try_initialize().expect(404);
    let mut reader = Reader::open(&coordinator);
    reader.until("what the node says", |seen| seen.any("errors", |one| one["node"] == "liar"));
    let errors = &reader.sections["errors"];
    let own = errors.values().filter(|one| one["node"].is_null()).count();
    assert!(own > 0 && errors.len() - own == 1000, "{own} of {}", errors.len());
    assert_eq!(reader.head["errorsLeftOut"], 4007, "what is not shown is told");
    for (key, one) in errors {
        assert!(key.len() < 700 && !key.contains(['\u{1b}', '\u{202e}']), "{key:?}");
        assert!(!one.to_string().contains("\\u001b"), "{one}");
    }
}

/// The errors of a node, as it says them of a server with this many kinds.
fn errors_of(server: &str, kinds: usize) -> Vec<Value> {
    let error = |number| json!({"server": server, "emitter": "server", "kind": format!("k{number}"), "count": 1});
    (0..kinds).map(error).collect()
}

#[test]
fn nodes_whose_instances_find_no_room_still_tell_servers_and_errors() {
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let instance = |number: usize| json!({"server": "crowd", "pid": number, "startedAt": number});
    let broken = json!({"server": "broken", "status": "crash-loop", "lastError": "no licence"});
    let crowd: Vec<Value> = (0..500).map(instance).collect();
    let first = json!({"instances": crowd, "more": true, "errors": errors_of("crowd", 250)});
    let last = json!({"servers": [broken], "errors": errors_of("broken", 250)});
    let first = Says::default().instances(first).start("a");
    let last = Says::default().instances(last).start("z");
    first.register(&coordinator, json!([{"name": "crowd"}]), json!({})).expect(200);
    last.register(&coordinator, json!([{"name": "broken"}]), json!({})).expect(200);
    let mut reader = Reader::open(&coordinator);
    reader.until("all have been asked", |seen| seen.any("errors", |one| one["node"] == "a"));
    assert_eq!(reader.sections["instances"].len(), 500);
    assert_eq!(reader.head["hasMoreInstances"], true);
    for node in ["a", "z"] {
        let of_node = reader.sections["errors"].values().filter(|one| one["node"] == node).count();
        assert_eq!(of_node, 250, "{node}: {}", reader.head);
    }
    assert_eq!(reader.head["errorsLeftOut"], 0);
    let replica = &reader.entry("servers", "broken")["replicas"][0];
    assert_eq!((&replica["status"], &replica["why"]), (&json!("crash-loop"), &json!("no licence")));
}

#[test]
fn readers_are_bounded_and_make_room_when_they_leave() {
    let gateway = Gateway::start_with(&settings::standalone(json!({})));
    let open = || Request::get(EVENTS).open(gateway.address());
    let mut readers: Vec<Incoming> = (0..16).map(|_| open()).collect();
    assert!(readers.iter().all(|reader| reader.status == 200));
    for reader in &mut readers {
        assert_eq!(reader.event().json()["head"]["mode"], "standalone");
    }
    let refused = open().whole();
    assert_eq!((refused.status, refused.json()["success"].clone()), (503, json!(false)));
    drop(readers.pop());
    eventually("there is room again", || (open().status == 200).then_some(()));
}

#[test]
fn an_open_page_holds_no_end_up() {
    let mut gateway = Gateway::start_with(&settings::standalone(json!({})));
    let mut reader = Reader::open(&gateway);
    reader.read();
    let began = std::time::Instant::now();
    gateway.terminate();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    while reader.stream.next_event().is_some() {}
}

#[test]
fn the_page_of_the_gateway_itself_may_drain_and_no_other() {
    let cluster = Cluster::of_two_equal_nodes(json!({}));
    let order = |host: &str, origin: &str| {
        let request = Request::post("/api/cluster/nodes/a/drain")
            .header("Host", host)
            .header("Origin", origin)
            .json(&json!({}));
        request.send(cluster.coordinator.address())
    };
    for (host, origin) in [
        ("10.1.2.3:3000", "http://evil.example"),
        ("10.1.2.3:3000", "http://10.1.2.3:4000"),
        ("evil.example", "http://evil.example"),
        ("10.1.2.3:3000", "null"),
    ] {
        order(host, origin).expect(403);
    }
    assert_eq!(cluster.node("a").unwrap()["draining"], false);
    order("10.1.2.3:3000", "http://10.1.2.3:3000").expect(200);
    assert_eq!(cluster.node("a").unwrap()["draining"], true);
    let mut reader = Reader::open(&cluster.coordinator);
    reader.until("it is told", |seen| seen.entry("nodes", "a")["draining"] == true);
    assert_eq!(reader.entry("nodes", "a")["state"], "degraded");
}
