//! What a server offers is read member by member and list by list.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mooring_tests::odd_server::{CLOSE, answer, as_usual, initialized};
use mooring_tests::{Cluster, Gateway, OddServer, Way, eventually, servers, settings};
use serde_json::{Map, Value, json};

use super::{Place, wait_for_tools};

/// One server for each transport, by the transport's name.
fn on_all(
    play: impl Fn(&Value, &mut dyn FnMut(String)) -> bool + Copy + Send + Sync + 'static,
) -> (Vec<OddServer>, Map<String, Value>) {
    let servers = Way::ALL.map(|way| (way, OddServer::good_but(way, play)));
    let entries = servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry()));
    let entries = entries.collect();
    (servers.into_iter().map(|(_, server)| server).collect(), entries)
}

fn assert_flaw(place: &Place, server: &str, part: &str) {
    let health = place.health(server);
    let flaws = health["flaws"].as_array().cloned().unwrap_or_default();
    assert!(flaws.iter().any(|flaw| flaw.as_str().unwrap_or("").contains(part)), "{health}");
    let log = place.runner().log();
    let named = format!("server={server}");
    let mut lines = log.lines().filter(|line| line.contains("WARN") && line.contains(&named));
    assert!(lines.any(|line| line.contains(part)), "{server}: {part}");
}

/// All lists are offered; the others than tools are as a test has them.
fn offers_all(message: &Value, say: &mut dyn FnMut(String)) -> bool {
    if message["method"] != "initialize" {
        return false;
    }
    let all = json!({"tools": {}, "prompts": {}, "resources": {}});
    say(answer(message, &initialized(message, &all)));
    true
}

#[test]
fn a_list_without_an_answer_costs_itself_alone() {
    let (_servers, entries) = on_all(|message, say| {
        if message["method"] == "resources/list" {
            let resource = json!({"uri": "test://a", "name": "a"});
            say(answer(message, &json!({"resources": [resource]})));
            return true;
        }
        // Never answered.
        message["method"] == "prompts/list" || offers_all(message, say)
    });
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        let began = Instant::now();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
        assert!(began.elapsed() < Duration::from_secs(15));
        for way in Way::ALL {
            let params = json!({"name": format!("{}-ask", way.name())});
            assert!(session.answer("tools/call", params)["result"].is_object());
        }
        // The second and third have it under names of their own.
        assert_eq!(session.list("resources", "name"), ["a", "a", "a"]);
    }
}

#[test]
fn a_list_that_is_refused_or_senseless_costs_itself_alone_and_is_told() {
    let (_servers, entries) = on_all(|message, say| {
        match message["method"].as_str() {
            Some("prompts/list") => {
                let error = json!({"code": -32603, "message": "half of it\nis broken"});
                let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                say(error.to_string());
            }
            Some("resources/list") => say(answer(message, &json!({"resources": "none"}))),
            Some("resources/templates/list") => say(answer(message, &json!(null))),
            _ => return offers_all(message, say),
        }
        true
    });
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
        for way in Way::ALL {
            assert_flaw(&place, way.name(), "prompts/list was refused");
            assert_flaw(&place, way.name(), "resources/list: \"resources\" in its result");
        }
    }
}

#[test]
fn tools_of_a_server_that_announces_nothing_are_listed_and_a_refusal_is_no_flaw() {
    for capabilities in ["{}", "[]", r#"{"tools":null}"#] {
        let (servers, mut entries) = on_all(move |message, say| {
            if message["method"] != "initialize" {
                return false;
            }
            let id = &message["id"];
            say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"serverInfo":{{"name":"x","version":"1"}}}}}}"#
            ));
            true
        });
        let (refusing, its) = on_all(move |message, say| {
            let id = &message["id"];
            match message["method"].as_str() {
                Some("initialize") => say(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-06-18","capabilities":{capabilities},"serverInfo":{{"name":"x","version":"1"}}}}}}"#
                )),
                Some("tools/list") => say(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32600,"message":"no tools here"}}}}"#
                )),
                _ => return false,
            }
            true
        });
        entries.extend(its.into_iter().map(|(name, entry)| (format!("no-{name}"), entry)));
        for place in Place::each(&entries) {
            let session = place.client("/mcp").initialize();
            wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
            for way in Way::ALL {
                let health = place.health(&format!("no-{}", way.name()));
                let has_flaws = health["flaws"].as_array().is_some_and(|flaws| !flaws.is_empty());
                assert!(!has_flaws, "{capabilities} {way:?}: {health}");
            }
        }
        drop((servers, refusing));
    }
}

