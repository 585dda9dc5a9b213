//! What is hidden is not to be had by any spelling of its name, any method, any transport and any
//! scope; and what is shown is.

use mooring_tests::{Canned, Client, Cluster, Gateway, OverSse, Session, settings};
use serde_json::{Value, json};

/// The methods by which a client names an entry.
const NAMING: [&str; 6] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
];

pub const SCOPES: [(&str, &str); 4] =
    [("/mcp", "srv-"), ("/mcp/desk", "srv-"), ("/mcp/srv", ""), ("/mcp/named", "srv-")];

pub fn server() -> Canned {
    let named = |names: &[&str]| -> Value {
        names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect()
    };
    let server = Canned::new()
        .with_capabilities(json!({
            "tools": {}, "prompts": {}, "completions": {}, "resources": {"subscribe": true},
        }))
        .answers("tools/list", json!({"tools": named(&["open", "secret"])}))
        .answers("prompts/list", json!({"prompts": named(&["ask", "secret"])}))
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": "test://dir/open", "name": "open"},
                {"uri": "test://dir/secret", "name": "secret"},
                {"uri": "Test://Odd/./listed ", "name": "odd"},
            ]}),
        )
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": [
                {"uriTemplate": "tpl://shown/{x}", "name": "shown"},
                {"uriTemplate": "tpl://hidden/{x}", "name": "hidden"},
                {"uriTemplate": "file:///{+path}", "name": "files"},
            ]}),
        );
    NAMING.into_iter().fold(server, |server, method| server.answers(method, json!({})))
}

/// The server's entry in a file that hides everything that a client must not have.
fn entries(server: &Canned) -> Value {
    let hidden = json!({"enabled": false});
    let selection = json!({
        "tools": {"secret": hidden},
        "prompts": {"secret": hidden},
        "resources": {
            "test://dir/secret": hidden,
            "tpl://hidden/{x}": hidden,
            "tpl://shown/secret": hidden,
            "file:///etc/secret": hidden,
        },
    });
    json!({"srv": settings::merged(server.entry(), selection)})
}

/// One group has all of the server, and one names what it has.
fn groups() -> Value {
    let named = json!({
        "name": "srv",
        "tools": ["open"],
        "prompts": ["ask"],
        "resources": ["test://dir/open", "Test://Odd/./listed ", "tpl://shown/{x}", "file:///{+path}"],
    });
    json!([{"name": "desk", "servers": ["srv"]}, {"name": "named", "servers": [named]}])
}

/// Runs `test` with one gateway, and with a coordinator of which one of two nodes hides anything.
pub fn each(server: &Canned, test: impl Fn(&Gateway)) {
    let groups = json!({"groups": groups()});
    let alone = settings::merged(settings::standalone(entries(server)), groups.clone());
    eprintln!("standalone");
    test(&Gateway::start_with(&alone));
    eprintln!("cluster");
    let coordinator = settings::merged(settings::coordinator(json!({})), groups);
    let coordinator = Gateway::start_with(&coordinator);
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    cluster.add("a", entries(server));
    cluster.add("b", json!({"srv": server.entry()}));
    cluster.wait_for_active(2);
    test(&cluster.coordinator);
}

fn shown() -> Vec<&'static str> {
    vec![
        "test://dir/open",
        "Test://Odd/./listed ",
        "tpl://shown/1",
        "tpl://shown/a%20b",
        "tpl://shown/a%2Fb",
        "file:///etc/hosts",
        "file:///etc/%C3%A4",
    ]
}

fn refused() -> Vec<String> {
    let other_spellings = [
        " test://dir/secret",
        "test://dir/secret ",
        "test://dir/secret\t",
        "test://dir/se\tcret",
        "test://dir/se\r\ncret",
        "\u{1f}test://dir/secret",
        "TEST://dir/secret",
        "test://DIR/secret",
        "test://dir/%73ecret",
        "test://dir/./secret",
        "test://dir/x/../secret",
        "test://dir/%2e/secret",
        "test://dir/.%2E/dir/secret",
        "test://dir//secret",
        "test://dir/secret/",
        "test://dir/secret#x",
        "test://dir/secret?x",
        "test://dir:/secret",
        "test://@dir/secret",
        "test:/dir/secret",
        "test://dir\\secret",
        "test://dir/open/",
        "test://dir/open#x",
        "TEST://dir/open",
        "test://odd/listed",
        "test://dir/other",
        "tpl://shown/../hidden/1",
        "tpl://shown/%2e%2e/hidden/1",
        "tpl://shown/..%2Fhidden%2F1",
        "tpl://shown/..%5Chidden%5C1",
        "tpl://shown/%252e%252e%252Fhidden%252F1",
        "tpl://shown/..;/hidden/1",
        "tpl://shown/a/b",
        "tpl://shown/",
        "tpl://shown/1/",
        "tpl://shown/1?x",
        "tpl://shown/1#x",
        "tpl://shown/SECRET",
        "tpl://shown/secret%20",
        "tpl://shown/%EF%BD%93ecret",
        "tpl://shown/a%00",
        "tpl://shown/{y}",
        "file:///etc/x/../secret",
        "file:///etc//secret",
        "file:///etc/secret/",
        "file:///etc/secret?x",
        "file:///etc/secret%23x",
        "file:///ETC/secret",
        "file:///etc%2Fsecret",
        "file:/etc/secret",
        "file:etc/secret",
        "file://localhost/etc/secret",
        "file:\\\\\\etc\\secret",
        "file:///etc\\secret",
    ];
    let hidden =
        ["test://dir/secret", "tpl://hidden/1", "tpl://shown/secret", "file:///etc/secret"];
    hidden.into_iter().chain(other_spellings).map(str::to_owned).collect()
}

