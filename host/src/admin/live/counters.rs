//! What was counted: errors that clients got, here and on nodes; and of this process the limits that
//! were met, and how many calls there are at this moment.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::admin::{Admin, metrics};
use crate::cluster::{ErrorReport, Overview};
use crate::model::{NodeId, visible};

/// Time over which calls and errors are averaged.
const WINDOW: Duration = Duration::from_secs(10);
/// Bytes that are shown of each word of a node.
const MAX_WORD: usize = 128;

/// The most kinds of errors of this process that are shown.
const MOST_OWN: usize = 1000;
/// The most kinds of errors of its nodes.
const MOST_OF_NODES: usize = 2000;

/// Errors that clients got.
pub struct CountedErrors {
    /// Those that came most often, by their keys.
    pub shown: Vec<(String, Value)>,
    /// Kinds that are not among them.
    pub left_out: u64,
}

/// The errors of this process, and what its nodes say of theirs.
pub fn errors(admin: &Admin, overview: Option<&Overview>) -> CountedErrors {
    let told = overview.map(|overview| overview.errors.as_slice()).unwrap_or_default();
    let untold = overview.map_or(0, |overview| overview.more_errors);
    let (own, left_out_here) = own_errors(admin, MOST_OWN);
    let (of_nodes, left_out_there) = errors_of_nodes(told, MOST_OF_NODES);
    CountedErrors {
        shown: own.into_iter().chain(of_nodes).collect(),
        left_out: untold.saturating_add((left_out_here + left_out_there) as u64),
    }
}

/// The errors of this process that came most often, and how many kinds there are beyond these.
fn own_errors(admin: &Admin, most: usize) -> (Vec<(String, Value)>, usize) {
    let mut counted: Vec<_> = metrics::counted_errors(admin).into_iter().collect();
    counted.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let left_out = counted.len().saturating_sub(most);
    counted.truncate(most);
    let entry = |((server, emitter, kind), number): (metrics::CountedError, u64)| {
        let server = server.as_ref().map_or("", |server| server.as_str());
        let (emitter, kind) = (emitter.as_str(), kind.as_str());
        let entry = json!({
            "node": null, "server": server, "emitter": emitter, "kind": kind, "count": number,
        });
        (format!("{emitter} {kind} {server}"), entry)
    };
    (counted.into_iter().map(entry).collect(), left_out)
}

/// What nodes say of theirs, and how many kinds there are beyond these. A node that tells little
/// leaves its share to the others; of each, what came most often is shown. Their words are foreign.
fn errors_of_nodes(told: &[(NodeId, ErrorReport)], most: usize) -> (Vec<(String, Value)>, usize) {
    let mut nodes: BTreeMap<&NodeId, Vec<&ErrorReport>> = BTreeMap::new();
    for (node, error) in told {
        nodes.entry(node).or_default().push(error);
    }
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_by_key(|(_, errors)| errors.len());
    let (mut shown, mut left) = (Vec::new(), nodes.len());
    for (node, mut errors) in nodes {
        let share = (most - shown.len()) / left;
        left -= 1;
        errors.sort_by_key(|error| std::cmp::Reverse(error.count));
        errors.truncate(share);
        shown.extend(errors.into_iter().map(|error| of_node(node, error)));
    }
    let left_out = told.len() - shown.len();
    (shown, left_out)
}

fn of_node(node: &NodeId, error: &ErrorReport) -> (String, Value) {
    let [server, emitter, kind] = [&error.server, &error.emitter, &error.kind]
        .map(|word| visible::visible(word, MAX_WORD).to_string());
    let key = format!("{emitter} {kind} {server} {node}");
    let entry = json!({
        "node": node.as_str(), "server": server, "emitter": emitter, "kind": kind,
        "count": error.count,
    });
    (key, entry)
}

/// How much of what is limited is in use, and what has happened at each limit.
pub fn limits(admin: &Admin) -> BTreeMap<String, Value> {
    let mut limits: BTreeMap<&'static str, Limit> = BTreeMap::new();
    let records = admin.records.counts();
    let reading = admin.pressure.reading();
    let (bodies, connections) = (&admin.bodies, &admin.connections);
    for (name, used, most, is_bytes) in [
        ("sessions", admin.bindings.sessions() as u64, admin.bindings.most() as u64, false),
        ("connections", connections.counts.numbers().open, connections.most() as u64, false),
        ("bodiesInMemory", bodies.taken() as u64, bodies.limit() as u64, true),
        ("dataFolder", records.folder_bytes, records.folder_limit, true),
        ("open files", reading.open_files.unwrap_or(0), admin.pressure.most_files(), false),
    ] {
        let used = Some((used, most));
        limits.insert(name, Limit { used, is_bytes, ..Limit::default() });
    }
    let numbers = connections.counts.numbers();
    limits.entry("connections").or_default().add(numbers.refused, numbers.evicted);
    limits.entry("bodiesInMemory").or_default().add(bodies.refused(), 0);
    limits.entry("dataFolder").or_default().add(0, records.dropped + records.ended_dropped);
    for met in metrics::limits_met(admin) {
        limits.entry(met.name()).or_default().add(met.refused(), met.gave_way());
    }
    limits.into_iter().map(|(name, limit)| (name.to_owned(), limit.shown(name))).collect()
}