#[test]
fn entries_and_members_that_cannot_be_read_cost_themselves_alone() {
    let (_servers, entries) = on_all(|message, say| {
        match message["method"].as_str() {
            Some("initialize") => {
                let id = &message["id"];
                say(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":["odd"],"serverInfo":null,"instructions":"cut \ud83d","\ud83d":1}}}}"#
                ));
            }
            Some("tools/list") => {
                let id = &message["id"];
                say(format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[null,{{"name":7}},{{"name":"ask","description":null}},{{"name":"ask"}}],"nextCursor":null}}}}"#
                ));
            }
            _ => return false,
        }
        true
    });
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
        let called = session.answer("tools/call", json!({"name": "http-ask"}));
        assert!(called["result"].is_object(), "{called}");
        for way in Way::ALL {
            assert_flaw(&place, way.name(), "capabilities");
            assert_flaw(&place, way.name(), "an entry without a \"name\"");
            assert_flaw(&place, way.name(), "an entry comes twice");
        }
    }
}

#[test]
fn a_cursor_that_leads_nowhere_ends_the_list() {
    let (_servers, entries) = on_all(|message, say| {
        if message["method"] != "tools/list" {
            return false;
        }
        let cursor = message["params"]["cursor"].as_str();
        let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
        // A second page behind an empty cursor, and then new cursors without end.
        let (name, next) = match cursor {
            None => ("one", String::new()),
            Some("") => ("ask", "0".to_owned()),
            Some(number) => ("ask", format!("{number}0")),
        };
        say(answer(message, &json!({"tools": [tool(name)], "nextCursor": next})));
        true
    });
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        let all: Vec<String> = Way::ALL
            .iter()
            .flat_map(|w| ["one", "ask"].map(|t| format!("{}-{t}", w.name())))
            .collect();
        wait_for_tools(&session, &all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_flaw(&place, "stdio", "nextCursor leads to nothing new");
    }
}

#[test]
fn a_server_that_asks_before_it_answers_is_answered() {
    let (_servers, entries) = on_all(|message, say| {
        // Over HTTP the answer to a question comes in a request of its own.
        if message["method"] == "initialize" {
            for method in ["ping", "roots/list"] {
                say(json!({"jsonrpc": "2.0", "id": method, "method": method}).to_string());
            }
        }
        false
    });
    for place in Place::each(&entries) {
        wait_for_tools(&place.client("/mcp").initialize(), &["stdio-ask", "http-ask", "sse-ask"]);
    }
}

/// What a session of a server that waits for an answer has been told meanwhile.
#[derive(Default)]
struct Waiting {
    has_answer: bool,
    later: Vec<Value>,
}

#[test]
fn a_server_that_waits_for_answers_is_not_left_waiting() {
    let servers = [Way::Stdio, Way::Sse].map(|way| {
        let sessions = Mutex::<HashMap<usize, Waiting>>::default();
        let server = OddServer::start(way, move |session, message, say| {
            let mut sessions = sessions.lock().unwrap();
            let waiting = sessions.entry(session).or_default();
            if message["method"] == "notifications/initialized" {
                say(json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}).to_string());
            } else if message["method"].is_null() {
                waiting.has_answer = true;
                waiting.later.drain(..).for_each(|later| as_usual(&later, say));
            } else if message["method"] == "initialize" || waiting.has_answer {
                as_usual(message, say);
            } else {
                waiting.later.push(message.clone());
            }
        });
        (way, server)
    });
    let entries: Map<String, Value> =
        servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        wait_for_tools(&place.client("/mcp").initialize(), &["stdio-ask", "sse-ask"]);
    }
}

#[test]
fn a_server_that_ends_at_one_list_is_asked_for_the_others() {
    let server = OddServer::good_but(Way::Stdio, |message, say| {
        if message["method"] == "prompts/list" {
            say(CLOSE.to_owned());
            return true;
        }
        offers_all(message, say)
    });
    for place in Place::each(&Map::from_iter([("s".to_owned(), server.entry())])) {
        wait_for_tools(&place.client("/mcp").initialize(), &["s-ask"]);
        assert_flaw(&place, "s", "prompts/list was not answered");
    }
}

