//! The golden vectors in `tests/golden/`: the recorded decisions of each strategy.
//! The gateway's tests run the same files against the components, so a
//! rebuilt or rewritten strategy cannot move sessions unnoticed.
//!
//! `BLESS=1 cargo test --test golden` writes them anew. That is a breaking
//! change: every running session may move.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::path::PathBuf;

use mooring_strategies::{
    AffinityAction, ConsistentHash, Cookie, Decision, Header, Health, Node, Replica, Request,
    RouteError, Server, Strategy, Topology,
};
use serde_json::{Value, json};
use support::{Ask, ask, healthy, node, topology, uuids};

#[test]
fn decisions_are_as_written_down() {
    let wanted: Vec<(String, Value)> = scenarios()
        .into_iter()
        .flat_map(|scenario| STRATEGIES.map(|strategy| scenario.vectors(strategy)))
        .collect();
    if std::env::var_os("BLESS").is_some() {
        for (name, vectors) in &wanted {
            std::fs::write(folder().join(name), print(vectors)).unwrap();
        }
    }
    let mut written: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    written.sort();
    let mut names: Vec<_> = wanted.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    assert_eq!(written, names, "files in tests/golden");

    let mut cases = 0;
    for (name, _) in &wanted {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        cases += check(name, &serde_json::from_str(&text).unwrap());
        let regenerated = &wanted.iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!(
            text,
            print(regenerated),
            "{name}: another scenario was written down"
        );
    }
    assert!(cases > 300, "only {cases} cases");
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

const STRATEGIES: [&str; 3] = [ConsistentHash::NAME, Cookie::NAME, Header::NAME];

/// Runs one file against the native code; returns how many cases it has.
fn check(file: &str, vectors: &Value) -> usize {
    let config = vectors["config"].to_string();
    let topology = read_topology(&vectors["topology"]);
    let route = router(vectors["strategy"].as_str().unwrap(), &config, &topology);
    let cases = vectors["cases"].as_array().unwrap();
    for (number, case) in cases.iter().enumerate() {
        let mut expected = case.clone();
        let request = expected.as_object_mut().unwrap().remove("request").unwrap();
        let answer = with_request(&request, |request| route(request));
        assert_eq!(
            write_answer(answer),
            expected,
            "{file}, case {number}: {request}"
        );
    }
    cases.len()
}

type Router = Box<dyn Fn(&Request<'_>) -> Result<Decision, RouteError>>;

fn router(strategy: &str, config: &str, topology: &Topology) -> Router {
    fn of<S: Strategy + 'static>(config: &str, topology: &Topology) -> Router {
        let (mut strategy, _) = S::configure(config).unwrap();
        strategy.update(topology).unwrap();
        Box::new(move |request| strategy.route(request))
    }
    match strategy {
        ConsistentHash::NAME => of::<ConsistentHash>(config, topology),
        Cookie::NAME => of::<Cookie>(config, topology),
        Header::NAME => of::<Header>(config, topology),
        other => panic!("no strategy {other}"),
    }
}

// --- the recorded cases ------------------------------------------------------

struct Scenario {
    name: &'static str,
    topology: Topology,
    asked: Vec<OwnedAsk>,
}

/// An [`Ask`] that keeps its session's id.
struct OwnedAsk {
    session: Option<String>,
    rest: Ask<'static>,
}

impl Scenario {
    fn new<'a>(
        name: &'static str,
        topology: Topology,
        asked: impl IntoIterator<Item = Ask<'a>>,
    ) -> Self {
        let asked = asked.into_iter().map(|asked| OwnedAsk {
            session: asked.session.map(str::to_owned),
            rest: Ask {
                session: None,
                ..asked
            },
        });
        let asked = asked.collect();
        Self {
            name,
            topology,
            asked,
        }
    }

    fn vectors(&self, strategy: &str) -> (String, Value) {
        let config = json!({ "enabled": true, "strategy": strategy });
        let route = router(strategy, &config.to_string(), &self.topology);
        let cases = self.asked.iter().map(|asked| {
            let request = json!({
                "server": asked.rest.server,
                "inputs": [asked.session],
                "affinity": asked.rest.affinity,
                "attempt": asked.rest.attempt,
                "seed": asked.rest.seed,
                "loads": null,
            });
            let mut case = write_answer(with_request(&request, |request| route(request)));
            case["request"] = request;
            case
        });
        let vectors = json!({
            "strategy": strategy,
            "config": config,
            "topology": write_topology(&self.topology),
            "cases": cases.collect::<Vec<_>>(),
        });
        (format!("{strategy}-{}.json", self.name), vectors)
    }
}

