//! Entries that a settings file hides cannot be listed or used, on any URL and through any process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{
    Behind, Canned, Cluster, Connection, Gateway, OverSse, PlayedCoordinator, Request, Response,
    Scripted, Session, eventually, settings, within,
};
use rustix::process::Signal;
use serde_json::{Value, json};

fn server() -> Canned {
    Canned::new()
        .with_capabilities(json!({"tools": {}, "prompts": {}, "resources": {}}))
        .answers(
            "tools/list",
            json!({"tools": [
                {"name": "open", "description": "As the server says.", "inputSchema": {"type": "object"}},
                {"name": "plain", "inputSchema": {"type": "object"}},
                {"name": "secret", "inputSchema": {"type": "object"}},
            ]}),
        )
        .answers("prompts/list", json!({"prompts": [{"name": "ask"}, {"name": "whisper"}]}))
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": "res://open", "name": "open"}, {"uri": "res://secret", "name": "secret"},
            ]}),
        )
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": [
                {"uriTemplate": "res://t/{x}", "name": "t"},
                {"uriTemplate": "res://{x}", "name": "any"},
            ]}),
        )
        .answers("tools/call", json!({"content": [{"type": "text", "text": "called"}]}))
        .answers("prompts/get", json!({"messages": []}))
        .answers("resources/read", json!({"contents": [{"uri": "res://open", "text": "read"}]}))
}

/// The server's entry in a file that hides everything with "secret" in its name.
fn entry(server: &Canned) -> Value {
    let selection = json!({
        "tools": {
            "open": {"enabled": true, "description": "As the operator says."},
            "plain": {"enabled": true, "description": "In a word."},
            "secret": {"enabled": false},
        },
        "prompts": {"whisper": {"enabled": false}},
        "resources": {
            "res://open": {"enabled": true, "description": "For all."},
            "res://secret": {"enabled": false},
            "res://t/{x}": {"enabled": false},
        },
    });
    settings::merged(server.entry(), selection)
}

/// Checks one session, in which names have this prefix.
fn hides(session: &Session, prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    assert_eq!(session.tools(), [name("open"), name("plain")]);
    let tools = session.request("tools/list", json!({}))["tools"].clone();
    assert_eq!(tools[0]["description"], "As the operator says.");
    assert_eq!(tools[1]["description"], "In a word.");
    session.call(&name("open"), json!({}));
    let call = json!({"name": name("secret"), "arguments": {}});
    assert_eq!(session.answer("tools/call", call)["error"]["code"], -32602);

    assert_eq!(session.list("prompts", "name"), [name("ask")]);
    session.request("prompts/get", json!({"name": name("ask")}));
    let get = json!({"name": name("whisper")});
    assert_eq!(session.answer("prompts/get", get)["error"]["code"], -32602);

    let resources = session.request("resources/list", json!({}))["resources"].clone();
    let shown = json!([{"uri": "res://open", "name": "open", "description": "For all."}]);
    assert_eq!(resources, shown);
    let templates = session.request("resources/templates/list", json!({}));
    assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 1, "{templates}");
    for uri in ["res://open", "res://other"] {
        session.request("resources/read", json!({"uri": uri}));
    }
    for uri in ["res://secret", "res://t/1"] {
        for method in ["resources/read", "resources/subscribe"] {
            let answer = session.answer(method, json!({"uri": uri}));
            assert_eq!(answer["error"]["code"], -32002, "{method} {uri}: {answer}");
        }
    }
}

const SCOPES: [(&str, &str); 3] = [("/mcp", "srv-"), ("/mcp/desk", "srv-"), ("/mcp/srv", "")];

#[test]
fn what_a_file_hides_is_not_listed_and_not_to_be_had() {
    let server = server();
    let groups = json!({"groups": [{"name": "desk", "servers": ["srv"]}]});
    let settings = settings::standalone(json!({"srv": entry(&server)}));
    let gateway = Gateway::start_with(&settings::merged(settings, groups));
    for (path, prefix) in SCOPES {
        hides(&gateway.client(path).initialize(), prefix);
    }
}

#[test]
fn what_a_nodes_file_hides_is_hidden_at_the_coordinator_too() {
    let server = server();
    let settings = settings::merged(
        settings::coordinator(json!({})),
        json!({"groups": [{"name": "desk", "servers": ["srv"]}]}),
    );
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    cluster.add("a", json!({"srv": entry(&server)}));
    // A node whose file hides nothing does not expose what the other node's file hides.
    cluster.add("b", json!({"srv": server.entry()}));
    cluster.wait_for_active(2);
    for _ in 0..4 {
        for (path, prefix) in SCOPES {
            hides(&cluster.client(path).initialize(), prefix);
        }
    }
}

