//! The table of who may use what: one judge for lists, calls, reads, completions, streams and the
//! management API, over every transport.

use mooring_tests::{
    Canned, Client, Cluster, Gateway, Issuer, OverSse, Request, Session, eventually, settings,
};
use serde_json::{Value, json};

/// A server with two tools, two prompts, two resources and a template, all with its name.
fn server(name: &str) -> Canned {
    let uri = |part: &str| format!("res-{name}://{part}");
    Canned::new()
        .with_capabilities(json!({"tools": {}, "prompts": {}, "resources": {}, "completions": {}}))
        .answers(
            "tools/list",
            json!({"tools": [
                {"name": "get_it", "inputSchema": {"type": "object"}},
                {"name": "delete_it", "inputSchema": {"type": "object"}},
            ]}),
        )
        .answers("prompts/list", json!({"prompts": [{"name": "say"}, {"name": "shout"}]}))
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": uri("open"), "name": "open"}, {"uri": uri("secret"), "name": "secret"},
            ]}),
        )
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": [{"uriTemplate": uri("t/{x}"), "name": "t"}]}),
        )
        .answers("tools/call", json!({"content": [{"type": "text", "text": name}]}))
        .answers("prompts/get", json!({"messages": []}))
        .answers("resources/read", json!({"contents": [{"uri": uri("open"), "text": name}]}))
        .answers("completion/complete", json!({"completion": {"values": [name]}}))
}

struct Servers {
    a: Canned,
    b: Canned,
}

impl Servers {
    fn new() -> Self {
        Self { a: server("a"), b: server("b") }
    }

    fn entries(&self) -> Value {
        json!({"a": self.a.entry(), "b": self.b.entry()})
    }

    /// The methods that the servers were asked by clients, with the name of the server.
    fn asked(&self, method: &str) -> Vec<String> {
        let of = |name: &'static str, server: &Canned| {
            let told = server.told();
            let meant = told.into_iter().filter(|(_, message)| message["method"] == method);
            meant
                .map(move |(_, message)| format!("{name} {}", message["params"]))
                .collect::<Vec<_>>()
        };
        [of("a", &self.a), of("b", &self.b)].concat()
    }
}

fn token(name: &str) -> String {
    format!("token-of-{name}-0123456789")
}

fn key(name: &str) -> Value {
    json!({"name": name, "token": token(name), "accessType": "all"})
}

fn rules() -> Value {
    json!({
        "groups": [
            {"id": "g-1", "name": "pair", "servers": ["a", {"name": "b", "tools": ["get_it"]}]},
            {"id": "g-2", "name": "lone", "servers": ["b"]},
        ],
        "bearerKeys": [
            key("boss"), key("only-a"), key("reader"), key("careful"), key("by-group"),
            key("nobody"), key("prefixed"), key("looker"),
        ],
        "systemConfig": {"policy": [
            {"effect": "allow", "who": {"keys": ["boss"]}},
            {"effect": "allow", "who": {"keys": ["boss", "looker"]}, "management": true},
            {"effect": "allow", "who": {"principals": ["only-a", "looker"]}, "servers": ["a"]},
            {"effect": "allow", "who": {"keys": ["reader"]}, "tools": ["get_*"],
             "prompts": ["say"], "resources": ["*://open"]},
            {"effect": "allow", "who": {"keys": ["careful"]}},
            {"name": "no deletes", "effect": "deny", "who": {"keys": ["careful"]},
             "tools": ["delete_*"], "resources": ["*://secret"]},
            {"effect": "allow", "who": {"keys": ["by-group"]}, "groups": ["pair"]},
            {"effect": "allow", "who": {"keys": ["prefixed"]}, "servers": ["a"]},
            {"effect": "deny", "who": {"keys": ["prefixed"]}, "tools": ["a-delete_it"]},
        ]},
    })
}

fn client(gateway: &Gateway, name: &str, path: &str) -> Client {
    gateway.client(path).header("Authorization", &format!("Bearer {}", token(name)))
}