#[test]
fn flaws_are_shown_by_the_command_line() {
    let server = OddServer::good_but(Way::Http, |message, say| {
        let is_list = message["method"] == "tools/list";
        if is_list {
            let ask = json!({"name": "ask", "inputSchema": {"type": "object"}});
            say(answer(message, &json!({"tools": [ask, {"title": "no name"}]})));
        }
        is_list
    });
    let place = Place::standalone(&json!({"odd": server.entry()}));
    wait_for_tools(&place.client("/mcp").initialize(), &["odd-ask"]);
    let health = place.edge().get("/health").json();
    assert_eq!(health["servers"][0]["flaws"].as_array().map(Vec::len), Some(1), "{health}");
    let url = place.edge().url();
    let shown = std::process::Command::new(mooring_tests::binaries::program("mooring"))
        .args(["ps", "--url", &url])
        .output()
        .expect("mooring ps");
    let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(shown.contains("odd on") && shown.contains("an entry without a \"name\""), "{shown}");
}

#[test]
fn a_coordinator_tells_the_flaws_of_servers_that_live_on_nodes() {
    let server = OddServer::good_but(Way::Http, |message, say| {
        let is_list = message["method"] == "tools/list";
        if is_list {
            let ask = json!({"name": "ask", "inputSchema": {"type": "object"}});
            say(answer(message, &json!({"tools": [ask, {"title": "no name"}]})));
        }
        is_list
    });
    let coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        cluster.add(id, json!({"odd": server.entry(), "counter": servers::counter()}));
    }
    let health = || cluster.coordinator.get("/health").json();
    let flaws = |server: &str| {
        let health = health();
        let mut all = health["servers"].as_array().unwrap().iter();
        all.find(|it| it["name"] == server).map_or(Value::Null, |it| it["flaws"].clone())
    };
    eventually("a node has told the flaw", || {
        flaws("odd")[0].as_str()?.contains("without a \"name\"").then_some(())
    });
    cluster.wait_for_active(2);
    eventually("both have told it, and it is listed once", || {
        let pages = cluster.coordinator.data("/api/cluster/instances");
        let told = pages["servers"].as_array().unwrap().iter();
        let told = told.filter(|it| it["flaws"].as_array().is_some_and(|all| !all.is_empty()));
        (told.count() == 2).then_some(())
    });
    assert_eq!(flaws("odd").as_array().map(Vec::len), Some(1), "{}", health());
    assert_eq!(flaws("counter"), json!([]));
    assert_eq!(health()["status"], "ok", "a flaw takes no server away: {}", health());
    for node in &cluster.nodes {
        node.signal(rustix::process::Signal::TERM);
    }
    eventually("what nobody runs has no flaws", || (flaws("odd") == json!([])).then_some(()));
}

/// A client reads a list as a whole: what it cannot read of one server takes the others' with it.
#[test]
fn an_entry_that_some_clients_cannot_read_or_read_otherwise_costs_itself_alone() {
    let (_servers, entries) = on_all(|message, say| {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let (id, sound, deep) = (&message["id"], deep(90), deep(3000));
        match message["method"].as_str() {
            Some("initialize") => {
                let capabilities = json!({"tools": {}, "prompts": {}, "resources": {}});
                say(answer(message, &initialized(message, &capabilities)));
            }
            Some("tools/list") => say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"ask","x":{sound}}},{{"name":"deep","inputSchema":{{"type":"object","x":{deep}}}}},{{"name":"first","name":"last","description":"d"}},{{"Name":"other","name":"own"}}]}}}}"#
            )),
            Some("prompts/list") => say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"prompts":[{{"name":"p"}},{{"name":"deep","_meta":{deep}}}]}}}}"#
            )),
            Some("resources/list") => say(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resources":[{{"uri":"a:{id}","uri":"a:b","name":"r"}}]}}}}"#
            )),
            _ => return false,
        }
        true
    });
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
        let (message, _) = session.message("tools/list", json!({}));
        let listed = session.post(&message).send(session.client.address()).text();
        for hidden in ["first", "last", "other", "own", &"[".repeat(101)] {
            assert!(!listed.contains(hidden), "{hidden} in {listed}");
        }
        assert_eq!(session.list("prompts", "name").len(), 3);
        for name in ["stdio-ask", "http-ask", "sse-ask"] {
            assert!(session.answer("tools/call", json!({"name": name}))["result"].is_object());
        }
        for way in Way::ALL {
            assert_flaw(&place, way.name(), "nested deeper than 100 levels");
            assert_flaw(&place, way.name(), "some readers read another");
        }
    }
}

