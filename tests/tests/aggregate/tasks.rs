//! Tasks of 2025-11-25 on several servers at once: their ids name their servers.

use mooring_tests::{Canned, Front, Session, eventually};
use serde_json::{Value, json};

use mooring_tests::orders::{announce, late, notification, tools};

fn server() -> Canned {
    let task = |status: &str| {
        json!({
            "taskId": "t~1", "status": status, "ttl": 60_000, "pollInterval": 100,
            "createdAt": "2025-11-25T00:00:00Z", "lastUpdatedAt": "2025-11-25T00:00:00Z",
        })
    };
    let related = json!({"io.modelcontextprotocol/related-task": {"taskId": "t~1"}});
    Canned::new()
        .with_capabilities(json!({
            "tools": {},
            "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
        }))
        .answers("tools/list", tools())
        .answers("tasks/get", task("working"))
        .answers("tasks/cancel", task("cancelled"))
        .answers("tasks/list", json!({"tasks": [task("working")]}))
        .answers(
            "tasks/result",
            json!({"content": [{"type": "text", "text": "t~1"}], "_meta": related}),
        )
}

fn two() -> ([Canned; 2], Value) {
    let servers = [server(), server()];
    let entries = json!({"one": servers[0].entry(), "two": servers[1].entry()});
    (servers, entries)
}

fn session(front: &Front) -> Session {
    eventually("tasks are announced", || {
        let session = front.client("/mcp").initialize();
        session.result["capabilities"]["tasks"].is_object().then_some(session)
    })
}

/// A call that becomes a task, and its id.
fn create(session: &Session, server: &str) -> Value {
    let (mut message, id) = session.message("tools/call", Value::Null);
    let answer = json!({
        "jsonrpc": "2.0", "id": id,
        "result": {"task": {"taskId": "t~1", "status": "working", "ttl": 60_000}},
    });
    message["params"] = json!({
        "name": format!("{server}-emit"),
        "arguments": {"messages": mooring_tests::orders::coded(&[answer])},
        "task": {"ttl": 60_000},
    });
    let messages = session.post(&message).send(session.client.address()).expect(200).messages();
    messages.last().unwrap()["result"]["task"]["taskId"].clone()
}

#[test]
fn a_task_is_found_again_by_its_id() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = session(front);
        for (server, name) in servers.iter().zip(["one", "two"]) {
            let shown = create(&session, name);
            assert_eq!(shown, format!("{name}~t~1"));
            let told = server.told().pop().unwrap().1;
            assert_eq!(told["params"]["task"], json!({"ttl": 60_000}), "it passes as it is");
            for (method, status) in [("tasks/get", "working"), ("tasks/cancel", "cancelled")] {
                let task = session.request(method, json!({"taskId": shown}));
                assert_eq!((&task["taskId"], &task["status"]), (&shown, &json!(status)));
                let told = server.told().pop().unwrap().1;
                assert_eq!(
                    (&told["method"], &told["params"]["taskId"]),
                    (&json!(method), &json!("t~1"))
                );
            }
            let result = session.request("tasks/result", json!({"taskId": shown}));
            assert_eq!(result["content"][0]["text"], "t~1", "a text is a text");
            assert_eq!(result["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], shown);
        }
        let listed = session.request("tasks/list", json!({}));
        let mut ids: Vec<&str> = listed["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["taskId"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["one~t~1", "two~t~1"]);
        for unknown in ["t~1", "three~t~1", "", "one"] {
            let answer = session.answer("tasks/get", json!({"taskId": unknown}));
            assert_eq!(answer["error"]["code"], -32602, "{unknown}: {answer}");
        }
    });
}

#[test]
fn what_belongs_to_a_task_names_it_as_the_client_knows_it() {
    let (servers, entries) = two();
    Front::each(&entries, &json!({}), |front| {
        let session = session(front);
        announce(&session, "two-announce", &[]);
        let mut stream = session.listen();
        let status = notification(
            "notifications/tasks/status",
            json!({"taskId": "t~1", "status": "completed"}),
        );
        late(&session, "two-emit", &[status]);
        let came = stream.message(|m| m["method"] == "notifications/tasks/status");
        assert_eq!(came["params"], json!({"taskId": "two~t~1", "status": "completed"}));
        // A request of a task may arrive on the session's GET stream.
        let related = json!({"io.modelcontextprotocol/related-task": {"taskId": "t~1"}});
        let asks = json!({
            "jsonrpc": "2.0", "id": 4, "method": "elicitation/create",
            "params": {"mode": "form", "message": "m", "requestedSchema": {}, "_meta": related},
        });
        late(&session, "two-emit", &[asks]);
        let asked = stream.message(|m| m["method"] == "elicitation/create");
        let meta = &asked["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/related-task"]["taskId"], "two~t~1");
        assert_eq!(meta["mooring/server"], "two");
        session.reply(&asked["id"], json!({"action": "decline", "_meta": meta}));
        let (_, told) = servers[1].wait_for("the answer", |_, told| {
            told["id"] == 4 && told["result"]["action"] == "decline"
        });
        assert_eq!(
            told["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"],
            "t~1"
        );
    });
}