fn each(servers: &Value, access: &Value, test: impl Fn(&Gateway)) {
    eprintln!("standalone");
    test(&Gateway::start_with(&settings::merged(
        settings::standalone(servers.clone()),
        access.clone(),
    )));
    eprintln!("cluster");
    let coordinator = settings::merged(settings::coordinator(json!({})), access.clone());
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    cluster.add("n1", servers.clone());
    let boss = client(&cluster.coordinator, "boss", "/mcp/a");
    eventually("the node's servers are there", || {
        (boss.try_initialize().status == 200).then_some(())
    });
    test(&cluster.coordinator);
}

/// Everything that a session shows, without the names of its servers in front.
fn shown(session: &Session) -> Vec<String> {
    let templates = session.request("resources/templates/list", json!({}));
    let templates = templates["resourceTemplates"].as_array().unwrap().clone();
    let templates = templates.iter().map(|t| t["uriTemplate"].as_str().unwrap().to_owned());
    let mut all = [
        session.tools(),
        session.list("prompts", "name"),
        session.list("resources", "uri"),
        templates.collect(),
    ]
    .concat();
    all.sort();
    all
}

fn of_a_whole(prefix: &str) -> Vec<String> {
    let named = ["delete_it", "get_it", "say", "shout"].map(|name| format!("{prefix}{name}"));
    let uris = ["open", "secret", "t/{x}"].map(|part| format!("res-a://{part}"));
    let mut all: Vec<String> = named.into_iter().chain(uris).collect();
    all.sort();
    all
}

#[test]
fn urls_exist_for_those_who_may_use_something_there() {
    let servers = Servers::new();
    each(&servers.entries(), &rules(), |gateway| {
        for (name, open) in [
            ("boss", &["a", "b", "pair", "g-1", "lone"][..]),
            ("only-a", &["a", "pair", "g-1"]),
            ("reader", &["a", "b", "pair", "g-1", "lone"]),
            ("careful", &["a", "b", "pair", "g-1", "lone"]),
            ("by-group", &["a", "b", "pair", "g-1", "lone"]),
            ("nobody", &[]),
        ] {
            let none = client(gateway, name, "/mcp/none").try_initialize().expect(404);
            for scope in ["a", "b", "pair", "g-1", "lone"] {
                let response = client(gateway, name, &format!("/mcp/{scope}")).try_initialize();
                let sse = Request::get(&format!("/sse/{scope}"))
                    .header("Accept", "text/event-stream")
                    .header("Authorization", &format!("Bearer {}", token(name)))
                    .open(gateway.address());
                let expect = if open.contains(&scope) { 200 } else { 404 };
                assert_eq!((response.status, sse.status), (expect, expect), "{name} {scope}");
                if expect == 404 {
                    let said =
                        |text: String, scope: &str| text.replace(&format!("\\\"{scope}\\\""), "it");
                    assert_eq!(said(response.text(), scope), said(none.text(), "none"), "{name}");
                }
            }
        }
    });
}

#[test]
fn lists_show_what_may_be_used_at_every_url() {
    let servers = Servers::new();
    each(&servers.entries(), &rules(), |gateway| {
        let list = |name: &str, path: &str| shown(&client(gateway, name, path).initialize());
        // Twice, since nothing that one was shown may be kept for another.
        for _ in 0..2 {
            assert_eq!(list("only-a", "/mcp"), of_a_whole("a-"));
            assert_eq!(list("only-a", "/mcp/a"), of_a_whole(""));
            assert_eq!(list("only-a", "/mcp/pair"), of_a_whole("a-"));
            assert_eq!(list("boss", "/mcp").len(), 14);
            assert_eq!(list("nobody", "/mcp"), [""; 0]);
            assert_eq!(list("reader", "/mcp/a"), ["get_it", "res-a://open", "say"]);
            assert_eq!(
                list("reader", "/mcp"),
                ["a-get_it", "a-say", "b-get_it", "b-say", "res-a://open", "res-b://open"]
            );
            assert_eq!(
                list("careful", "/mcp/a"),
                ["get_it", "res-a://open", "res-a://t/{x}", "say", "shout"]
            );
            let by_group = list("by-group", "/mcp");
            assert!(by_group.contains(&"a-delete_it".to_owned()), "{by_group:?}");
            assert!(!by_group.contains(&"b-delete_it".to_owned()), "{by_group:?}");
            assert_eq!(list("by-group", "/mcp/b").iter().filter(|n| n.ends_with("_it")).count(), 1);
            let prefixed = list("prefixed", "/mcp/a");
            assert!(!prefixed.contains(&"delete_it".to_owned()), "{prefixed:?}");
            assert!(prefixed.contains(&"res-a://secret".to_owned()), "{prefixed:?}");
        }
    });
}

