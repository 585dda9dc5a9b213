//! Resources that tools link to and no list names.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use mooring_tests::odd_server::{answer, initialized};
use mooring_tests::{OddServer, Way, settings};
use serde_json::{Map, Value, json};

use super::{Place, wait_for_tools};

/// A server that has `own` once its tool was called, and lists `listed`.
fn linking(
    way: Way,
    own: &'static str,
    listed: &'static [&'static str],
) -> (OddServer, Arc<Mutex<BTreeSet<String>>>) {
    let asked = Arc::<Mutex<BTreeSet<String>>>::default();
    let seen = Arc::clone(&asked);
    let server = OddServer::good_but(way, move |message, say| {
        let uri = message["params"]["uri"].as_str().unwrap_or("");
        match message["method"].as_str() {
            Some("initialize") => {
                let all = json!({"tools": {}, "resources": {"subscribe": true}});
                say(answer(message, &initialized(message, &all)));
            }
            Some("resources/list") => {
                let all: Vec<Value> =
                    listed.iter().map(|uri| json!({"uri": uri, "name": uri})).collect();
                say(answer(message, &json!({"resources": all})));
            }
            Some("tools/call") => {
                let link = json!({"type": "resource_link", "uri": own, "name": "log"});
                say(answer(message, &json!({"content": [link]})));
            }
            Some("resources/read" | "resources/subscribe") => {
                seen.lock().unwrap().insert(uri.to_owned());
                if uri != own && !listed.contains(&uri) {
                    let error = json!({"code": -32002, "message": "Resource not found"});
                    say(json!({"jsonrpc": "2.0", "id": message["id"], "error": error}).to_string());
                } else {
                    say(answer(message, &json!({"contents": [{"uri": uri, "text": own}]})));
                }
            }
            _ => return false,
        }
        true
    });
    (server, asked)
}

#[test]
fn what_a_tool_links_to_is_found_at_the_server_that_has_it() {
    let servers = [
        ("stdio", linking(Way::Stdio, "none://job/1", &[])),
        ("http", linking(Way::Http, "file:///tmp/http.log", &["file:///srv/http"])),
        ("sse", linking(Way::Sse, "file:///tmp/sse.log", &["file:///srv/sse"])),
    ];
    let entries: Map<String, Value> =
        servers.iter().map(|(name, (server, _))| ((*name).to_owned(), server.entry())).collect();
    for place in Place::each(&entries) {
        let session = place.client("/mcp").initialize();
        wait_for_tools(&session, &["stdio-ask", "http-ask", "sse-ask"]);
        for (name, uri) in [
            ("stdio", "none://job/1"),
            ("http", "file:///tmp/http.log"),
            ("sse", "file:///tmp/sse.log"),
        ] {
            drop(session.answer("tools/call", json!({"name": format!("{name}-ask")})));
            for _ in 0..2 {
                let read = session.answer("resources/read", json!({"uri": uri}));
                assert_eq!(read["result"]["contents"][0]["text"], uri, "{read}");
            }
            let subscribed = session.answer("resources/subscribe", json!({"uri": uri}));
            assert!(subscribed["result"].is_object(), "{subscribed}");
            // Of another session, which has asked for nothing yet.
            let fresh = place.client("/mcp").initialize();
            let subscribed = fresh.answer("resources/subscribe", json!({"uri": uri}));
            assert!(subscribed["result"].is_object(), "{subscribed}");
        }
        let nobodys = session.answer("resources/read", json!({"uri": "nobody://1"}));
        assert_eq!(nobodys["error"]["code"], -32002, "{nobodys}");
    }
}

/// Where anything of a server is hidden, it is not asked for what is not listed.
#[test]
fn a_server_of_which_something_is_hidden_is_not_asked() {
    let (open, asked_open) = linking(Way::Stdio, "job://open", &["job://1"]);
    let (hiding, asked_hiding) = linking(Way::Stdio, "job://hiding", &["job://2", "job://secret"]);
    let mut entry = hiding.entry();
    entry["resources"] = json!({"job://secret": {"enabled": false}});
    let mut all = settings::standalone(json!({"open": open.entry(), "hiding": entry}));
    all["groups"] = json!([{"name": "some", "servers": ["open", "hiding"]}]);
    let gateway = mooring_tests::Gateway::start_with(&all);
    for path in ["/mcp", "/mcp/some"] {
        let session = gateway.client(path).initialize();
        wait_for_tools(&session, &["open-ask", "hiding-ask"]);
        drop(session.answer("tools/call", json!({"name": "hiding-ask"})));
        let read = session.answer("resources/read", json!({"uri": "job://open"}));
        assert_eq!(read["result"]["contents"][0]["text"], "job://open", "{read}");
        for uri in ["job://hiding", "job://secret", "JOB://secret", "job://other"] {
            for method in ["resources/read", "resources/subscribe"] {
                let refused = session.answer(method, json!({"uri": uri}));
                assert!(refused["error"].is_object(), "{uri} {refused}");
            }
        }
    }
    let asked = asked_hiding.lock().unwrap();
    assert!(asked.is_empty(), "{asked:?}");
    assert!(asked_open.lock().unwrap().contains("job://open"));
}