#[test]
fn what_is_hidden_stays_hidden_while_a_coordinator_comes_back() {
    let server = server();
    let mut cluster = Cluster {
        coordinator: Gateway::start_with(&settings::coordinator(json!({}))),
        nodes: Vec::new(),
    };
    let node = json!({"id": "a", "heartbeatInterval": 60_000});
    let settings = settings::node(cluster.coordinator.port(), node, json!({"srv": entry(&server)}));
    cluster.nodes.push(Gateway::start_with(&settings));
    cluster.wait_for_active(1);
    cluster.coordinator.restart_after(Signal::KILL);
    cluster.wait_for_active(1);
    hides(&cluster.client("/mcp/srv").initialize(), "");
}

#[test]
fn a_group_shows_the_resources_that_it_names() {
    let server = server();
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"srv": server.entry()},
        "groups": [
            {"name": "desk", "servers": [{"name": "srv", "resources": ["res://open", "res://t/{x}"]}]},
        ],
    }));
    let session = gateway.client("/mcp/desk").initialize();
    assert_eq!(session.list("resources", "uri"), ["res://open"]);
    for uri in ["res://open", "res://t/1"] {
        session.request("resources/read", json!({"uri": uri}));
    }
    for uri in ["res://secret", "res://other"] {
        let answer = session.answer("resources/read", json!({"uri": uri}));
        assert_eq!(answer["error"]["code"], -32002, "{uri}: {answer}");
    }
}

// Before anything is known

/// What nobody may ask for, by names of several kinds and in several spellings.
const HIDDEN_URIS: [&str; 9] = [
    "res://secret",
    "RES://secret",
    "res://%73ecret",
    "res://secret/",
    "res://secret#x",
    "res://open/..%2F..%2Fsecret",
    " res://secret",
    "res://t/1",
    "res://t/%31",
];

/// A server whose lists do not come before they are let out: until then only files say what is
/// hidden.
fn listless(is_open: &Arc<AtomicBool>) -> Scripted {
    let is_open = Arc::clone(is_open);
    let lists = json!({"tools": [], "prompts": [], "resourceTemplates": [], "resources": [
        {"uri": "res://open", "name": "open"}, {"uri": "res://secret", "name": "secret"},
    ]});
    Scripted::start(move |asked: &Asked, out: Out| match asked.rpc().as_str() {
        "resources/list" | "resources/templates/list" | "tools/list" | "prompts/list" => {
            // As long as the test may last.
            within(Duration::from_secs(300), "the lists are let out", || {
                is_open.load(Ordering::Acquire).then_some(())
            });
            out.result(asked, &lists);
            None
        }
        "tasks/result" => {
            let link = json!({"type": "resource_link", "uri": "res://secret", "name": "it"});
            let text = json!({"type": "text", "text": "done"});
            out.result(asked, &json!({"content": [link, text]}));
            None
        }
        "initialize" => {
            let answer = json!({"jsonrpc": "2.0", "id": asked.json()["id"], "result": {
                "protocolVersion": "2025-11-25",
                "capabilities": {
                    "tools": {}, "prompts": {}, "resources": {"subscribe": true}, "tasks": {},
                },
                "serverInfo": {"name": "listless", "version": "1"},
            }});
            let session = if asked.is_of_client() { "client-1" } else { "gateway-1" };
            let headers = ["Content-Type: application/json", &format!("Mcp-Session-Id: {session}")];
            out.reply("200 OK", &headers, answer.to_string().as_bytes());
            None
        }
        _ => Some(out),
    })
}

fn hiding(entry: Value) -> Value {
    let off = json!({"enabled": false});
    let resources = json!({"res://secret": off, "res://t/{x}": off});
    settings::merged(entry, json!({"resources": resources, "tools": {"secret": off}}))
}

/// Every URI that the server was asked for.
fn asked_for(server: &Scripted) -> Vec<String> {
    let uri = |asked: &Asked| asked.json()["params"]["uri"].as_str().map(str::to_owned);
    server.all().iter().filter_map(uri).collect()
}