/// Requests about something, and the same about something that nobody has.
fn forbidden(prefix: &str, server: &str) -> Vec<(&'static str, Value, Value)> {
    let tool = |name: &str| json!({"name": format!("{prefix}{name}"), "arguments": {}});
    let uri = |part: &str| json!({"uri": format!("res-{server}://{part}")});
    let prompt = |name: &str| {
        json!({
            "ref": {"type": "ref/prompt", "name": format!("{prefix}{name}")},
            "argument": {"name": "x", "value": ""},
        })
    };
    vec![
        ("tools/call", tool("delete_it"), tool("nothing")),
        ("prompts/get", tool("shout"), tool("nothing")),
        ("resources/read", uri("secret"), uri("nothing")),
        ("resources/read", uri("./secret"), uri("./nothing")),
        ("resources/read", uri("SECRET/../secret"), uri("SECRET/../nothing")),
        ("resources/subscribe", uri("secret"), uri("nothing")),
        ("completion/complete", prompt("shout"), prompt("nothing")),
    ]
}

#[test]
fn what_may_not_be_used_is_answered_like_what_is_not_there() {
    let servers = Servers::new();
    each(&servers.entries(), &rules(), |gateway| {
        for (path, prefix) in [("/mcp/a", ""), ("/mcp", "a-"), ("/mcp/pair", "a-")] {
            let session = client(gateway, "reader", path).initialize();
            let bearer = format!("Bearer {}", token("reader"));
            let over_sse = path.replace("/mcp", "/sse");
            let mut sse =
                OverSse::open_with(gateway.address(), &over_sse, &[("Authorization", &bearer)]);
            sse.begin();
            for (method, params, other) in forbidden(prefix, "a") {
                let plain = |answer: Value, of: &Value| {
                    let mut text = answer["error"].to_string();
                    for name in ["name", "uri"] {
                        for given in [&of[name], &of["ref"][name]] {
                            if let Some(given) = given.as_str() {
                                text = text.replace(given, "it");
                            }
                        }
                    }
                    text
                };
                let (hidden, unknown) =
                    (session.answer(method, params.clone()), session.answer(method, other.clone()));
                assert!(hidden.get("error").is_some(), "{path} {method} {params}: {hidden}");
                assert_eq!(plain(hidden, &params), plain(unknown, &other), "{path} {method}");
                assert!(
                    sse.answer(method, params.clone()).get("error").is_some(),
                    "{path} {method}"
                );
            }
            session
                .request("tools/call", json!({"name": format!("{prefix}get_it"), "arguments": {}}));
            session.request("prompts/get", json!({"name": format!("{prefix}say")}));
            session.request("resources/read", json!({"uri": "res-a://open"}));
            let batch = client(gateway, "reader", path).revision("2025-03-26").initialize();
            let messages: Vec<Value> = forbidden(prefix, "a")
                .into_iter()
                .map(|(method, params, _)| batch.message(method, params).0)
                .collect();
            let answers = batch.post(&json!(messages)).send(gateway.address()).expect(200);
            assert!(answers.messages().iter().all(|answer| answer.get("error").is_some()));
        }
    });
    let calls = servers.asked("tools/call").concat();
    assert!(calls.contains("get_it") && !calls.contains("delete_it"), "{calls}");
    let reads = servers.asked("resources/read").concat();
    assert!(reads.contains("res-a://open") && !reads.contains("secret"), "{reads}");
    assert!(!servers.asked("prompts/get").concat().contains("shout"));
    assert_eq!(servers.asked("resources/subscribe"), [""; 0]);
}

#[test]
fn what_a_rule_denies_is_denied_whatever_others_allow() {
    let servers = Servers::new();
    each(&servers.entries(), &rules(), |gateway| {
        let session = client(gateway, "careful", "/mcp").initialize();
        session.request("tools/call", json!({"name": "a-get_it", "arguments": {}}));
        // What a template that is shown has may be read, but for what is hidden.
        session.request("resources/read", json!({"uri": "res-a://t/5"}));
        for (method, params) in [
            ("tools/call", json!({"name": "a-delete_it", "arguments": {}})),
            ("tools/call", json!({"name": "delete_it", "arguments": {}})),
            ("resources/read", json!({"uri": "res-a://secret"})),
            ("resources/read", json!({"uri": "RES-A://secret"})),
        ] {
            let answer = session.answer(method, params.clone());
            assert!(answer.get("error").is_some(), "{method} {params}: {answer}");
        }
    });
    assert!(!servers.asked("tools/call").concat().contains("delete_it"));
    assert!(!servers.asked("resources/read").concat().contains("secret"));
}

