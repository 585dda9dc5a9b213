//! Several keys: each opens what it names, over every transport, in one process and in a cluster.

use mooring_tests::http::Connection;
use mooring_tests::{
    Canned, Cluster, Gateway, OverSse, Request, Response, Session, Setup, servers, settings,
};
use serde_json::{Value, json};

/// A server whose tool, prompt, resource and template have its name.
fn server(name: &str) -> Canned {
    let uri = format!("res-{name}://one");
    let template = format!("res-{name}://t/{{x}}");
    Canned::new()
        .with_capabilities(json!({"tools": {}, "prompts": {}, "resources": {}, "completions": {}}))
        .answers(
            "tools/list",
            json!({"tools": [
                {"name": "ask", "inputSchema": {"type": "object"}},
                {"name": "tell", "inputSchema": {"type": "object"}},
            ]}),
        )
        .answers("prompts/list", json!({"prompts": [{"name": "say"}]}))
        .answers("resources/list", json!({"resources": [{"uri": uri, "name": name}]}))
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": [{"uriTemplate": template, "name": "t"}]}),
        )
        .answers("tools/call", json!({"content": [{"type": "text", "text": name}]}))
        .answers("prompts/get", json!({"messages": []}))
        .answers("resources/read", json!({"contents": [{"uri": uri, "text": name}]}))
        .answers("resources/subscribe", json!({}))
        .answers("completion/complete", json!({"completion": {"values": [name]}}))
}

struct Servers {
    a: Canned,
    b: Canned,
    c: Canned,
}

impl Servers {
    fn new() -> Self {
        Self { a: server("a"), b: server("b"), c: server("c") }
    }

    fn entries(&self) -> Value {
        json!({"a": self.a.entry(), "b": self.b.entry(), "c": self.c.entry()})
    }
}

fn token(name: &str) -> String {
    format!("token-of-{name}-0123456789")
}

fn key(name: &str, more: Value) -> Value {
    let base = json!({"id": name, "name": name, "token": token(name), "enabled": true});
    settings::merged(base, more)
}

/// Groups, and keys of every kind.
fn access() -> Value {
    json!({
        "groups": [
            {"id": "g-1", "name": "pair", "servers": ["a", {"name": "b", "tools": ["ask"]}]},
            {"id": "g-2", "name": "single", "servers": ["c"]},
        ],
        "bearerKeys": [
            key("everything", json!({"accessType": "all"})),
            key("pair", json!({"accessType": "groups", "allowedGroups": ["pair"]})),
            key("by-id", json!({"accessType": "groups", "allowedGroups": ["g-2"]})),
            key("only-a", json!({"accessType": "servers", "allowedServers": ["a"]})),
            key("a-and-b", json!({"accessType": "servers", "allowedServers": ["b", "a"]})),
            key("mixed", json!({"accessType": "custom", "allowedGroups": ["single"], "allowedServers": ["a"]})),
            key("nothing", json!({"accessType": "servers", "allowedServers": []})),
            key("off", json!({"accessType": "all", "enabled": false})),
        ],
    })
}

/// Runs `test` with one gateway, and with a coordinator that has the keys and two nodes that have
/// the servers.
fn each(servers: &Value, access: &Value, test: impl Fn(&Gateway)) {
    eprintln!("standalone");
    test(&Gateway::start_with(&settings::merged(
        settings::standalone(servers.clone()),
        access.clone(),
    )));
    eprintln!("cluster");
    let coordinator = settings::merged(settings::coordinator(json!({})), access.clone());
    let coordinator = Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("n1", servers.clone());
    cluster.add("n2", servers.clone());
    mooring_tests::eventually("both nodes are active", || {
        let asked = Request::get("/api/cluster/nodes?active=true")
            .header("Authorization", &format!("Bearer {}", token("everything")));
        let nodes = asked.send(cluster.coordinator.address()).expect(200).json();
        (nodes["data"].as_array()?.len() == 2).then_some(())
    });
    test(&cluster.coordinator);
}

fn client(gateway: &Gateway, name: &str, path: &str) -> mooring_tests::Client {
    gateway.client(path).header("Authorization", &format!("Bearer {}", token(name)))
}

fn sse_status(gateway: &Gateway, name: &str, path: &str) -> (u16, String) {
    let asked = Request::get(path)
        .header("Accept", "text/event-stream")
        .header("Authorization", &format!("Bearer {}", token(name)));
    let opened = asked.open(gateway.address());
    let status = opened.status;
    if status == 200 { (200, String::new()) } else { (status, opened.whole().text()) }
}