fn scenarios() -> Vec<Scenario> {
    let sessions: Vec<String> = uuids(40).collect();
    let some = |count: usize| sessions[..count].iter().map(|session| ask(session));
    let attempts =
        |asked: Ask<'static>, count| (0..count).map(move |attempt| Ask { attempt, ..asked });
    let odd = [
        "",
        " ",
        "node-0",
        "ÅÄÖ 🦀",
        "a\"b\\c\n",
        "0123456789abcdef0123456789abcdef0",
    ];

    let mut mixed = topology(
        vec![
            node("eu-1", Health::Healthy, 0),
            node("eu-2", Health::Degraded, 0),
            node("eu-3", Health::Draining, 0),
            node("eu-4", Health::Healthy, 0),
            node("us-1", Health::Healthy, 1),
            node("us-2", Health::Unhealthy, 1),
            node("us-3", Health::Degraded, 1),
            node("us-4", Health::Healthy, 1),
        ],
        &[1, 1, 1, 3],
    );
    mixed.generation = 42;
    mixed.local_zone = "eu".to_owned();
    for node in &mut mixed.nodes {
        node.zone = node.id[..2].to_owned();
        node.labels = vec![("gpu".to_owned(), "no".to_owned())];
    }
    let replica = |node| Replica { node, weight: 10 };
    mixed.servers.push(Server {
        name: "nowhere usable".to_owned(),
        replicas: vec![replica(2), replica(5)],
    });
    mixed.servers.push(Server {
        name: "only suspects".to_owned(),
        replicas: vec![replica(6), replica(1)],
    });
    mixed.servers.push(Server {
        name: "no replica".to_owned(),
        replicas: Vec::new(),
    });

    let hundred = |weights: &[u32]| topology(healthy(100), weights);
    vec![
        Scenario::new("pair", topology(healthy(2), &[1]), some(30)),
        Scenario::new(
            "weights",
            topology(healthy(4), &[1, 2, 5, 1000]),
            some(20).flat_map(|asked| (0..3).map(move |attempt| Ask { attempt, ..asked })),
        ),
        Scenario::new(
            "tiers",
            mixed.clone(),
            attempts(ask("6f1b0c0e-0000-4000-8000-000000000001"), 8)
                .chain(attempts(ask("6f1b0c0e-0000-4000-8000-000000000002"), 8))
                .chain((0..5).map(|server| Ask {
                    server,
                    ..ask("tiers")
                }))
                .chain((0..3).map(|attempt| Ask {
                    server: 2,
                    attempt,
                    ..ask("tiers")
                })),
        ),
        Scenario::new(
            "affinity",
            mixed,
            (0..9).flat_map(|named| {
                [0, 1, 2, 5, 6].map(|attempt| Ask {
                    affinity: Some(named),
                    attempt,
                    ..ask("6f1b0c0e-0000-4000-8000-000000000003")
                })
            }),
        ),
        Scenario::new(
            "no-session",
            topology(healthy(5), &[1]),
            [0, 1, 2, 3, u64::MAX, 1 << 53, (1 << 53) + 1]
                .into_iter()
                .flat_map(|seed| {
                    [0, 1].map(|attempt| Ask {
                        seed,
                        attempt,
                        ..Ask::default()
                    })
                }),
        ),
        Scenario::new("odd-keys", topology(healthy(9), &[4]), odd.map(ask)),
        Scenario::new("hundred", hundred(&[1]), some(25)),
        Scenario::new(
            "hundred-weights",
            hundred(&[1, 10, 100, 7, 1000, 3]),
            some(25),
        ),
    ]
}

// --- JSON with the words of the WIT ------------------------------------------