#[test]
fn tasks_exist_for_those_who_may_use_their_server() {
    let task = json!({
        "taskId": "t1", "status": "working", "ttl": 60_000, "pollInterval": 100,
        "createdAt": "2025-11-25T00:00:00Z", "lastUpdatedAt": "2025-11-25T00:00:00Z",
    });
    let with_tasks = |name: &str| {
        server(name)
            .with_capabilities(json!({"tools": {}, "tasks": {"list": {}, "cancel": {}}}))
            .answers("tasks/list", json!({"tasks": [task]}))
            .answers("tasks/get", task.clone())
            .answers("tasks/cancel", task.clone())
    };
    let servers = Servers { a: with_tasks("a"), b: with_tasks("b") };
    each(&servers.entries(), &rules(), |gateway| {
        for (name, open) in [("boss", &["a~t1", "b~t1"][..]), ("only-a", &["a~t1"])] {
            let session = eventually("tasks are announced", || {
                let session = client(gateway, name, "/mcp").initialize();
                session.result["capabilities"]["tasks"].is_object().then_some(session)
            });
            for server in ["a", "b"] {
                let call = json!({"name": format!("{server}-get_it"), "arguments": {}});
                let _ = session.answer("tools/call", call);
            }
            let listed = session.request("tasks/list", json!({}));
            let ids = listed["tasks"].as_array().unwrap().iter();
            let mut ids: Vec<&str> = ids.map(|task| task["taskId"].as_str().unwrap()).collect();
            ids.sort_unstable();
            assert_eq!(ids, open, "{name}");
            for id in ["a~t1", "b~t1"] {
                for method in ["tasks/get", "tasks/cancel"] {
                    let answer = session.answer(method, json!({"taskId": id}));
                    let unknown = session.answer(method, json!({"taskId": "c~t1"}));
                    if open.contains(&id) {
                        assert_eq!(answer["result"]["taskId"], id, "{name} {method}: {answer}");
                        continue;
                    }
                    let said =
                        |answer: &Value, id: &str| answer["error"].to_string().replace(id, "it");
                    assert!(answer.get("error").is_some(), "{name} {method}: {answer}");
                    assert_eq!(said(&answer, id), said(&unknown, "c~t1"), "{name} {method}");
                }
            }
        }
    });
}