/// What clients send has no such bound: it is the server's to say what it cannot read.
#[test]
fn arguments_of_any_depth_pass() {
    let (_servers, entries) = on_all(|_, _| false);
    for place in Place::each(&entries) {
        for way in Way::ALL {
            let name = way.name();
            for (path, tool) in
                [("/mcp", format!("{name}-ask")), (&format!("/mcp/{name}"), "ask".into())]
            {
                let session = place.client(path).initialize();
                eventually("the tool is there", || session.tools().contains(&tool).then_some(()));
                let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"x":{deep}}}}}}}"#
                );
                let request = session.with(session.client.post()).body(body.as_bytes());
                let answers = request.send(session.client.address()).expect(200).messages();
                assert!(answers[0]["result"].is_object(), "{path} {answers:?}");
            }
        }
    }
}

/// The schemas of SDKs refuse a whole list for a null in one entry.
#[test]
fn what_strict_clients_refuse_of_an_entry_is_put_right() {
    let (_servers, entries) = on_all(|message, say| {
        let result = match message["method"].as_str() {
            Some("initialize") => {
                initialized(message, &json!({"tools": {}, "prompts": {}, "resources": {}}))
            }
            Some("tools/list") => json!({"tools": [
                {"name": "bare"},
                {"name": "nulls", "title": null, "description": null, "annotations": null,
                    "inputSchema": null, "outputSchema": null},
                {"name": "schema", "inputSchema": {"type": "object", "properties": null, "required": null}},
                {"name": "sound", "inputSchema": {"type": "object"}, "x": null},
            ]}),
            Some("prompts/list") => json!({"prompts": [
                {"name": "p", "description": null, "arguments": null},
                {"name": "q", "arguments": [{"name": "a", "required": null}, null]},
            ]}),
            Some("resources/list") => json!({"resources": [{"uri": "a:b", "mimeType": null}]}),
            Some("resources/templates/list") => json!({"resourceTemplates": null}),
            _ => return false,
        };
        say(answer(message, &result));
        true
    });
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        eventually("all are listed", || (session.tools().len() == 12).then_some(()));
        let list = |method: &str, member: &str| {
            session.request(method, json!({}))[member].as_array().unwrap().clone()
        };
        for tool in list("tools/list", "tools") {
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
            let schema = tool["inputSchema"].as_object().unwrap();
            let members = tool.as_object().unwrap().iter().filter(|(name, _)| *name != "x");
            assert!(members.chain(schema).all(|(_, value)| !value.is_null()), "{tool}");
        }
        for prompt in list("prompts/list", "prompts") {
            assert!(!prompt.to_string().contains("null"), "{prompt}");
        }
        for resource in list("resources/list", "resources") {
            assert!(resource["name"].is_string() && resource.get("mimeType").is_none());
        }
        for way in Way::ALL {
            assert_flaw(&place, way.name(), "has no \"inputSchema\"");
            assert_flaw(&place, way.name(), "a \"description\" of a wrong type");
        }
        // Alone it is passed on as it is.
        let alone = place.client("/mcp/stdio").initialize();
        assert!(alone.request("tools/list", json!({}))["tools"][0].get("inputSchema").is_none());
    }
}

/// Some servers take `notifications/initialized` up beside the request that follows it.
#[test]
fn a_server_that_is_not_ready_at_once_is_asked_again_in_the_same_session() {
    let servers = Way::ALL.map(|way| {
        let seen = Mutex::new(HashMap::<usize, usize>::new());
        let server = OddServer::start(way, move |session, message, say| {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(session).or_default();
            if message["method"] != "tools/list" || *count > 0 {
                return as_usual(message, say);
            }
            *count += 1;
            let text = "Received request before initialization was complete";
            let error = json!({"code": -32602, "message": text});
            say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
        });
        (way, server)
    });
    let entries = servers.iter().map(|(way, server)| (way.name().to_owned(), server.entry()));
    for place in Place::each(&entries.collect()) {
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
    }
}