/// Asks for everything hidden as soon as there is an answer at all, and at the same time, since
/// each request may wait for the lists.
fn ask_early(gateway: &Gateway) {
    let mut asked = Vec::new();
    for path in ["/mcp/srv", "/mcp", "/mcp/desk"] {
        let client = gateway.client(path);
        let session = eventually("the session begins", || {
            let begun = client.try_initialize();
            let id = begun.header("mcp-session-id")?;
            (begun.status == 200).then(|| Session::resumed(&client, id))
        });
        for method in ["resources/read", "resources/subscribe", "resources/unsubscribe"] {
            for uri in HIDDEN_URIS {
                let mut connection = Connection::open(gateway.address());
                let (message, _) = session.message(method, json!({"uri": uri}));
                connection.send_request(&session.post(&message));
                asked.push((format!("{path} {method} {uri}"), connection));
            }
        }
        // A task is asked for by its server's name alone, and its result may name anything.
        let answer = session.answer("tasks/result", json!({"taskId": "srv~1"}));
        let content = answer["result"]["content"].as_array().expect("a result");
        assert_eq!(content.len(), 2, "{path}: {answer}");
        assert!(!answer.to_string().contains("res://secret"), "{path}: {answer}");
    }
    let mut over_sse = OverSse::initialize(gateway.address(), "/sse/srv");
    let ids = HIDDEN_URIS.map(|uri| over_sse.ask("resources/read", json!({"uri": uri})));
    for (what, mut connection) in asked {
        let answer = connection.read_head().expect("an answer").whole().messages();
        assert!(answer[0].get("error").is_some(), "{what}: {answer:?}");
    }
    for id in ids {
        let answer = over_sse.answer_to(&id);
        assert!(answer.get("error").is_some(), "{answer}");
    }
}

/// Starts what clients connect to, in front of the server, with its nodes.
type Starts<'a> = dyn Fn(&Scripted) -> (Gateway, Vec<Gateway>) + 'a;

#[test]
fn what_is_hidden_is_not_asked_for_while_the_lists_are_unknown() {
    let groups = json!({"groups": [{"name": "desk", "servers": ["srv"]}]});
    let alone = |server: &Scripted| {
        let servers = json!({"srv": hiding(server.entry())});
        let settings = settings::merged(settings::standalone(servers), groups.clone());
        (Gateway::start_with(&settings), Vec::new())
    };
    let cluster = |server: &Scripted| {
        let settings = settings::merged(settings::coordinator(json!({})), groups.clone());
        let mut cluster =
            Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
        cluster.add("a", json!({"srv": hiding(server.entry())}));
        (cluster.coordinator, cluster.nodes)
    };
    let fronts: [&Starts; 2] = [&alone, &cluster];
    for front in fronts {
        let is_open = Arc::new(AtomicBool::new(false));
        let server = listless(&is_open);
        let (gateway, nodes) = front(&server);
        ask_early(&gateway);
        assert_eq!(asked_for(&server), [""; 0], "{} nodes", nodes.len());
        // With the lists comes what is not hidden, and no more.
        is_open.store(true, Ordering::Release);
        let session = gateway.client("/mcp/srv").initialize();
        eventually("what is shown is to be had", || {
            session.answer("resources/read", json!({"uri": "res://open"})).get("result").cloned()
        });
        ask_early(&gateway);
        assert!(asked_for(&server).iter().all(|uri| uri == "res://open"));
    }
}

/// Sends a node a message as a coordinator would that does not know what the node's file hides.
fn unjudged(behind: &Behind, message: &Value) -> Response {
    let request = Request::post("/cluster/servers/srv/mcp")
        .header("Accept", "application/json, text/event-stream")
        .header("Mooring-Session", "00000000-0000-4000-8000-000000000001")
        .header("Mooring-Principal", "anonymous");
    let request = if message.get("method").is_none() {
        request.header("Mooring-Open", "host")
    } else {
        request
    };
    behind.send(&request.json(message))
}

#[test]
fn a_node_judges_again_what_its_coordinator_has_let_through() {
    let server = server();
    let hears = PlayedCoordinator::start();
    let node = settings::node(hears.port(), json!({"id": "n"}), json!({"srv": entry(&server)}));
    let node = Gateway::start_with(&node);
    let behind = hears.registered(&node, None);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    unjudged(&behind, &params).expect(200);
    let ask = |method: &str, params: Value| {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        unjudged(&behind, &message).messages().remove(0)
    };
    for uri in HIDDEN_URIS {
        for method in ["resources/read", "resources/subscribe", "resources/unsubscribe"] {
            let answer = ask(method, json!({"uri": uri}));
            assert_eq!(answer["error"]["code"], -32602, "{method} {uri}: {answer}");
        }
    }
    for (method, params) in [
        ("tools/call", json!({"name": "secret"})),
        ("tools/call", json!({"name": "open", "Name": "secret"})),
        ("prompts/get", json!({"name": "whisper"})),
        ("completion/complete", json!({"ref": {"type": "ref/prompt", "name": "whisper"}})),
        ("completion/complete", json!({"ref": {"type": "ref/resource", "uri": "res://t/{y}"}})),
    ] {
        let answer = ask(method, params.clone());
        assert_eq!(answer["error"]["code"], -32602, "{method} {params}: {answer}");
    }
    assert!(ask("tools/call", json!({"name": "open"})).get("result").is_some());
    assert!(ask("resources/read", json!({"uri": "res://open"})).get("result").is_some());
    let told = server.received();
    for part in ["secret", "whisper", "res://t/", "%73ecret"] {
        assert!(!told.contains(part), "{told}");
    }
}