#[test]
fn the_management_api_shows_what_its_caller_may_use() {
    let servers = Servers::new();
    each(&servers.entries(), &rules(), |gateway| {
        let get = |name: &str, path: &str| {
            let bearer = format!("Bearer {}", token(name));
            Request::get(path).header("Authorization", &bearer).send(gateway.address())
        };
        for server in ["a", "b"] {
            let _ = client(gateway, "boss", &format!("/mcp/{server}")).initialize();
        }
        for path in ["/api/cluster/instances", "/api/cluster/sessions", "/api/cluster/explain"] {
            for name in ["only-a", "reader", "nobody"] {
                get(name, path).expect(403);
            }
            let (all, some) =
                (get("boss", path).expect(200).text(), get("looker", path).expect(200).text());
            let has = |text: &str, name: &str| {
                ["server", "serverId"]
                    .iter()
                    .any(|key| text.contains(&format!("\"{key}\":\"{name}\"")))
            };
            assert!(has(&all, "a") && has(&all, "b"), "{path}: {all}");
            assert!(has(&some, "a") && !has(&some, "b"), "{path}: {some}");
        }
        // Nor is anything counted that does not exist for it.
        let count = |name: &str, path: &str| get(name, path).expect(200).json()["data"].clone();
        let all = count("boss", "/api/cluster/sessions");
        let all = all["sessions"].as_array().unwrap();
        let of_a = all.iter().filter(|session| session["bindings"][0]["serverId"] == "a").count();
        assert!(of_a > 0 && of_a < all.len(), "{all:?}");
        let seen = count("looker", &format!("/api/cluster/sessions?limit={of_a}"));
        assert_eq!((&seen["total"], &seen["next"]), (&json!(of_a), &Value::Null), "{all:?}");
        let of = |server: &str| count("looker", &format!("/api/cluster/sessions?server={server}"));
        assert_eq!(of("b"), of("nobody-knows-it"));
        assert_eq!(of("a")["total"], of_a);
        if count("boss", "/api/cluster/status")["mode"] == "coordinator" {
            let stats = |name: &str| count(name, "/api/cluster/status")["stats"].clone();
            let (whole, some) = (stats("boss"), stats("looker"));
            assert_eq!([&whole["servers"], &whole["sessions"]], [2, all.len()], "{whole}");
            assert_eq!([&some["servers"], &some["sessions"]], [1, of_a], "{some}");
        }
        get("looker", "/api/logs?server=a").expect(200);
        let (hidden, unknown) =
            (get("looker", "/api/logs?server=b"), get("looker", "/api/logs?server=c"));
        assert_eq!((hidden.status, unknown.status), (404, 404));
        assert_eq!(
            hidden.text().replace("\"Server not found: b", "x"),
            unknown.text().replace("\"Server not found: c", "x")
        );
        let first_event = |name: &str| {
            let bearer = format!("Bearer {}", token(name));
            let asked = Request::get("/api/events").header("Authorization", &bearer);
            let mut stream = asked.open(gateway.address());
            assert_eq!(stream.status, 200, "{name}");
            eventually("what runs was asked", || {
                let event = stream.event().json();
                let has_any = |section: &str| {
                    let set = event["sections"][section]["set"].as_object();
                    set.is_some_and(|set| !set.is_empty())
                };
                has_any("instances").then_some(event)
            })
        };
        let (all, some) = (first_event("boss"), first_event("looker"));
        let has = |event: &Value, name: &str| event["sections"].to_string().contains(name);
        assert!(has(&all, "\"server\":\"a\"") && has(&all, "\"server\":\"b\""), "{all}");
        assert!(has(&some, "\"server\":\"a\"") && !has(&some, "\"server\":\"b\""), "{some}");
        assert!(!has(&some, "\"b\"") && !has(&some, "\"log\":"), "{some}");
    });
}

#[test]
fn groups_of_a_token_decide_and_change_with_the_token() {
    let (servers, issuer) = (Servers::new(), Issuer::start());
    let policy = json!({"systemConfig": {"policy": [
        {"effect": "allow", "who": {"groups": ["dev"]}, "servers": ["a"]},
        {"effect": "allow", "who": {"groups": ["ops*"]}, "management": true},
        {"effect": "allow", "who": {"principals": ["corp:root"], "keys": ["corp"]}},
    ]}});
    let settings = settings::merged(settings::standalone(servers.entries()), policy);
    let settings =
        settings::merged(settings, issuer.settings(json!({"groupsClaim": "realm.roles"})));
    let gateway = Gateway::start_with(&settings);
    let ann = |roles: Value| {
        let token = issuer.token_with("ann", json!({"realm": {"roles": roles}}));
        format!("Bearer {token}")
    };
    let at = |bearer: &str, path: &str| gateway.client(path).header("Authorization", bearer);
    let dev = ann(json!(["dev"]));
    eventually("the keys are there", || {
        (at(&dev, "/mcp").try_initialize().status == 200).then_some(())
    });
    let session = at(&dev, "/mcp").initialize();
    assert_eq!(session.tools(), ["a-get_it", "a-delete_it"]);
    assert_eq!(at(&dev, "/mcp/b").try_initialize().status, 404);
    // The session goes on, and shows what the token of each request may use.
    let none = Session::resumed(&at(&ann(json!([])), "/mcp"), &session.id);
    assert_eq!(none.tools(), [""; 0]);
    let answer = none.answer("tools/call", json!({"name": "a-get_it", "arguments": {}}));
    assert!(answer.get("error").is_some(), "{answer}");
    assert_eq!(session.tools().len(), 2);
    let root = format!("Bearer {}", issuer.token("root"));
    assert_eq!(at(&root, "/mcp").initialize().tools().len(), 4);
    let api = |bearer: &str| {
        let asked = Request::get("/api/cluster/instances").header("Authorization", bearer);
        asked.send(gateway.address()).status
    };
    assert_eq!([api(&dev), api(&ann(json!(["ops-eu"]))), api(&root)], [403, 200, 403]);
}

