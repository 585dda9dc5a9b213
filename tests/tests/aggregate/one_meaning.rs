//! A message has one meaning: no spelling of it, on any URL, transport or process, makes a server
//! run what the gateway has not read in it.

use mooring_tests::{Canned, Cluster, Gateway, OverSse, Scripted, Session, settings};
use serde_json::{Value, json};

/// Part of everything that no server may hear.
const HIDDEN: &str = "hidden";

fn server() -> Canned {
    Canned::new()
        .with_capabilities(json!({"tools": {}, "prompts": {}, "resources": {"subscribe": true},
            "completions": {}, "logging": {}, "tasks": {"list": {}, "cancel": {}}}))
        .answers(
            "tools/list",
            json!({"tools": [
                {"name": "shown", "inputSchema": {"type": "object"}},
                {"name": "hidden", "inputSchema": {"type": "object"}},
            ]}),
        )
        .answers("prompts/list", json!({"prompts": [{"name": "p-shown"}, {"name": "p-hidden"}]}))
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": "res://shown", "name": "s"}, {"uri": "res://hidden", "name": "h"},
            ]}),
        )
        .answers("resources/templates/list", json!({"resourceTemplates": []}))
        .answers("tools/call", json!({"content": [{"type": "text", "text": "ran"}]}))
        .answers("prompts/get", json!({"messages": []}))
        .answers("resources/read", json!({"contents": []}))
}

/// An entry of a settings file that hides what the name says.
fn hiding(entry: Value) -> Value {
    let off = json!({"enabled": false});
    let selection = json!({
        "tools": {"hidden": off}, "prompts": {"p-hidden": off}, "resources": {"res://hidden": off},
    });
    settings::merged(entry, selection)
}

/// `all` shows everything on its own URL, and two tools in a group.
fn file(srv: Value, all: Value) -> Value {
    json!({
        "mcpServers": {"srv": hiding(srv), "all": all},
        "groups": [
            {"name": "desk", "servers": ["srv"]},
            {"name": "few", "servers": [{"name": "all", "tools": ["shown"], "prompts": ["p-shown"],
                "resources": ["res://shown"]}]},
        ],
    })
}

/// URLs on which something is judged, and what names begin with there.
const SCOPES: [(&str, &str); 4] = [("", "srv-"), ("/desk", "srv-"), ("/few", "all-"), ("/srv", "")];

