//! The extension of tasks: a call that goes on after its answer, wherever its server is.

use mooring_tests::{Canned, Front, Gateway, Pair, RedisServer, Stateless, eventually, settings};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::both;
use super::upstreams::{Far, near};

const TASKS: &str = "io.modelcontextprotocol/tasks";

fn taking() -> Value {
    json!({"extensions": {TASKS: {}}})
}

/// A client, and what stands before the names of its tools.
struct Place {
    client: Stateless,
    prefix: &'static str,
}

impl Place {
    fn job(&self, outcome: &str) -> Value {
        let task = self.client.call(&format!("{}job", self.prefix), json!({"outcome": outcome}));
        assert_eq!(task["resultType"], "task", "{task}");
        assert_eq!((&task["status"], &task["ttlMs"]), (&json!("working"), &Value::Null), "{task}");
        for not_yet in ["result", "error", "inputRequests", "requestState", "task"] {
            assert!(task.get(not_yet).is_none(), "{task}");
        }
        task["taskId"].clone()
    }

    fn ask(&self, method: &str, id: &Value, more: Value) -> Value {
        let mut params = json!({"taskId": id});
        if let Some(more) = more.as_object() {
            params.as_object_mut().expect("parameters").extend(more.clone());
        }
        self.client.result(method, params)
    }

    /// The task once it has this status.
    #[track_caller]
    fn until(&self, id: &Value, status: &str) -> Value {
        eventually(status, || {
            let task = self.ask("tasks/get", id, json!({}));
            assert_eq!(task["resultType"], "complete", "{task}");
            assert_eq!(task["taskId"], *id, "{task}");
            (task["status"] == status).then_some(task)
        })
    }
}

/// Both servers behind both fronts, at each kind of scope.
#[track_caller]
fn everywhere(test: impl Fn(&Place)) {
    let far = Far::start(&[]);
    let mut alone = near(&[]);
    alone["isolation"] = "session".into();
    let servers = json!({"near": near(&[]), "far": far.entry(), "alone": alone});
    let mut system = both(&json!(["handle"]));
    // Each call at `alone` has a process of its own, which stays for its task.
    system["limits"] = json!({"childrenPerPrincipal": 500});
    Front::each(&servers, &system, |front| {
        front.wait_until_discovered(&["near", "far", "alone"]);
        for (path, prefix) in [
            ("/mcp/near", ""),
            ("/mcp/far", ""),
            ("/mcp/alone", ""),
            ("/mcp", "near-"),
            ("/mcp", "far-"),
            ("/mcp", "alone-"),
        ] {
            eprintln!("{path} {prefix}");
            let client = Stateless::new(front.gateway().address(), path).able(taking());
            // A coordinator knows what its nodes have discovered a moment later.
            eventually("the extension", || {
                let found = client.result("server/discover", json!({}));
                assert!(found["capabilities"]["tasks"].is_null(), "{found}");
                found["capabilities"]["extensions"][TASKS].is_object().then_some(())
            });
            test(&Place { client, prefix });
        }
    });
}

#[test]
fn a_task_is_found_again_until_it_has_ended() {
    everywhere(|place| {
        let id = place.job("done");
        let first = place.ask("tasks/get", &id, json!({}));
        assert_eq!((&first["status"], &first["taskId"]), (&json!("working"), &id), "{first}");
        let done = place.until(&id, "completed");
        assert_eq!(done["result"]["content"][0]["text"], "done for nobody", "{done}");
        let id = place.job("fail");
        let failed = place.until(&id, "failed");
        assert_eq!(failed["error"], json!({"code": -32603, "message": "it broke"}), "{failed}");
    });
}

#[test]
fn a_task_gets_its_input_and_is_ended() {
    everywhere(|place| {
        let id = place.job("ask");
        let asks = place.until(&id, "input_required");
        assert_eq!(asks["inputRequests"]["name"]["method"], "elicitation/create", "{asks}");
        let given = json!({"name": {"action": "accept", "content": {"name": "Alice"}}});
        let taken = place.ask("tasks/update", &id, json!({"inputResponses": given}));
        assert_eq!(taken["resultType"], "complete", "{taken}");
        assert!(taken.get("status").is_none(), "{taken}");
        let done = place.until(&id, "completed");
        assert_eq!(done["result"]["content"][0]["text"], "done for Alice", "{done}");
        let id = place.job("wait");
        let taken = place.ask("tasks/cancel", &id, json!({}));
        assert_eq!(taken["resultType"], "complete", "{taken}");
        place.until(&id, "cancelled");
        let again = place.ask("tasks/cancel", &id, json!({}));
        assert_eq!(again["resultType"], "complete", "an ended one, too: {again}");
    });
}