/// A token of the same principal that may use less gets nothing of what another one has called.
#[test]
fn a_stream_is_resumed_by_a_token_that_might_have_begun_it() {
    let issuer = Issuer::start();
    let tools = |names: Value| json!({"servers": ["clock"], "tools": names});
    let allow = |group: &str, what: Value| {
        settings::merged(json!({"effect": "allow", "who": {"groups": [group]}}), what)
    };
    let policy = json!({"systemConfig": {"policy": [
        allow("ops", json!({})),
        allow("dev", tools(json!(["now", "wait_with_progress"]))),
        allow("low", tools(json!(["now"]))),
    ]}});
    let servers = json!({"clock": mooring_tests::servers::clock()});
    let settings = settings::merged(settings::standalone(servers), policy);
    let settings =
        settings::merged(settings, issuer.settings(json!({"groupsClaim": "realm.roles"})));
    let gateway = Gateway::start_with(&settings);
    let at = |role: &str, path: &str| {
        let token = issuer.token_with("ann", json!({"realm": {"roles": [role]}}));
        gateway.client(path).header("Authorization", &format!("Bearer {token}"))
    };
    eventually("the keys are there", || {
        (at("ops", "/mcp").try_initialize().status == 200).then_some(())
    });
    for (path, prefix) in [("/mcp", "clock-"), ("/mcp/clock", "")] {
        for role in ["ops", "dev"] {
            let session = at(role, path).initialize();
            let tool = format!("{prefix}wait_with_progress");
            let arguments = json!({"steps": 4, "ms": 50});
            let meta = json!({"progressToken": "t"});
            let (mut stream, id) = session.start(&tool, arguments, meta);
            let event = stream.event().id.expect("an id to come back to");
            drop(stream);
            let low = Session::resumed(&at("low", path), &session.id);
            assert!(low.answer("tools/call", json!({"name": tool})).get("error").is_some());
            let (own, _) = event.split_once('@').unwrap_or((&event, ""));
            let mut tried = vec![format!("{own}@clock"), format!("{own}@clock@0011223344556677")];
            tried.extend(event.contains('@').then(|| event.clone()));
            for tried in tried {
                let told = low.resume(&tried).whole().messages();
                assert_eq!(told.len(), 1, "{path} {role} {tried}: {told:?}");
                assert_eq!(told[0]["error"]["code"], -31001, "{path} {role} {tried}: {told:?}");
            }
            let rest = session.resume(&event).whole().messages();
            let answer = rest.iter().find(|message| message["id"] == id).expect("an answer");
            assert!(answer.get("result").is_some(), "{path} {role}: {answer}");
        }
    }
}

#[test]
fn rules_that_cannot_be_obeyed_refuse_the_start() {
    let check = |rule: Value| {
        let policy = json!({"mcpServers": {}, "systemConfig": {"policy": rule}});
        let output = mooring_tests::Setup::new(&policy).run(&["check"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told, String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (rules, says) in [
        (json!({"effect": "allow"}), "a list of rules"),
        (json!([{"servers": ["a"]}]), "effect"),
        (json!([{"effect": "allows"}]), "is not a kind of effect"),
        (json!([{"effect": "deny", "tool": ["x"]}]), "not a known key"),
        (json!([{"effect": "deny", "who": {"users": ["x"]}}]), "not a known key"),
        (json!([{"effect": "deny", "servers": [7]}]), "must be a string"),
        (json!([{"effect": "deny", "name": "x"}, {"effect": "deny", "name": "x"}]), "earlier rule"),
    ] {
        let (code, told, _) = check(rules.clone());
        assert_eq!(code, Some(2), "{rules}: {told}");
        assert!(told.contains(says), "{rules}: {told}");
    }
    let rule = json!([{"name": "few", "effect": "allow", "servers": ["a*"], "tools": ["get_*"],
        "who": {"groups": ["dev"]}}]);
    let (code, told, page) = check(rule);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        page.contains("few") && page.contains("servers a*; tools get_*; for members of dev"),
        "{page}"
    );
}