/// One case a line, so that a change shows as the lines that changed.
fn print(vectors: &Value) -> String {
    let rows = |rows: &Value| {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| format!("    {row}"))
            .collect::<Vec<_>>()
            .join(",\n")
    };
    let topology = &vectors["topology"];
    format!(
        "{{\n  \"strategy\": {},\n  \"config\": {},\n  \"topology\": {{\n    \"generation\": {},\n    \
         \"local-zone\": {},\n    \"nodes\": [\n{}\n    ],\n    \"servers\": [\n{}\n    ]\n  }},\n  \
         \"cases\": [\n{}\n  ]\n}}\n",
        vectors["strategy"],
        vectors["config"],
        topology["generation"],
        topology["local-zone"],
        rows(&topology["nodes"]),
        rows(&topology["servers"]),
        rows(&vectors["cases"]),
    )
}

fn with_request<R>(request: &Value, act: impl FnOnce(&Request<'_>) -> R) -> R {
    let small = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let inputs = request["inputs"].as_array().unwrap().iter();
    let inputs: Vec<_> = inputs.map(Value::as_str).collect();
    act(&Request {
        server: small(&request["server"]),
        inputs: &inputs,
        affinity: Some(&request["affinity"])
            .filter(|node| !node.is_null())
            .map(small),
        attempt: small(&request["attempt"]),
        seed: request["seed"].as_u64().unwrap(),
        loads: None,
    })
}

fn write_answer(answer: Result<Decision, RouteError>) -> Value {
    match answer {
        Ok(decision) => {
            let affinity = match decision.affinity {
                AffinityAction::Keep => "keep",
                AffinityAction::Pin => "pin",
                AffinityAction::Clear => "clear",
            };
            json!({ "decision": { "node": decision.node, "affinity": affinity } })
        }
        Err(RouteError::NoCandidate) => json!({ "error": "no-candidate" }),
        Err(RouteError::Abstain) => json!({ "error": "abstain" }),
        Err(RouteError::MissingInput) => json!({ "error": "missing-input" }),
    }
}

const HEALTHS: [(&str, Health); 4] = [
    ("healthy", Health::Healthy),
    ("degraded", Health::Degraded),
    ("draining", Health::Draining),
    ("unhealthy", Health::Unhealthy),
];

fn write_topology(topology: &Topology) -> Value {
    let nodes = topology.nodes.iter().map(|node| {
        let health = HEALTHS.iter().find(|(_, health)| *health == node.health);
        json!({
            "id": node.id,
            "health": health.unwrap().0,
            "priority": node.priority,
            "zone": node.zone,
            "labels": node.labels,
        })
    });
    let servers = topology.servers.iter().map(|server| {
        let replicas = server.replicas.iter();
        let replicas = replicas.map(|r| json!({ "node": r.node, "weight": r.weight }));
        json!({ "name": server.name, "replicas": replicas.collect::<Vec<_>>() })
    });
    json!({
        "generation": topology.generation,
        "local-zone": topology.local_zone,
        "nodes": nodes.collect::<Vec<_>>(),
        "servers": servers.collect::<Vec<_>>(),
    })
}

fn read_topology(value: &Value) -> Topology {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let small = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let nodes = list(&value["nodes"]).into_iter().map(|node| Node {
        id: text(&node["id"]),
        health: HEALTHS
            .iter()
            .find(|(name, _)| node["health"] == *name)
            .unwrap()
            .1,
        priority: small(&node["priority"]),
        zone: text(&node["zone"]),
        labels: list(&node["labels"])
            .iter()
            .map(|pair| (text(&pair[0]), text(&pair[1])))
            .collect(),
    });
    let servers = list(&value["servers"]).into_iter().map(|server| Server {
        name: text(&server["name"]),
        replicas: list(&server["replicas"])
            .iter()
            .map(|r| Replica {
                node: small(&r["node"]),
                weight: small(&r["weight"]),
            })
            .collect(),
    });
    Topology {
        generation: value["generation"].as_u64().unwrap(),
        local_zone: text(&value["local-zone"]),
        nodes: nodes.collect(),
        servers: servers.collect(),
    }
}
