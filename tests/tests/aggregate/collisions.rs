//! Two servers with the same resource URIs: both are listed, and each is read from its own server.

use mooring_tests::{Canned, Front, Session};
use serde_json::{Value, json};

use mooring_tests::orders::{announce, late, notification, tools};

const URI: &str = "res://same";

fn server(name: &str) -> Canned {
    Canned::new()
        .with_capabilities(json!({
            "tools": {}, "resources": {"subscribe": true}, "completions": {},
        }))
        .answers("tools/list", tools())
        .answers(
            "resources/list",
            json!({"resources": [
                {"uri": URI, "name": "same"},
                {"uri": format!("res://only-{name}"), "name": "own"},
            ]}),
        )
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": [
                {"uriTemplate": "res://t/{x}", "name": "t"},
            ]}),
        )
        .answers("resources/read", json!({"contents": [{"uri": URI, "text": name}]}))
        .answers("resources/subscribe", json!({}))
        .answers("completion/complete", json!({"completion": {"values": [name]}}))
}

fn two() -> ([Canned; 2], Value) {
    let servers = [server("one"), server("two")];
    let entries = json!({"one": servers[0].entry(), "two": servers[1].entry()});
    (servers, entries)
}

/// A session that lists both servers.
fn session(front: &Front) -> Session {
    let session = front.client("/mcp").initialize();
    mooring_tests::eventually("both are listed", || {
        (session.list("resources", "uri").len() == 4).then_some(())
    });
    session
}

/// The parameters of the last message of a method.
fn last(server: &Canned, method: &str) -> Value {
    let told = server.told().into_iter().rev().find(|(_, told)| told["method"] == method);
    told.expect(method).1["params"].clone()
}

#[test]
fn both_are_listed_and_read_under_the_name_they_are_asked_by() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = session(front);
        let uris = session.list("resources", "uri");
        assert_eq!(uris, [URI, "res://only-one", "two+res://same", "res://only-two"]);
        let templates = session.request("resources/templates/list", json!({}));
        let templates: Vec<&Value> = templates["resourceTemplates"]
            .as_array()
            .unwrap()
            .iter()
            .map(|template| &template["uriTemplate"])
            .collect();
        assert_eq!(templates, ["res://t/{x}", "two+res://t/{x}"]);
        for (number, shown, name) in [(0, URI, "one"), (1, "two+res://same", "two")] {
            let read = session.request("resources/read", json!({"uri": shown}));
            assert_eq!(read["contents"], json!([{"uri": shown, "text": name}]));
            assert_eq!(last(&servers[number], "resources/read")["uri"], URI);
        }
        // By a template, and a URI that no list contains.
        for (number, shown, own) in [
            (0, "res://t/5", "res://t/5"),
            (1, "two+res://t/5", "res://t/5"),
            (1, "res://only-two", "res://only-two"),
        ] {
            servers[number].answer(
                "resources/read",
                &json!({"contents": [{"uri": own, "text": "x"}, {"uri": "res://part", "text": "y"}]}),
            );
            let read = session.request("resources/read", json!({"uri": shown}));
            assert_eq!(read["contents"][0]["uri"], shown);
            assert_eq!(read["contents"][1]["uri"], "res://part");
            assert_eq!(last(&servers[number], "resources/read")["uri"], own);
        }
        for (server, name) in servers.iter().zip(["one", "two"]) {
            server.answer("resources/read", &json!({"contents": [{"uri": URI, "text": name}]}));
        }
    });
}

#[test]
fn updates_come_under_the_name_that_was_subscribed_to() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = session(front);
        for (number, shown, name) in [(1, "two+res://same", "two"), (0, URI, "one")] {
            announce(&session, &format!("{name}-announce"), &[]);
            session.request("resources/subscribe", json!({"uri": shown}));
            assert_eq!(last(&servers[number], "resources/subscribe")["uri"], URI);
            let mut stream = session.listen();
            let updated = notification("notifications/resources/updated", json!({"uri": URI}));
            late(&session, &format!("{name}-emit"), &[updated]);
            let came = stream.message(|m| m["method"] == "notifications/resources/updated");
            assert_eq!(came["params"]["uri"], shown);
            drop(stream);
            mooring_tests::eventually("the stream is free again", || {
                (session.listen().status == 200).then_some(())
            });
        }
    });
}

#[test]
fn completions_go_by_the_template() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = session(front);
        for (number, shown, name) in [(0, "res://t/{x}", "one"), (1, "two+res://t/{x}", "two")] {
            let params = json!({
                "ref": {"type": "ref/resource", "uri": shown},
                "argument": {"name": "x", "value": "a"},
            });
            let result = session.request("completion/complete", params);
            assert_eq!(result["completion"]["values"], json!([name]));
            let told = last(&servers[number], "completion/complete");
            assert_eq!(told["ref"]["uri"], "res://t/{x}");
            assert_eq!(told["argument"], json!({"name": "x", "value": "a"}));
        }
    });
}

/// Resource links and embedded resources in tool results are rewritten too.
#[test]
fn links_in_results_are_the_names_that_can_be_read() {
    let (_servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = session(front);
        for (tool, shown) in [("one-emit", URI), ("two-emit", "two+res://same")] {
            let answer = |id: &Value| {
                json!({"jsonrpc": "2.0", "id": id, "result": {"content": [
                    {"type": "resource_link", "uri": URI, "name": "n"},
                    {"type": "resource", "resource": {"uri": URI, "text": URI}},
                    {"type": "text", "text": URI},
                ]}})
            };
            let (stream, _) = mooring_tests::orders::emit_answer(&session, tool, &[], &answer);
            let messages = stream.whole().expect(200).messages();
            let content = &messages.last().unwrap()["result"]["content"];
            assert_eq!(content[0]["uri"], shown);
            assert_eq!(content[1]["resource"], json!({"uri": shown, "text": URI}));
            assert_eq!(content[2]["text"], URI);
        }
    });
}