fn without(text: &str, scope: &str) -> String {
    text.replace(&format!("\\\"{scope}\\\""), "it")
}

/// What a refusal says, with this name in place of the scope's.
fn told(response: &Response, scope: &str) -> String {
    without(&response.text(), scope)
}

#[test]
fn a_key_opens_the_urls_that_it_names_and_no_other_exists_for_it() {
    let servers = Servers::new();
    each(&servers.entries(), &access(), |gateway| {
        for (name, open) in [
            ("everything", &["a", "b", "c", "pair", "single", "g-1", "g-2"][..]),
            ("pair", &["pair", "g-1"]),
            ("by-id", &["single", "g-2"]),
            ("only-a", &["a"]),
            ("a-and-b", &["a", "b", "pair", "g-1"]),
            ("mixed", &["a", "single", "g-2"]),
            ("nothing", &[]),
        ] {
            let none = client(gateway, name, "/mcp/none").try_initialize().expect(404);
            for scope in ["a", "b", "c", "pair", "single", "g-1", "g-2"] {
                // A key for a group does not open its servers one by one.
                let is_open = open.contains(&scope);
                let response = client(gateway, name, &format!("/mcp/{scope}")).try_initialize();
                let sse = sse_status(gateway, name, &format!("/sse/{scope}"));
                if is_open {
                    assert_eq!((response.status, sse.0), (200, 200), "{name} {scope}");
                } else {
                    assert_eq!((response.status, sse.0), (404, 404), "{name} {scope}");
                    assert_eq!(told(&response, scope), told(&none, "none"), "{name} {scope}");
                    // A GET has no id.
                    let of_sse = without(&sse.1, scope).replace("\"id\":null", "\"id\":0");
                    assert_eq!(of_sse, told(&none, "none"), "{name} {scope}");
                }
            }
        }
        for wrong in ["off", "unknown", ""] {
            client(gateway, wrong, "/mcp").try_initialize().expect(401);
            assert_eq!(sse_status(gateway, wrong, "/sse").0, 401);
        }
    });
}

