//! The OpenAPI document says of every answer what it is: status, kind, and each member.

use std::io::Write as _;
use std::process::{Command, Stdio};

use mooring_tests::{Cluster, Gateway, Request, borrowed, servers, settings};
use serde_json::{Value, json};

/// What a validator of another make says of these answers.
fn wrong(document: &Value, answers: &[Value]) -> Value {
    let script = settings::repository().join("tests/witness/py/answers.py");
    let mut judge = Command::new(borrowed::starter("python-kubernetes_validate"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = json!({"document": document, "answers": answers});
    judge.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&judge.wait_with_output().unwrap().stdout).expect("its findings")
}

/// Answers that were asked for, each with what the document says of it.
struct Asked<'a> {
    document: &'a Value,
    answers: Vec<Value>,
}

impl Asked<'_> {
    /// Asks and notes the answer. `route` is the path as the document has it.
    #[track_caller]
    fn ask(
        &mut self,
        gateway: &Gateway,
        method: &str,
        route: &str,
        path: &str,
        body: Option<Value>,
    ) {
        let mut request = Request::new(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send(gateway.address());
        let what = format!("{method} {path}: {}", response.status);
        let responses = &self.document["paths"][route][method.to_lowercase()]["responses"];
        let mut said = &responses[response.status.to_string()];
        assert!(said.is_object(), "{what}: {}: is not in the document", response.text());
        if let Some(name) = said["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
            said = &self.document["components"]["responses"][name];
        }
        let Some(kind) = response.header("content-type") else {
            assert!(said["content"].is_null(), "{what}");
            return;
        };
        let kind = kind.split(';').next().unwrap();
        let schema = &said["content"][kind]["schema"];
        assert!(schema.is_object(), "{what}: {kind} is not in the document");
        // Those two are documents of their own kind.
        if kind == "application/json" && !["/api/schema", "/api/openapi.json"].contains(&path) {
            let body = response.json();
            self.answers.push(json!({"what": what, "schema": schema, "body": body}));
        }
    }

    /// Every route that reads, with a name and an id that are there and with others.
    fn read(&mut self, gateway: &Gateway, session: &str) {
        let paths = self.document["paths"].as_object().unwrap();
        for (route, _) in paths.iter().filter(|(_, methods)| methods["get"].is_object()) {
            // It does not end.
            if route == "/api/events" {
                continue;
            }
            let id = if route.contains("sessions") { session } else { "a" };
            for (name, id) in [("counter", id), ("no-such", "no-such")] {
                let path = route.replace("{name}", name).replace("{id}", id);
                self.ask(gateway, "GET", route, &path, None);
            }
        }
        for (route, query) in [
            ("/api/logs", "server=counter"),
            ("/api/logs", "server=counter&lines=x"),
            ("/api/logs", "server=no-such"),
            ("/api/cluster/explain", &format!("session={session}")),
            ("/api/cluster/explain", "session=zz"),
            ("/api/cluster/explain", "session=00000000"),
            ("/api/cluster/sessions", "limit=x"),
            ("/api/cluster/sessions", "server=counter"),
            ("/api/cluster/instances", "server=counter&lines=1"),
            ("/api/cluster/instances", "node=no-such"),
            ("/api/cluster/instances", "limit=x"),
            ("/api/cluster/nodes", "active=true"),
            ("/readyz", "servers"),
            ("/readyz", "servers=x"),
        ] {
            self.ask(gateway, "GET", route, &format!("{route}?{query}"), None);
        }
    }

    fn order(&mut self, gateway: &Gateway) {
        self.ask(gateway, "POST", "/api/reload", "/api/reload", None);
        self.ask(gateway, "GET", "/api/reload", "/api/reload", None);
        for body in [json!({"filter": "info"}), json!({"filter": "=="}), json!({}), json!([])] {
            self.ask(gateway, "PUT", "/api/log-level", "/api/log-level", Some(body));
        }
        self.ask(gateway, "POST", "/api/cluster/join", "/api/cluster/join", None);
        for route in ["register", "heartbeat", "deregister"] {
            let route = format!("/api/cluster/{route}");
            self.ask(gateway, "POST", &route, &route, Some(json!({"id": "no-such"})));
        }
        for (word, id, body) in [
            ("drain", "no-such", None),
            ("drain", "b", Some(json!({"deadlineMs": -1}))),
            ("drain", "b", Some(json!({"deadlineMs": 60_000}))),
            ("undrain", "b", None),
            ("undrain", "no-such", None),
        ] {
            let route = format!("/api/cluster/nodes/{{id}}/{word}");
            self.ask(gateway, "POST", &route, &route.replace("{id}", id), body);
        }
    }
}

#[test]
fn every_answer_is_as_the_document_says() {
    if !borrowed::at_hand("the answers of the management API", &["kubernetes_validate"]) {
        return;
    }
    let standalone = Gateway::start_with(&settings::standalone(
        json!({"counter": servers::counter(), "missing": servers::missing()}),
    ));
    let mut cluster = Cluster::of_two_equal_nodes(json!({}));
    cluster.add("c", json!({"missing": servers::missing()}));
    cluster.wait_for_active(3);
    let document = standalone.get("/api/openapi.json").expect(200).json();
    let mut asked = Asked { document: &document, answers: Vec::new() };
    for gateway in [&standalone, &cluster.coordinator, &cluster.nodes[0]] {
        let is_open = gateway.pid() != cluster.nodes[0].pid();
        let session = is_open.then(|| {
            let session = gateway.client("/mcp/counter").initialize();
            assert_eq!(session.count("count"), 1);
            session
        });
        let id = session.as_ref().map_or("no-such", |session| session.id.as_str());
        asked.read(gateway, id);
        asked.order(gateway);
    }
    assert!(asked.answers.len() > 100, "{}", asked.answers.len());
    assert_eq!(wrong(&document, &asked.answers), json!([]));
    // The judge finds what is wrong.
    let answer = |body: Value| {
        let schema = json!({"$ref": "#/components/schemas/Status"});
        wrong(&document, &[json!({"what": "", "schema": schema, "body": body})])
    };
    let status = standalone.data("/api/cluster/status");
    assert_eq!(answer(status.clone()), json!([]));
    for (name, value) in [("mode", json!("none")), ("more", json!(1))] {
        let mut changed = status.clone();
        changed[name] = value;
        assert_ne!(answer(changed), json!([]), "{name}");
    }
}