#[test]
fn a_client_that_takes_no_tasks_gets_none() {
    everywhere(|place| {
        let id = place.job("wait");
        let bare = place.client.clone_with(json!({}));
        let done = bare.call(&format!("{}job", place.prefix), json!({}));
        assert_eq!(done["content"][0]["text"], "done at once", "{done}");
        assert_eq!(done["resultType"], "complete", "{done}");
        let refused = |method: &str, params: Value| {
            let (request, sent) = bare.request(method, params);
            let response = request.send(bare.address()).expect(400);
            assert_eq!(
                (response.error_code(), &response.json()["id"]),
                (-32021, &sent),
                "{method}"
            );
            let data = response.json()["error"]["data"].clone();
            let needed = &data["requiredCapabilities"]["extensions"][TASKS];
            assert!(needed.is_object(), "{method}: {data}");
        };
        refused("tools/call", json!({"name": format!("{}long_job", place.prefix)}));
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            refused(method, json!({"taskId": id, "inputResponses": {}}));
        }
        for gone in ["tasks/list", "tasks/result"] {
            // As for other unknown methods, no header says more of it.
            let (request, _) = place.client.request(gone, json!({"taskId": id}));
            let response = request.without("Mcp-Name").send(place.client.address()).expect(404);
            assert_eq!(response.error_code(), -32601, "{gone}");
        }
        let (request, sent) = place.client.request("tasks/get", json!({"taskId": id}));
        let request = request.without("Mcp-Name").header("Mcp-Name", "another");
        let response = request.send(place.client.address()).expect(400);
        assert_eq!((response.error_code(), &response.json()["id"]), (-32020, &sent));
    });
}

#[test]
fn a_client_hears_of_the_tasks_that_it_listens_to() {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["near", "far"]);
        let client = Stateless::new(front.gateway().address(), "/mcp").able(taking());
        eventually("the extension", || {
            let found = client.result("server/discover", json!({}));
            found["capabilities"]["extensions"][TASKS].is_object().then_some(())
        });
        let place = |prefix| Place { client: client.clone_with(taking()), prefix };
        let (near, far) = (place("near-").job("done"), place("far-").job("ask"));
        let wanted = json!({"taskIds": [near, "m1forged", far]});
        let (mut stream, id) =
            client.open("subscriptions/listen", json!({"notifications": wanted}));
        let first = stream.message(|message| message.get("method").is_some());
        assert_eq!(first["params"]["notifications"]["taskIds"], json!([near, far]), "{first}");
        let mut awaited = vec![(near, "completed"), (far, "input_required")];
        while !awaited.is_empty() {
            let told = stream.message(|message| message["method"] == "notifications/tasks");
            let said = &told["params"];
            let named = &said["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!(*named, id, "{told}");
            awaited.retain(|(task, status)| said["taskId"] != *task || said["status"] != *status);
        }
    });
}

const KEYS: [&str; 2] = ["0123456789abcdef-one", "0123456789abcdef-two"];

fn keyed(servers: &Value) -> Value {
    json!({
        "mcpServers": servers,
        "bearerKeys": [
            {"name": "one", "token": KEYS[0], "accessType": "all"},
            {"name": "two", "token": KEYS[1], "accessType": "all"},
        ],
        "systemConfig": {"eras": ["legacy", "modern"]},
    })
}

fn with_key(gateway: &Gateway, path: &str, key: &str) -> Stateless {
    let client = Stateless::new(gateway.address(), path).able(taking());
    client.header("Authorization", &format!("Bearer {key}"))
}

#[track_caller]
fn unknown(client: &Stateless, id: &Value) {
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let answer = client.answer(method, json!({"taskId": id, "inputResponses": {}}));
        assert_eq!(answer["error"]["code"], -32602, "{method}: {answer}");
    }
}

#[test]
fn a_task_is_its_clients_alone() {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    let gateway = Gateway::start_with(&settings::roomy(keyed(&servers)));
    gateway.wait_until_discovered(&["near", "far"]);
    let mine = Place { client: with_key(&gateway, "/mcp", KEYS[0]), prefix: "far-" };
    let id = mine.job("wait");
    let text = id.as_str().expect("an id");
    assert!(!text.contains("task-"), "it says nothing: {text}");
    unknown(&with_key(&gateway, "/mcp", KEYS[1]), &id);
    let last = if text.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{last}", &text[..text.len() - 1]);
    let own = with_key(&gateway, "/mcp/far", KEYS[0]);
    let handle =
        mine.client.result("server/discover", json!({}))["_meta"]["mooring/conversation"].clone();
    let direct = own.call("job", json!({"outcome": "wait"}))["taskId"].clone();
    let direct = direct.as_str().expect("the server's own id");
    for forged in [
        json!("m1"),
        json!(changed),
        json!(format!("{text}A")),
        json!(format!("far~{direct}")),
        json!(direct),
        handle,
    ] {
        unknown(&mine.client, &forged);
    }
    // It is that of one URL.
    unknown(&with_key(&gateway, "/mcp/near", KEYS[0]), &id);
    let still = mine.ask("tasks/get", &id, json!({}));
    assert_eq!(still["status"], "working", "nobody has ended it: {still}");
}

