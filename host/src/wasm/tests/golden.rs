//! Compares the components with the decisions recorded in `tests/golden`, and with
//! the same code compiled natively.

use mooring_strategies::{ConsistentHash, Cookie, Header, Strategy as Native};
use serde_json::{Value, json};

use super::super::admission::admit::{Candidate, WasiPolicy};
use super::super::bindings::Answer;
use super::super::engine::Engines;
use super::super::plugin::Plugin;
use super::super::vocabulary::{AffinityAction, Request, RouteError};
use super::*;

fn plugin(engines: &Engines, builtin: Builtin, config: &str) -> Plugin {
    let bytes = builtin.bytes();
    let candidate = Candidate::compile(engines, bytes, None).unwrap();
    let name = builtin.name();
    candidate.meet(engines, bytes, name, config, WasiPolicy::Deny).unwrap()
}

#[test]
fn components_decide_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let engines = Engines::new(48).unwrap();
    let files: Vec<Value> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect();
    let mut cases = 0;
    for builtin in Builtin::ALL {
        let own = files.iter().filter(|file| file["strategy"] == builtin.name());
        let mut plugin: Option<(Value, Plugin)> = None;
        for file in own {
            let config = file["config"].clone();
            if plugin.as_ref().is_none_or(|(known, _)| *known != config) {
                let fresh = self::plugin(&engines, builtin, &config.to_string());
                plugin = Some((config, fresh));
            }
            cases += check(&plugin.as_ref().unwrap().1, file);
        }
    }
    assert!(cases > 300, "only {cases} cases");
}

fn check(plugin: &Plugin, file: &Value) -> usize {
    let mut instance = plugin.ready(&read_topology(&file["topology"])).unwrap();
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let asked = &case["request"];
        let inputs: Vec<Option<&str>> = list(&asked["inputs"]).map(Value::as_str).collect();
        let loads: Option<Vec<u32>> =
            asked["loads"].as_array().map(|loads| loads.iter().map(number).collect());
        let answer = instance.route(&Request {
            server: number(&asked["server"]),
            inputs: &inputs,
            affinity: asked["affinity"].as_u64().map(|node| node as u32),
            attempt: number(&asked["attempt"]),
            seed: asked["seed"].as_u64().unwrap(),
            loads: loads.as_deref(),
        });
        let mut expected = case.clone();
        expected.as_object_mut().unwrap().remove("request");
        assert_eq!(write(answer.unwrap()), expected, "{asked}");
    }
    cases.len()
}

fn read_topology(value: &Value) -> Topology {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Topology {
        generation: value["generation"].as_u64().unwrap(),
        local_zone: text(&value["local-zone"]),
        nodes: list(&value["nodes"])
            .map(|node| Node {
                id: text(&node["id"]),
                health: match node["health"].as_str().unwrap() {
                    "healthy" => Health::Healthy,
                    "degraded" => Health::Degraded,
                    "draining" => Health::Draining,
                    "unhealthy" => Health::Unhealthy,
                    other => panic!("no health {other}"),
                },
                priority: number(&node["priority"]),
                zone: text(&node["zone"]),
                labels: list(&node["labels"])
                    .map(|label| (text(&label[0]), text(&label[1])))
                    .collect(),
            })
            .collect(),
        servers: list(&value["servers"])
            .map(|server| Server {
                name: text(&server["name"]),
                replicas: list(&server["replicas"])
                    .map(|replica| Replica {
                        node: number(&replica["node"]),
                        weight: number(&replica["weight"]),
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn write(answer: Answer) -> Value {
    match answer {
        Ok(decision) => {
            let affinity = match decision.affinity {
                AffinityAction::Keep => "keep",
                AffinityAction::Pin => "pin",
                AffinityAction::Clear => "clear",
            };
            json!({"decision": {"node": decision.node, "affinity": affinity}})
        }
        Err(RouteError::NoCandidate) => json!({"error": "no-candidate"}),
        Err(RouteError::Abstain) => json!({"error": "abstain"}),
        Err(RouteError::MissingInput) => json!({"error": "missing-input"}),
    }
}

#[test]
fn consistent_hash_decides_as_its_native_self() {
    differ::<ConsistentHash>(Builtin::ConsistentHash);
}

#[test]
fn cookie_decides_as_its_native_self() {
    differ::<Cookie>(Builtin::Cookie);
}

#[test]
fn header_decides_as_its_native_self() {
    differ::<Header>(Builtin::Header);
}

/// Ten thousand random questions over twenty random topologies.
fn differ<N: Native>(builtin: Builtin) {
    let engines = Engines::new(48).unwrap();
    let plugin = plugin(&engines, builtin, CONFIG);
    let (mut native, plan) = N::configure(CONFIG).unwrap();
    assert_eq!(*plugin.plan, plan);
    let mut random = Random(2026);
    for _ in 0..20 {
        let topology = random.topology();
        native.update(&topology).unwrap();
        let mut instance = plugin.ready(&topology).unwrap();
        for _ in 0..500 {
            let text = random.text();
            let key = random.sometimes(9).then_some(&*text);
            let nodes = topology.nodes.len() as u64;
            let request = Request {
                server: random.below(topology.servers.len() as u64) as u32,
                inputs: &[key],
                affinity: random.sometimes(3).then(|| random.below(nodes) as u32),
                attempt: if random.sometimes(7) { 0 } else { random.below(nodes + 2) as u32 },
                seed: random.next(),
                loads: None,
            };
            let answer = instance.route(&request).unwrap();
            assert_eq!(answer, native.route(&request), "{request:?} in {topology:?}");
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True in `of_ten` of ten cases.
    fn sometimes(&mut self, of_ten: u64) -> bool {
        self.below(10) < of_ten
    }

    fn text(&mut self) -> String {
        let length = self.below(50);
        (0..length).map(|_| char::from_u32(self.below(0x500) as u32).unwrap_or('x')).collect()
    }

    fn topology(&mut self) -> Topology {
        let nodes = 1 + self.below(24);
        let health = [
            Health::Healthy,
            Health::Healthy,
            Health::Healthy,
            Health::Degraded,
            Health::Draining,
            Health::Unhealthy,
        ];
        Topology {
            generation: self.next(),
            local_zone: self.text(),
            nodes: (0..nodes)
                .map(|number| Node {
                    id: format!("{number}{}", self.text()),
                    health: health[self.below(6) as usize],
                    priority: self.below(3) as u32,
                    zone: self.text(),
                    labels: vec![(self.text(), self.text())],
                })
                .collect(),
            servers: (0..1 + self.below(4))
                .map(|number| {
                    let alike = self.sometimes(5);
                    let hosts = (0..nodes as u32).filter(|_| self.sometimes(7));
                    let hosts: Vec<u32> = hosts.collect();
                    let weight = |random: &mut Self| match alike {
                        true => 5,
                        false => 1 + random.below(1000) as u32,
                    };
                    Server {
                        name: format!("server-{number}"),
                        replicas: hosts
                            .into_iter()
                            .map(|node| Replica { node, weight: weight(self) })
                            .collect(),
                    }
                })
                .collect(),
        }
    }
}