#[derive(Default)]
struct Limit {
    /// Now, and at most.
    used: Option<(u64, u64)>,
    is_bytes: bool,
    refused: u64,
    gave_way: u64,
}

impl Limit {
    fn add(&mut self, refused: u64, gave_way: u64) {
        self.refused += refused;
        self.gave_way += gave_way;
    }

    fn shown(&self, name: &str) -> Value {
        json!({
            "name": name,
            "used": self.used.map(|(used, _)| used),
            "most": self.used.map(|(_, most)| most),
            "isBytes": self.is_bytes,
            "refused": self.refused,
            "gaveWay": self.gave_way,
        })
    }
}

/// How many calls and errors there are at this moment.
#[derive(Debug, Default)]
pub struct Rates {
    /// When, calls, errors: of the window, the oldest first.
    looks: VecDeque<(Instant, u64, u64)>,
}

/// In each second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CallRates {
    pub calls: f64,
    pub errors: f64,
}

impl Rates {
    pub fn look(&mut self, admin: &Admin) -> CallRates {
        let calls = admin.telemetry.calls.totals();
        let counts = calls.iter().flat_map(|of| &of.methods).flat_map(|method| &method.outcomes);
        let calls = counts.map(|(_, count)| count).sum();
        let errors = metrics::counted_errors(admin).values().sum();
        self.note(Instant::now(), calls, errors)
    }

    fn note(&mut self, now: Instant, calls: u64, errors: u64) -> CallRates {
        self.looks.push_back((now, calls, errors));
        while self.looks.len() > 2
            && self.looks.front().is_some_and(|(at, ..)| now.duration_since(*at) > WINDOW)
        {
            self.looks.pop_front();
        }
        let Some((began, first_calls, first_errors)) = self.looks.front() else {
            return CallRates::default();
        };
        let seconds = now.duration_since(*began).as_secs_f64();
        let rate = |first: u64, last: u64| match seconds > 0.0 {
            // To a tenth: what changes all the time would be sent all the time.
            true => (last.saturating_sub(first) as f64 / seconds * 10.0).round() / 10.0,
            false => 0.0,
        };
        CallRates { calls: rate(*first_calls, calls), errors: rate(*first_errors, errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_tells_much_leaves_room_for_others_and_its_words_can_be_seen() {
        let told = |node: &str, server: &str, count| {
            let error = ErrorReport {
                server: server.to_owned(),
                emitter: "server".to_owned(),
                kind: "internal".to_owned(),
                count,
            };
            (NodeId::parse(node).unwrap(), error)
        };
        let mut all: Vec<_> =
            (0..100).map(|number| told("a", &format!("s{number}"), u64::MAX - number)).collect();
        all.push(told("b", "x\u{1b}[2J\u{202e}", 1));
        let of = |shown: &[(String, Value)], node: &str| {
            let counts = shown.iter().filter(|(_, entry)| entry["node"] == node);
            counts
                .map(|(_, entry)| entry["server"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let (shown, left_out) = errors_of_nodes(&all, 5);
        assert_eq!(
            (of(&shown, "a"), left_out),
            (["s0", "s1", "s2", "s3"].map(Into::into).into(), 96)
        );
        let [server] = &*of(&shown, "b") else { panic!("{shown:?}") };
        assert!(!server.contains(['\u{1b}', '\u{202e}']), "{server:?}");
        let (shown, left_out) = errors_of_nodes(&all, 1000);
        assert_eq!((of(&shown, "a").len(), left_out), (100, 0), "what has room is whole");
        assert!(errors_of_nodes(&[], 10).0.is_empty());
        let long = told("c", &"x".repeat(100_000), 1);
        assert!(errors_of_nodes(&[long], 10).0[0].0.len() < 400);
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let (mut rates, began) = (Rates::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(rates.note(began, 1000, 10), CallRates::default());
        assert_eq!(rates.note(after(2), 1050, 11), CallRates { calls: 25.0, errors: 0.5 });
        for second in 3..=40 {
            rates.note(after(second), 1050, 11);
        }
        assert_eq!(rates.note(after(41), 1050, 11), CallRates::default());
        assert!(rates.looks.len() <= 12, "{}", rates.looks.len());
        // After a long pause the last look is what there is to compare with.
        assert_eq!(rates.note(after(141), 1150, 11), CallRates { calls: 1.0, errors: 0.0 });
    }
}