#[test]
fn a_task_is_hidden_with_its_tool() {
    let far = Far::start(&[]);
    let servers = |more: Value| {
        let mut entry = far.entry();
        entry
            .as_object_mut()
            .expect("an entry")
            .extend(more.as_object().cloned().unwrap_or_default());
        json!({"far": entry, "near": near(&[])})
    };
    let gateway = Gateway::start_with(&settings::roomy(keyed(&servers(json!({})))));
    gateway.wait_until_discovered(&["near", "far"]);
    let mine = Place { client: with_key(&gateway, "/mcp", KEYS[0]), prefix: "far-" };
    let (waits, done) = (mine.job("wait"), mine.job("done"));
    let hidden = json!({"tools": {"job": {"enabled": false}}});
    gateway.reload(&settings::roomy(keyed(&servers(hidden))));
    eventually("the tool is hidden", || {
        let answer = mine.client.answer("tasks/get", json!({"taskId": waits}));
        (answer["error"]["code"] == -32602).then_some(())
    });
    unknown(&mine.client, &done);
    // What it names is hidden likewise.
    let hidden = json!({"resources": {"far://a": {"enabled": false}}});
    gateway.reload(&settings::roomy(keyed(&servers(hidden))));
    let done = eventually("the task", || {
        let answer = mine.client.answer("tasks/get", json!({"taskId": done}));
        let task = &answer["result"];
        (task["status"] == "completed").then(|| task.clone())
    });
    assert!(!done.to_string().contains("far://a"), "{done}");
    assert_eq!(done["result"]["content"][0]["text"], "done for nobody", "{done}");
}

#[test]
fn a_task_outlives_the_gateway_that_has_begun_it() {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    let system = both(&json!(["handle"]));
    let Front::Cluster(mut cluster) = Front::cluster(&servers, &system) else { return };
    cluster.nodes.iter().for_each(|node| node.wait_until_discovered(&["near", "far"]));
    let client = Stateless::new(cluster.coordinator.address(), "/mcp").able(taking());
    eventually("the extension", || {
        let found = client.result("server/discover", json!({}));
        found["capabilities"]["extensions"][TASKS].is_object().then_some(())
    });
    let begun: Vec<Value> = ["near-", "far-", "near-", "far-"]
        .into_iter()
        .map(|prefix| Place { client: client.clone_with(taking()), prefix }.job("ask"))
        .collect();
    cluster.coordinator.restart_after(Signal::KILL);
    let client = client.at(cluster.coordinator.address());
    let place = Place { client, prefix: "" };
    for id in &begun {
        let asks = place.until(id, "input_required");
        assert!(asks["inputRequests"]["name"].is_object(), "{asks}");
        let given = json!({"name": {"action": "accept", "content": {"name": "Bob"}}});
        let _ = place.ask("tasks/update", id, json!({"inputResponses": given}));
        let done = place.until(id, "completed");
        assert_eq!(done["result"]["content"][0]["text"], "done for Bob", "{done}");
    }
}

#[test]
fn a_task_is_found_by_another_coordinator() {
    let Some(redis) = RedisServer::start("tasks at another coordinator") else { return };
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    let coordinators = [0, 1].map(|_| {
        let store = json!({"store": {"type": "redis", "url": redis.url()}});
        let system = json!({"systemConfig": both(&json!(["handle"]))});
        Gateway::start_with(&settings::merged(settings::coordinator(store), system))
    });
    let nodes = ["a", "b"].into_iter().zip(&coordinators);
    let nodes = nodes.map(|(id, at)| Pair::node(&at.url(), id, servers.clone())).collect();
    let pair = Pair { coordinators, nodes, redis };
    pair.wait_for(2);
    pair.nodes.iter().for_each(|node| node.wait_until_discovered(&["near", "far"]));
    let at = |index: usize, prefix| {
        let client = Stateless::new(pair.coordinators[index].address(), "/mcp").able(taking());
        Place { client, prefix }
    };
    for index in [0, 1] {
        eventually("the extension", || {
            let found = at(index, "").client.result("server/discover", json!({}));
            found["capabilities"]["extensions"][TASKS].is_object().then_some(())
        });
    }
    for (begins, prefix) in [(0, "near-"), (1, "near-"), (0, "far-"), (1, "near-"), (0, "near-")] {
        let id = at(begins, prefix).job("ask");
        let other = at(1 - begins, prefix);
        other.until(&id, "input_required");
        let given = json!({"name": {"action": "accept", "content": {"name": "Carol"}}});
        let _ = other.ask("tasks/update", &id, json!({"inputResponses": given}));
        let done = at(begins, prefix).until(&id, "completed");
        assert_eq!(done["result"]["content"][0]["text"], "done for Carol", "{done}");
    }
}