/// Requests that name an entry, with these URIs.
fn requests(uris: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<(&'static str, Value)> {
    let mut requests = Vec::new();
    for uri in uris {
        let uri = uri.as_ref();
        for method in NAMING.into_iter().filter(|method| method.starts_with("resources/")) {
            requests.push((method, json!({"uri": uri})));
        }
        let reference = json!({"type": "ref/resource", "uri": uri});
        requests.push(("completion/complete", completing(reference)));
    }
    requests
}

fn completing(reference: Value) -> Value {
    json!({"ref": reference, "argument": {"name": "x", "value": ""}})
}

/// Requests that must not reach a server, beside those for resources.
fn other_refused(prefix: &str) -> Vec<(&'static str, Value)> {
    let mut requests = Vec::new();
    let names =
        ["secret", "Secret", "secret ", " secret", "se\u{301}cret", "srv-secret", "srv~secret", ""];
    for name in names {
        for name in [name.to_owned(), format!("{prefix}{name}")] {
            requests.push(("tools/call", json!({"name": name, "arguments": {}})));
            requests.push(("prompts/get", json!({"name": name})));
            let reference = json!({"type": "ref/prompt", "name": name});
            requests.push(("completion/complete", completing(reference)));
        }
    }
    requests
}

/// References that mean nothing, two things, or what is hidden.
fn refused_references(prefix: &str) -> Vec<Value> {
    let ask = format!("{prefix}ask");
    vec![
        json!({"type": "ref/resource", "uri": "tpl://hidden/{x}"}),
        json!({"type": "ref/resource", "uri": "tpl://hidden/{y}"}),
        json!({"type": "ref/resource", "uri": "tpl://unlisted/{x}"}),
        json!({"type": "ref/resource", "name": ask}),
        json!({"type": "ref/resource", "uri": "tpl://shown/{x}", "name": ask}),
        json!({"type": "ref/prompt", "name": ask, "uri": "tpl://shown/{x}"}),
        json!({"type": "ref/prompt", "uri": "tpl://shown/{x}"}),
        json!({"type": "ref/tool", "name": ask}),
        json!({"type": "REF/PROMPT", "name": ask}),
        json!({"type": null, "name": ask}),
        json!({"name": ask}),
        json!({"uri": "tpl://shown/{x}"}),
        json!({}),
        json!("ref/prompt"),
    ]
}

/// What the server was asked for and should not have been.
fn leaked(server: &Canned) -> Vec<Value> {
    let own = ["open", "ask", "tpl://shown/{x}"];
    let is_shown = |named: &Value| {
        named.as_str().is_some_and(|name| own.contains(&name) || shown().contains(&name))
    };
    let told = server.told().into_iter().map(|(_, told)| told);
    let naming = told.filter(|told| NAMING.iter().any(|method| told["method"] == *method));
    naming
        .filter(|told| {
            let params = &told["params"];
            let reference = &params["ref"];
            let named = [&params["name"], &params["uri"], &reference["name"], &reference["uri"]];
            !named.into_iter().filter(|named| !named.is_null()).all(is_shown)
        })
        .collect()
}

fn is_error(answer: &Value) -> bool {
    answer.get("error").is_some_and(|error| error["code"] == -32602 || error["code"] == -32002)
}

#[test]
fn no_spelling_and_no_method_reaches_what_is_hidden() {
    let server = server();
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).initialize();
            for (method, params) in requests(refused()).into_iter().chain(other_refused(prefix)) {
                let answer = session.answer(method, params.clone());
                assert!(is_error(&answer), "{path} {method} {params}: {answer}");
            }
        }
        assert_eq!(leaked(&server), Vec::<Value>::new());
    });
}

#[test]
fn what_is_shown_is_asked_for_as_the_client_spells_it() {
    let server = server();
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).initialize();
            let name = |name: &str| format!("{prefix}{name}");
            session.request("tools/call", json!({"name": name("open"), "arguments": {}}));
            session.request("prompts/get", json!({"name": name("ask")}));
            let reference = json!({"type": "ref/prompt", "name": name("ask")});
            session.request("completion/complete", completing(reference));
            let reference = json!({"type": "ref/resource", "uri": "tpl://shown/{x}"});
            session.request("completion/complete", completing(reference));
            for (method, params) in requests(shown()) {
                session.request(method, params.clone());
                server.wait_for("the request", |_, told| {
                    told["method"] == method && told["params"] == params
                });
            }
        }
    });
}