/// Everything that a session on `/mcp` shows, in one line.
fn shown(session: &Session) -> String {
    let all = [
        session.tools(),
        session.list("prompts", "name"),
        session.list("resources", "uri"),
        session.request("resources/templates/list", json!({}))["resourceTemplates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|template| template["uriTemplate"].as_str().unwrap().to_owned())
            .collect(),
    ];
    all.concat().join(" ")
}

/// What a server shows, with these tools.
fn of_server(name: &str, tools: &[&str]) -> [Vec<String>; 4] {
    [
        tools.iter().map(|tool| format!("{name}-{tool}")).collect(),
        vec![format!("{name}-say")],
        vec![format!("res-{name}://one")],
        vec![format!("res-{name}://t/{{x}}")],
    ]
}

fn together(servers: &[[Vec<String>; 4]]) -> String {
    let list = |index: usize| servers.iter().flat_map(move |server| server[index].clone());
    (0..4).flat_map(list).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_url_of_all_servers_shows_a_key_its_own() {
    let both: &[&str] = &["ask", "tell"];
    let servers = Servers::new();
    each(&servers.entries(), &access(), |gateway| {
        let expected = [
            (
                "everything",
                together(&[of_server("a", both), of_server("b", both), of_server("c", both)]),
            ),
            ("pair", together(&[of_server("a", both), of_server("b", &["ask"])])),
            ("by-id", together(&[of_server("c", both)])),
            ("only-a", together(&[of_server("a", both)])),
            ("a-and-b", together(&[of_server("a", both), of_server("b", both)])),
            ("mixed", together(&[of_server("a", both), of_server("c", both)])),
            ("nothing", String::new()),
        ];
        let sorted = |text: &str| {
            let mut words: Vec<&str> = text.split(' ').collect();
            words.sort_unstable();
            words.join(" ")
        };
        // Twice, since what one key was shown must not be kept for another.
        for (name, expect) in expected.iter().chain(&expected) {
            let session = client(gateway, name, "/mcp").initialize();
            assert_eq!(sorted(&shown(&session)), sorted(expect), "{name}");
            let bearer = format!("Bearer {}", token(name));
            let mut sse =
                OverSse::open_with(gateway.address(), "/sse", &[("Authorization", &bearer)]);
            sse.begin();
            let tools = sse.request("tools/list", json!({}))["tools"].as_array().unwrap().len();
            assert_eq!(tools, session.tools().len(), "{name}");
        }
    });
}

/// Requests about a server, as a client of `/mcp` writes them.
fn requests(server: &str) -> Vec<(&'static str, Value)> {
    let uri = format!("res-{server}://one");
    let templated = format!("res-{server}://t/5");
    let template = format!("res-{server}://t/{{x}}");
    let argument = json!({"name": "x", "value": "1"});
    vec![
        ("tools/call", json!({"name": format!("{server}-ask"), "arguments": {}})),
        ("prompts/get", json!({"name": format!("{server}-say")})),
        ("resources/read", json!({"uri": uri})),
        ("resources/read", json!({"uri": templated})),
        ("resources/subscribe", json!({"uri": uri})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": format!("{server}-say")}, "argument": argument}),
        ),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": template}, "argument": argument}),
        ),
    ]
}

/// Whether an answer is of this server: it says so, or says nothing.
fn is_of(answer: &Value, server: &str) -> bool {
    let text = &answer["result"]["contents"][0]["text"];
    answer["result"] == json!({}) || text == server
}

/// Whether an answer has a resource of this server.
fn is_of_another(answer: &Value, server: &str) -> bool {
    answer["result"]["contents"][0]["text"] == server
}

#[test]
fn nothing_of_a_server_that_the_key_does_not_open_can_be_asked_for() {
    let servers = Servers::new();
    each(&servers.entries(), &access(), |gateway| {
        for (name, open, closed) in
            [("only-a", "a", "b"), ("by-id", "c", "a"), ("mixed", "c", "b"), ("pair", "b", "c")]
        {
            let session = client(gateway, name, "/mcp").initialize();
            let bearer = format!("Bearer {}", token(name));
            let mut sse =
                OverSse::open_with(gateway.address(), "/sse", &[("Authorization", &bearer)]);
            sse.begin();
            for (method, params) in requests(open) {
                session.request(method, params.clone());
                sse.request(method, params);
            }
            for (method, params) in requests(closed) {
                for answer in [session.answer(method, params.clone()), sse.answer(method, params)] {
                    // A URI that nothing lists is asked of the servers that are open.
                    let is_asked = method.starts_with("resources/") && is_of(&answer, open);
                    let is_refused = answer.get("error").is_some();
                    assert!(is_refused || is_asked, "{name} {method}: {answer}");
                }
            }
            let batch = client(gateway, name, "/mcp").revision("2025-03-26").initialize();
            let messages: Vec<Value> = requests(closed)
                .into_iter()
                .chain(requests(open))
                .map(|(method, params)| batch.message(method, params).0)
                .collect();
            let answers =
                batch.post(&json!(messages)).send(gateway.address()).expect(200).messages();
            let refused = answers.iter().filter(|answer| answer.get("error").is_some()).count();
            let asked = messages[..messages.len() / 2].iter().filter(|message| {
                message["method"].as_str().is_some_and(|method| method.starts_with("resources/"))
            });
            assert_eq!(answers.len(), messages.len(), "{answers:?}");
            let fewest = messages.len() / 2 - asked.count();
            assert!((fewest..=messages.len() / 2).contains(&refused), "{answers:?}");
            assert!(!answers.iter().any(|answer| is_of_another(answer, closed)), "{answers:?}");
        }
        // A tool that the group does not show is not shown to its key.
        let session = client(gateway, "pair", "/mcp").initialize();
        let answer = session.answer("tools/call", json!({"name": "b-tell", "arguments": {}}));
        assert!(answer.get("error").is_some(), "{answer}");
    });
    let asked = |server: &Canned| {
        let told = server.told();
        told.iter().filter(|(_, message)| message["method"] == "tools/call").count()
    };
    assert!(asked(&servers.a) > 0 && asked(&servers.b) > 0 && asked(&servers.c) > 0);
}

#[test]
fn a_session_belongs_to_the_holder_of_its_key() {
    let servers = Servers::new();
    each(&servers.entries(), &access(), |gateway| {
        for path in ["/mcp", "/mcp/a"] {
            let session = client(gateway, "only-a", path).initialize();
            let (ping, _) = session.message("ping", json!({}));
            for other in ["a-and-b", "everything", "mixed"] {
                let stolen = Session::resumed(&client(gateway, other, path), &session.id);
                stolen.post(&ping).send(gateway.address()).expect(404);
            }
            session.post(&ping).send(gateway.address()).expect(200);
        }
        // Nor does a connection remember for one key what it has found for another.
        let mut connection = Connection::open(gateway.address());
        let mut status = |name: &str, path: &str| {
            connection.exchange(&client(gateway, name, path).initialize_request()).status
        };
        assert_eq!(status("everything", "/mcp/b"), 200);
        assert_eq!(status("only-a", "/mcp/b"), 404);
        assert_eq!(status("everything", "/mcp/b"), 200);
        let mut tools = |name: &str| {
            let client = client(gateway, name, "/mcp");
            let begun = connection.exchange(&client.initialize_request());
            let session = Session::resumed(&client, begun.header("mcp-session-id").unwrap());
            let (list, _) = session.message("tools/list", json!({}));
            let answer = connection.exchange(&session.post(&list));
            answer.messages()[0]["result"]["tools"].as_array().unwrap().len()
        };
        assert_eq!([tools("everything"), tools("only-a"), tools("everything")], [6, 2, 6]);
    });
}

#[test]
fn a_stream_of_http_and_sse_takes_messages_with_its_own_key_alone() {
    let servers = Servers::new();
    each(&servers.entries(), &access(), |gateway| {
        let bearer = format!("Bearer {}", token("only-a"));
        let sse = OverSse::open_with(gateway.address(), "/sse/a", &[("Authorization", &bearer)]);
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        for (name, status) in [("a-and-b", 404), ("unknown", 401), ("only-a", 202)] {
            let post = Request::post(&sse.endpoint)
                .header("Authorization", &format!("Bearer {}", token(name)))
                .json(&ping);
            assert_eq!(post.send(gateway.address()).status, status, "{name}");
        }
    });
}

#[test]
fn the_management_api_wants_a_key_for_everything() {
    let servers = Servers::new();
    each(&servers.entries(), &access(), |gateway| {
        for path in ["/api/cluster/status", "/api/cluster/instances", "/api/logs?server=a"] {
            let status = |name: &str| {
                let bearer = format!("Bearer {}", token(name));
                Request::get(path).header("Authorization", &bearer).send(gateway.address()).status
            };
            assert_eq!(status("everything"), 200, "{path}");
            for name in ["only-a", "pair", "mixed", "nothing"] {
                assert_eq!(status(name), 403, "{name} {path}");
            }
            assert_eq!([status("off"), status("unknown")], [401, 401], "{path}");
        }
        // The reasons of failures are for those who may use the API.
        gateway.get("/health").expect(200);
    });
}

#[test]
fn a_cursor_of_one_key_is_of_no_use_to_another() {
    let servers = Servers::new();
    let paged = settings::merged(access(), json!({"systemConfig": {"limits": {"pageSize": 1}}}));
    each(&servers.entries(), &paged, |gateway| {
        let whole = client(gateway, "everything", "/mcp").initialize();
        let cursor = whole.request("tools/list", json!({}))["nextCursor"].clone();
        whole.request("tools/list", json!({"cursor": cursor}));
        let own = client(gateway, "only-a", "/mcp").initialize();
        let answer = own.answer("tools/list", json!({"cursor": cursor}));
        assert!(answer.get("error").is_some(), "{answer}");
        assert_eq!(own.tools(), ["a-ask", "a-tell"]);
    });
}

#[test]
fn the_name_of_a_key_is_whom_limits_and_processes_count() {
    let servers = json!({"counter": servers::isolated(servers::counter(), "principal")});
    let keys = json!({
        "bearerKeys": [
            key("one", json!({"accessType": "all"})),
            key("two", json!({"accessType": "servers", "allowedServers": ["counter"]})),
            key("everything", json!({"accessType": "all"})),
        ],
        "systemConfig": {"limits": {"sessionsPerPrincipal": 2}},
    });
    each(&servers, &keys, |gateway| {
        let sessions =
            |name: &str| [0; 2].map(|_| client(gateway, name, "/mcp/counter").initialize());
        let (one, two) = (sessions("one"), sessions("two"));
        let pids = |sessions: &[Session]| {
            sessions.iter().map(|session| session.whoami("whoami").pid).collect::<Vec<_>>()
        };
        let (of_one, of_two) = (pids(&one), pids(&two));
        assert!(of_one.iter().all(|pid| !of_two.contains(pid)), "{of_one:?} {of_two:?}");
        if gateway.log().contains("standalone") {
            // In a cluster sessions of one key may be on several nodes.
            assert_eq!((of_one[0], of_two[0]), (of_one[1], of_two[1]));
        }
        // A session in use does not give way.
        let _streams = [one[0].listen(), one[1].listen()];
        let refused = client(gateway, "one", "/mcp/counter").try_initialize();
        if refused.status == 429 {
            assert!(refused.error_message().contains("the credential one"), "{refused:?}");
        }
    });
}

#[test]
fn a_key_that_is_withdrawn_or_narrowed_is_so_for_its_sessions_too() {
    let servers = Servers::new();
    let data = tempfile::tempdir().unwrap();
    let start = |keys: Value| {
        let settings =
            settings::merged(settings::standalone(servers.entries()), json!({"bearerKeys": keys}));
        Setup::new(&settings).data(data.path()).start()
    };
    let wide = json!({"accessType": "servers", "allowedServers": ["a", "b"]});
    let narrow = json!({"accessType": "servers", "allowedServers": ["a"]});
    let first = start(json!([key("k", wide), key("gone", json!({"accessType": "all"}))]));
    let of_k = client(&first, "k", "/mcp").initialize();
    of_k.call("b-ask", json!({}));
    let of_b = client(&first, "k", "/mcp/b").initialize();
    let of_gone = client(&first, "gone", "/mcp").initialize();
    drop(first);
    // The same holder with another token keeps its sessions; what it may use is decided anew.
    let mut rotated = key("k", narrow);
    rotated["token"] = token("rotated").into();
    let second = start(json!([rotated, key("new", json!({"accessType": "all"}))]));
    let resumed = |session: &Session, name: &str, path: &str| {
        Session::resumed(&client(&second, name, path), &session.id)
    };
    let (ping, _) = of_k.message("ping", json!({}));
    assert_eq!(resumed(&of_k, "k", "/mcp").post(&ping).send(second.address()).status, 401);
    let kept = resumed(&of_k, "rotated", "/mcp");
    assert_eq!(kept.tools(), ["a-ask", "a-tell"]);
    assert!(
        kept.answer("tools/call", json!({"name": "b-ask", "arguments": {}})).get("error").is_some()
    );
    let lost = resumed(&of_b, "rotated", "/mcp/b");
    assert_eq!(lost.post(&ping).send(second.address()).status, 404);
    assert_eq!(resumed(&of_gone, "gone", "/mcp").post(&ping).send(second.address()).status, 401);
    assert_eq!(resumed(&of_gone, "new", "/mcp").post(&ping).send(second.address()).status, 404);
}

#[test]
fn the_key_comes_in_the_header_that_the_file_names() {
    let servers = json!({"counter": servers::counter()});
    let keys = json!({
        "bearerKeys": [key("everything", json!({"accessType": "all"}))],
        "systemConfig": {"routing": {"bearerAuthHeaderName": "X-Hub-Key"}},
    });
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(servers), keys));
    let bearer = format!("Bearer {}", token("everything"));
    let with =
        |name: &str, value: &str| gateway.client("/mcp").header(name, value).try_initialize();
    with("X-Hub-Key", &bearer).expect(200);
    with("x-hub-key", &bearer).expect(200);
    with("X-Hub-Key", &token("everything")).expect(401);
    let refused = with("Authorization", &bearer).expect(401);
    assert!(refused.error_message().contains("X-Hub-Key: Bearer"), "{refused:?}");
    let api = Request::get("/api/cluster/instances").header("X-Hub-Key", &bearer);
    api.send(gateway.address()).expect(200);
}

#[test]
fn no_key_of_any_client_reaches_a_server() {
    let far = mooring_tests::Scripted::start(|_, out| Some(out));
    let names = json!(["Authorization", "X-Api-Key", "X-Hub-Key"]);
    let servers =
        json!({"far": settings::merged(far.entry(), json!({"passthroughHeaders": names}))});
    let keys = json!({"bearerKeys": [
        key("one", json!({"accessType": "all"})),
        key("two", json!({"accessType": "servers", "allowedServers": ["far"]})),
    ]});
    let gateway = Gateway::start_with(&settings::merged(settings::standalone(servers), keys));
    let session = client(&gateway, "two", "/mcp/far")
        .header("X-Api-Key", &token("one"))
        .header("X-Hub-Key", "of-the-client")
        .initialize();
    session.call("ask", json!({}));
    for asked in far.all() {
        let line = format!("{asked:?}");
        assert!(!line.contains("token-of"), "{line}");
    }
    assert!(far.seen().iter().any(|asked| asked.header("x-hub-key") == Some("of-the-client")));
}