/// Bodies that name something hidden in a way that some reader understands. All of them have the
/// id 7, if they have one.
fn smuggled(prefix: &str) -> Vec<String> {
    let mut bodies: Vec<String> = Vec::new();
    // A call without an id runs, and is not answered (JSON-RPC 2.0, "Notification").
    for (method, params) in [
        ("tools/call", r#"{"name":"hidden","arguments":{}}"#),
        ("prompts/get", r#"{"name":"p-hidden"}"#),
        ("resources/read", r#"{"uri":"res://hidden"}"#),
        ("resources/subscribe", r#"{"uri":"res://hidden"}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p-hidden"}}"#),
        ("tasks/cancel", r#"{"taskId":"hidden"}"#),
        ("hidden/custom", "{}"),
        ("notifications/message", r#"{"data":"hidden"}"#),
        ("notifications/tools/call", r#"{"name":"hidden"}"#),
        ("notifications/cancelled", r#"["hidden"]"#),
        ("notifications/cancelled", r#"{"requestId":1,"RequestId":"hidden"}"#),
        ("notifications/cancelled", r#"{"requestId":1,"requestId":"hidden"}"#),
        ("notifications/roots/list_changed", r#"{"name":1,"name":"hidden"}"#),
    ] {
        bodies.push(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#));
        bodies.push(format!(
            r#"{{"jsonrpc":"2.0","id":null,"method":"{method}","params":{params}}}"#
        ));
    }
    let hidden = r#"{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"hidden"}}"#;
    let call = |members: &str| format!(r#"{{"jsonrpc":"2.0","id":7,{members}}}"#);
    let shown = |more: &str| {
        let params = format!(r#"{{"name":"{prefix}shown"{more}}}"#);
        call(&format!(r#""method":"tools/call","params":{params}"#))
    };
    // Readers of structs take an array for an object, and servers take it for a batch.
    bodies.push(format!(r#"["2.0",7,"tools/call",{hidden}]"#));
    bodies.push(format!("[{hidden}]"));
    bodies.push(format!("[[{hidden}]]"));
    bodies.push(call(&format!(r#""method":"tools/call","params":["{prefix}shown","hidden"]"#)));
    bodies.push(call(r#""method":"completion/complete","params":{"ref":["p-hidden"]}"#));
    bodies.push(shown(r#","_meta":["hidden"]"#));
    // More than one message in one body.
    bodies.push(format!("{}\n{hidden}", shown("")));
    bodies.push(format!("{}{hidden}", shown("")));
    bodies.push(format!("\u{feff}{hidden}"));
    bodies.push(format!("{}\0{hidden}", shown("")));
    // The first and the last of two members.
    let target = r#""params":{"name":"hidden"}"#;
    for members in [
        format!(r#""method":"ping","method":"tools/call",{target}"#),
        format!(r#""method":"ping","Method":"tools/call",{target}"#),
        format!(r#""method":"ping","m\u0065thod":"tools/call",{target}"#),
        format!(r#""method":"ping","method\u0000":"tools/call",{target}"#),
        format!(r#""method":"tools/call","params":{{"name":"{prefix}shown"}},{target}"#),
        format!(
            r#""method":"tools/call","params":{{"name":"{prefix}shown"}},"Params":{{"name":"hidden"}}"#
        ),
        format!(
            r#""method":"tools/call","params":{{"name":"{prefix}shown"}},"par\u0061ms":{{"name":"hidden"}}"#
        ),
        format!(r#""method":"tools/call","params":{{"name":"{prefix}shown"}},"result":"hidden""#),
        format!(r#""method":"tools/call","params":{{"name":"{prefix}shown"}},"ID":"hidden""#),
    ] {
        bodies.push(call(&members));
    }
    for more in [
        r#","name":"hidden""#,
        r#","Name":"hidden""#,
        r#","NAME":"hidden""#,
        r#","n\u0061me":"hidden""#,
        r#","name\u0000":"hidden""#,
        r#","arguments":{},"arguments":"hidden""#,
        r#","Arguments":"hidden""#,
        r#","_meta":{},"_meta":"hidden""#,
        r#","_meta":{"progressToken":1,"progressToken":"hidden"}"#,
        r#","_meta":{"progressToken":1,"progre\u017f\u017fToken":"hidden"}"#,
        r#","_meta":{"progressToken":["hidden"]}"#,
        r#","uri":1,"uri":"hidden""#,
        r#","tas\u212aId":"hidden""#,
    ] {
        bodies.push(shown(more));
    }
    for (method, params) in [
        ("tools/call", r#"{"name":"hidden"}"#),
        ("tools/call", r#"{"name":"hidden\ud800"}"#),
        ("tools/call", r#"{"n\u0061me":"h\u0069dden"}"#),
        ("tools/call", r#"{"Name":"hidden"}"#),
        ("tools/call", r#"{"name":["hidden"]}"#),
        ("prompts/get", r#"{"name":"p-shown","Name":"p-hidden"}"#),
        ("resources/read", r#"{"uri":"res://shown","URI":"res://hidden"}"#),
        ("resources/read", r#"{"uri":"res://shown","uri":"res://hidden"}"#),
        ("resources/subscribe", r#"{"uri":"res://shown","Uri":"res://hidden"}"#),
        ("completion/complete", r#"{"ref":{"name":"p-shown","name":"p-hidden"}}"#),
        ("completion/complete", r#"{"ref":{"name":"p-shown"},"ref":{"name":"p-hidden"}}"#),
        ("completion/complete", r#"{"ref":{"uri":"res://shown","URI":"res://hidden"}}"#),
        ("tasks/get", r#"{"taskId":"srv~1","taskid":"hidden"}"#),
        ("tasks/result", r#"{"taskId":"srv~1","taskId":"hidden"}"#),
        ("logging/setLevel", r#"["info","hidden"]"#),
        ("logging/setLevel", r#"{"level":"info","Level":"hidden"}"#),
        ("tools/list", r#"{"cursor":["hidden"]}"#),
        ("hidden/custom", "{}"),
    ] {
        bodies.push(call(&format!(r#""method":"{method}","params":{params}"#)));
    }
    for id in ["{\"hidden\":1}", "[\"hidden\"]", "1.5", "1e3", "true", "\"\\ud800\""] {
        let params = format!(r#"{{"name":"{prefix}shown","arguments":{{"a":"hidden"}}}}"#);
        bodies.push(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#
        ));
    }
    bodies
}

/// The messages with which a server has been asked for something hidden.
fn leaks(heard: &str) -> Vec<&str> {
    heard.lines().filter(|line| line.contains(HIDDEN)).collect()
}

#[track_caller]
fn is_refused(session: &Session, body: &str) {
    let response = session.with(session.client.post()).body(body).send(session.client.address());
    match response.status {
        202 => assert_eq!(response.text(), "", "{body}"),
        200 => {
            let messages = response.messages();
            let refused = |message: &Value| message["error"].is_object();
            assert!(!messages.is_empty() && messages.iter().all(refused), "{body}: {messages:?}");
        }
        status => assert_eq!(status, 400, "{body}: {}", response.text()),
    }
}

/// Tries everything in one session for each URL. A call of what is shown comes last: all that came
/// before it has then been heard.
fn nothing_is_heard(client: impl Fn(&str) -> mooring_tests::Client, heard: impl Fn() -> String) {
    for (path, prefix) in SCOPES {
        let path = format!("/mcp{path}");
        let session = client(&path).initialize();
        session.call(&format!("{prefix}shown"), json!({}));
        for body in smuggled(prefix) {
            is_refused(&session, &body);
        }
        let old = client(&path).revision("2025-03-26").initialize();
        old.call(&format!("{prefix}shown"), json!({}));
        for body in smuggled(prefix) {
            // As the part of a batch, with one that is fine.
            is_refused(&old, &format!("[{body}]"));
            let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
            let batch = format!("[{ping},{body}]");
            let post = old.with(old.client.post()).body(&*batch);
            let status = post.send(old.client.address()).status;
            assert!([200, 400].contains(&status), "{batch}: {status}");
        }
        for session in [session, old] {
            session.call(&format!("{prefix}shown"), json!({}));
        }
        let heard = heard();
        assert_eq!(leaks(&heard), [""; 0], "{path}");
        assert!(heard.contains(r#""shown""#));
    }
}

#[test]
fn no_spelling_of_a_message_runs_what_is_hidden() {
    let server = server();
    let gateway = Gateway::start_with(&file(server.entry(), server.entry()));
    nothing_is_heard(|path| gateway.client(path), || server.received());
}

#[test]
fn no_spelling_of_a_message_runs_what_is_hidden_at_a_node() {
    let server = server();
    let Value::Object(mut file) = file(server.entry(), server.entry()) else { unreachable!() };
    let servers = file.remove("mcpServers").unwrap();
    let settings = settings::merged(settings::coordinator(json!({})), Value::Object(file));
    let mut cluster = Cluster { coordinator: Gateway::start_with(&settings), nodes: Vec::new() };
    cluster.add("a", servers);
    cluster.wait_for_active(1);
    nothing_is_heard(|path| cluster.client(path), || server.received());
}

#[test]
fn no_spelling_of_a_message_reaches_a_server_behind_a_url() {
    let lists = |asked: &mooring_tests::scripted::Asked, out: mooring_tests::scripted::Out| {
        if asked.rpc() != "tools/list" {
            return Some(out);
        }
        let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        out.result(asked, &json!({"tools": [tool("shown"), tool("hidden")]}));
        None
    };
    let server = Scripted::start(lists);
    let gateway = Gateway::start_with(&file(server.entry(), server.entry()));
    let heard = || {
        let bodies = server.all().into_iter().map(|asked| asked.body);
        bodies.map(|body| String::from_utf8_lossy(&body).replace('\n', " ") + "\n").collect()
    };
    nothing_is_heard(|path| gateway.client(path), heard);
}

#[test]
fn no_spelling_of_a_message_runs_what_is_hidden_over_http_sse() {
    let server = server();
    let gateway = Gateway::start_with(&file(server.entry(), server.entry()));
    for (path, prefix) in SCOPES {
        let mut session = OverSse::initialize(gateway.address(), &format!("/sse{path}"));
        let call = |session: &mut OverSse| {
            session.request("tools/call", json!({"name": format!("{prefix}shown")}));
        };
        call(&mut session);
        // An answer whose id is half a surrogate pair is one that the client here cannot read.
        for body in smuggled(prefix).iter().filter(|body| !body.contains(r#""id":"\ud800""#)) {
            let response = session.post(&json!({})).body(&**body).send(gateway.address());
            assert!([202, 400].contains(&response.status), "{body}: {}", response.text());
        }
        call(&mut session);
        assert_eq!(leaks(&server.received()), [""; 0], "{path}");
    }
}

#[test]
fn only_a_clients_own_notifications_reach_the_servers_of_a_judged_url() {
    let server = server();
    let gateway = Gateway::start_with(&file(server.entry(), server.entry()));
    gateway.wait_until_discovered(&["srv", "all"]);
    let heard = |path: &str, revision: &str, tool: &str| {
        let session = gateway.client(path).revision(revision).initialize();
        session.call(tool, json!({}));
        let before = server.received().len();
        for (method, params) in [
            ("notifications/roots/list_changed", json!({})),
            ("notifications/cancelled", json!({"requestId": 99, "reason": "x"})),
            ("notifications/tasks/status", json!({"taskId": "t", "status": "working"})),
            ("notifications/elsewhere", json!({})),
            ("tools/list", json!({})),
        ] {
            session.notify(method, params).expect(202);
        }
        session.call(tool, json!({}));
        let log = server.received();
        let lines = log[before..].lines().filter_map(|line| line.split_once(' '));
        let told = lines.map(|(_, line)| serde_json::from_str::<Value>(line).unwrap());
        told.map(|told| told["method"].as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    let latest = [
        "notifications/roots/list_changed",
        "notifications/cancelled",
        "notifications/tasks/status",
        "tools/call",
    ];
    for (path, prefix) in SCOPES {
        let (path, tool) = (format!("/mcp{path}"), format!("{prefix}shown"));
        assert_eq!(heard(&path, "2025-11-25", &tool), latest, "{path}");
        let without_tasks = [latest[0], latest[1], latest[3]];
        assert_eq!(heard(&path, "2025-06-18", &tool), without_tasks, "{path}");
    }
    // Nothing is judged where nothing is hidden.
    let all = [&latest[..3], &["notifications/elsewhere", "tools/list"], &latest[3..]].concat();
    assert_eq!(heard("/mcp/all", "2025-11-25", "shown"), all);
}

#[test]
fn a_judged_url_has_the_methods_that_it_understands() {
    let server = server();
    let gateway = Gateway::start_with(&file(server.entry(), server.entry()));
    for (path, _) in SCOPES {
        let session = gateway.client(&format!("/mcp{path}")).initialize();
        for method in ["tools/Call", "server/custom", "notifications/cancelled", "rpc.discover"] {
            assert_eq!(session.answer(method, json!({}))["error"]["code"], -32601, "{method}");
        }
    }
    gateway.client("/mcp/all").initialize().request("server/custom", json!({}));
}