#[test]
fn a_completion_is_judged_by_its_type() {
    let server = server();
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = gateway.client(path).initialize();
            for reference in refused_references(prefix) {
                let answer = session.answer("completion/complete", completing(reference.clone()));
                assert!(is_error(&answer), "{path} {reference}: {answer}");
            }
        }
        assert_eq!(leaked(&server), Vec::<Value>::new());
    });
}

#[test]
fn what_was_hidden_meanwhile_is_not_subscribed_to_again() {
    let server = server();
    let mut cluster = Cluster {
        coordinator: Gateway::start_with(&settings::coordinator(json!({}))),
        nodes: Vec::new(),
    };
    cluster.add("a", json!({"srv": server.entry()}));
    cluster.wait_for_active(1);
    let sessions = ["/mcp", "/mcp/srv"].map(|path| cluster.client(path).initialize());
    for session in &sessions {
        for uri in ["test://dir/secret", "test://dir/open"] {
            session.request("resources/subscribe", json!({"uri": uri}));
        }
    }
    let before = server.told().len();
    assert!(cluster.nodes.pop().expect("a node").terminate().success());
    cluster.add("b", entries(&server));
    cluster.wait_for_active(1);
    for session in &sessions {
        session.request("resources/read", json!({"uri": "test://dir/open"}));
    }
    let told = server.told().into_iter().skip(before).map(|(_, told)| told);
    let subscribed = told.filter(|told| told["method"] == "resources/subscribe");
    let subscribed: Vec<Value> = subscribed.map(|told| told["params"]["uri"].clone()).collect();
    assert_eq!(subscribed, ["test://dir/open"; 2]);
}

#[test]
fn a_batch_reaches_no_more_than_its_messages() {
    let server = server();
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let session = old(gateway.client(path));
            let asked: Vec<_> =
                requests(refused()).into_iter().chain(other_refused(prefix)).collect();
            for some in asked.chunks(20) {
                let batch: Value =
                    some.iter().map(|(m, p)| session.message(m, p.clone()).0).collect();
                let response = session.post(&batch).send(session.client.address()).expect(200);
                let answers = response.messages();
                assert_eq!(answers.len(), some.len());
                assert!(answers.iter().all(is_error), "{path}: {answers:?}");
            }
        }
        assert_eq!(leaked(&server), Vec::<Value>::new());
    });
}

fn old(client: Client) -> Session {
    client.revision("2025-03-26").initialize()
}

#[test]
fn an_sse_session_reaches_no_more_either() {
    let server = server();
    each(&server, |gateway| {
        for (path, prefix) in SCOPES {
            let path = path.replace("/mcp", "/sse");
            let mut session = OverSse::initialize(gateway.address(), &path);
            for (method, params) in requests(refused()).into_iter().chain(other_refused(prefix)) {
                let answer = session.answer(method, params.clone());
                assert!(is_error(&answer), "{path} {method} {params}: {answer}");
            }
            session.request("resources/read", json!({"uri": "tpl://shown/1"}));
        }
        assert_eq!(leaked(&server), Vec::<Value>::new());
    });
}

#[test]
fn escapes_in_json_make_no_other_name() {
    let server = server();
    each(&server, |gateway| {
        let session = gateway.client("/mcp/srv").initialize();
        for (method, params) in [
            ("tools/call", r#"{"n\u0061me":"\u0073ecret","arguments":{}}"#),
            ("prompts/get", r#"{"name":"secre\u0074"}"#),
            ("resources/read", r#"{"uri":"test:\/\/dir\/\u0073ecret"}"#),
            ("resources/read", r#"{"\u0075ri":"test://dir/secret\u0009"}"#),
        ] {
            let message =
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
            let request = session.with(session.client.post()).body(message.as_bytes());
            let answers = request.send(session.client.address()).expect(200).messages();
            assert!(is_error(&answers[0]), "{params}: {answers:?}");
        }
        assert_eq!(leaked(&server), Vec::<Value>::new());
    });
}

#[test]
fn a_cursor_leads_to_no_list_of_another_scope() {
    let server = server();
    let gateway = Gateway::start_with(&json!({
        "mcpServers": {"srv": server.entry()},
        "groups": groups(),
        "systemConfig": {"limits": {"pageSize": 1}},
    }));
    let all = gateway.client("/mcp/desk").initialize();
    let cursor = all.request("resources/list", json!({}))["nextCursor"].clone();
    let page = all.request("resources/list", json!({"cursor": cursor}));
    assert_eq!(page["resources"][0]["uri"], "test://dir/secret");
    for path in ["/mcp/named", "/mcp"] {
        let session = gateway.client(path).initialize();
        let answer = session.answer("resources/list", json!({"cursor": cursor}));
        assert!(is_error(&answer), "{path}: {answer}");
    }
}