/// A tool that runs as a task of 2025-11-25 alone is waited for in the place of its client.
#[test]
fn a_tool_that_demands_a_task_is_waited_for() {
    let tool = |name: &str, support: &str| {
        json!({"name": name, "inputSchema": {"type": "object"},
            "execution": {"taskSupport": support}})
    };
    let made = json!({"task": {"taskId": "t1", "status": "working", "ttl": null,
        "createdAt": "2025-11-25T00:00:00Z", "lastUpdatedAt": "2025-11-25T00:00:00Z"}});
    let done = json!({"content": [{"type": "text", "text": "waited"}]});
    let server = Canned::new()
        .with_capabilities(json!({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}}}))
        .answers(
            "tools/list",
            json!({"tools": [tool("long", "required"), tool("any", "optional")]}),
        )
        .answers("tools/call", made)
        .answers("tasks/result", done);
    let servers = json!({"old": server.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["old"]);
        for (path, prefix) in [("/mcp/old", ""), ("/mcp", "old-")] {
            let client = Stateless::new(front.gateway().address(), path).able(taking());
            let listed = || client.result("tools/list", json!({}))["tools"].clone();
            eventually("the tools", || (!listed().as_array()?.is_empty()).then_some(()));
            let found = client.result("server/discover", json!({}));
            assert!(found["capabilities"]["extensions"][TASKS].is_null(), "{path}: {found}");
            let wish = json!({"name": format!("{prefix}long"), "arguments": {"n": 1.5},
                "task": {"ttl": 60_000}});
            let waited = client.result("tools/call", wish);
            assert_eq!(waited["content"][0]["text"], "waited", "{path}: {waited}");
            assert_eq!(waited["resultType"], "complete", "{waited}");
            let _ = client.call(&format!("{prefix}any"), json!({}));
            let gone = client.send("tasks/get", json!({"taskId": "old~t1"})).expect(200);
            assert_eq!(gone.error_code(), -32602, "{path}: {}", gone.text());
        }
    });
    let calls: Vec<Value> = server
        .told()
        .into_iter()
        .map(|(_, told)| told)
        .filter(|told| told["id"] != Value::Null)
        .collect();
    let asked = |method: &str| -> Vec<&Value> {
        calls.iter().filter(|told| told["method"] == method).collect()
    };
    for told in asked("tools/call") {
        let expect = if told["params"]["name"] == "long" { json!({}) } else { Value::Null };
        assert_eq!(told["params"]["task"], expect, "{told}");
    }
    assert_eq!(asked("tools/call").len(), 8);
    assert!(asked("tasks/result").iter().all(|told| told["params"]["taskId"] == "t1"));
    assert_eq!(asked("tasks/result").len(), 4);
}

/// A client with a session knows no tasks of this kind, whatever it says of itself.
#[test]
fn a_session_never_gets_such_a_task() {
    let far = Far::start(&[]);
    let servers = json!({"near": near(&[]), "far": far.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["near", "far"]);
        for (path, prefix) in [("/mcp/near", ""), ("/mcp/far", ""), ("/mcp", "near-")] {
            let client = front.client(path).params(json!({
                "protocolVersion": "2025-11-25",
                "capabilities": taking(),
                "clientInfo": {"name": "mooring-tests", "version": "1"},
            }));
            let session = client.initialize();
            assert!(!session.result.to_string().contains(TASKS), "{}", session.result);
            let call = json!({"name": format!("{prefix}job"), "arguments": {},
                "_meta": {"mooring/tasks": true}});
            let done = session.request("tools/call", call);
            assert_eq!(done["content"][0]["text"], "done at once", "{path}: {done}");
            for method in ["tasks/get", "tasks/update"] {
                let params = json!({"taskId": "near~task-1-0", "inputResponses": {},
                    "_meta": {"mooring/tasks": true}});
                let refused = session.try_request(method, params);
                let code = Some(refused.error_code());
                let text = refused.text();
                assert!(matches!(code, Some(-32601 | -32602)), "{path} {method}: {text}");
            }
        }
    });
}
