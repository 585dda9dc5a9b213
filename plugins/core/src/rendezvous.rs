//! Weighted rendezvous hashing.
//!
//! Every node draws a number for every key, and the highest number wins. A node
//! that comes or goes changes only its own draws, so only its own share of the
//! keys moves: `1/n`, which no scheme can beat. A ring with virtual nodes moves
//! as little, but spreads a pair of nodes as badly as 45 to 55; the draws of a
//! pair are a fair coin.
//!
//! The draw of a key is a 64-bit hash of (key, node id). With unequal weights
//! it becomes a score, `weight / -ln(u)` with `u` the hash as a number between
//! 0 and 1: a node of weight 2 wins twice as often as one of weight 1, and
//! raising a weight moves keys only towards that node.
//!
//! Candidates are grouped by what matters more than any draw. Healthy nodes
//! come before degraded ones, and within each the lower `priority` comes first;
//! draining and unhealthy nodes are no candidates. A retry goes on within its
//! group and then to the next one, so it meets each candidate exactly once.

use std::cmp::{Ordering, Reverse};
use std::ops::Range;

use xxhash_rust::xxh64::xxh64;

use crate::vocabulary::{Health, Node, Replica, Topology};

/// A topology, prepared for choosing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendezvous {
    /// By position in [`Topology::servers`].
    servers: Vec<Candidates>,
}

impl Rendezvous {
    /// Fails if two nodes have one id, or a replica names a node that does not exist.
    pub fn build(topology: &Topology) -> Result<Self, String> {
        let id_hashes = hash_ids(&topology.nodes)?;
        let mut servers = Vec::with_capacity(topology.servers.len());
        for server in &topology.servers {
            let candidates = Candidates::build(&topology.nodes, &id_hashes, &server.replicas)
                .map_err(|problem| format!("server \"{}\": {problem}", server.name))?;
            servers.push(candidates);
        }
        Ok(Self { servers })
    }

    /// The node in place `rank` of the key's order, 0 being the best. `without`
    /// is left out of the order.
    pub fn choose(&self, server: u32, key: Key, rank: u32, without: Option<u32>) -> Option<u32> {
        self.candidates(server)?.choose(key, rank, without)
    }

    /// Whether the node hosts the server and may take a session.
    pub fn accepts(&self, server: u32, node: u32) -> bool {
        self.candidates(server)
            .is_some_and(|candidates| candidates.all.iter().any(|c| c.node == node))
    }

    fn candidates(&self, server: u32) -> Option<&Candidates> {
        self.servers.get(usize::try_from(server).ok()?)
    }
}

/// Keys and nodes are hashed apart, so that a key spelled like a node's id is
/// nothing special. Changing one of these moves every session.
const KEY_SEED: u64 = 0;
const NODE_SEED: u64 = 1;

/// What is hashed against the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The same text goes to the same node for as long as it is there.
    pub fn sticky(text: &str) -> Self {
        Self(xxh64(text.as_bytes(), KEY_SEED))
    }

    /// A key for a request that no later one has to follow.
    pub fn fleeting(seed: u64) -> Self {
        Self(mix(seed))
    }
}

/// The nodes of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidates {
    /// By group.
    all: Vec<Candidate>,
    groups: Vec<Group>,
}

/// Candidates among which only the draws decide.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    members: Range<usize>,
    weights: Weights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weights {
    /// The draws decide as they are.
    Equal,
    Unequal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    /// No two are equal, and so no two draws for one key: there are no ties.
    id_hash: u64,
    node: u32,
    weight: u32,
}

impl Candidates {
    fn build(nodes: &[Node], id_hashes: &[u64], replicas: &[Replica]) -> Result<Self, String> {
        let mut usable = Vec::with_capacity(replicas.len());
        for replica in replicas {
            let index = usize::try_from(replica.node).ok();
            let node = index.and_then(|index| nodes.get(index).zip(id_hashes.get(index)));
            let Some((node, id_hash)) = node else {
                return Err(format!(
                    "a replica names node {}, which is not there",
                    replica.node
                ));
            };
            let candidate = Candidate {
                id_hash: *id_hash,
                node: replica.node,
                // 0 would never be chosen; the contract's least weight is 1.
                weight: replica.weight.max(1),
            };
            usable.extend(Class::of(node).map(|class| (class, candidate)));
        }
        // A node that is listed twice counts once, with its highest weight.
        usable.sort_unstable_by_key(|(class, c)| (*class, c.node, Reverse(c.weight)));
        usable.dedup_by_key(|(_, candidate)| candidate.node);

        let mut groups = Vec::new();
        let mut start = 0;
        for peers in usable.chunk_by(|(a, _), (b, _)| a == b) {
            let members = start..start + peers.len();
            start = members.end;
            let equal = peers
                .windows(2)
                .all(|pair| pair[0].1.weight == pair[1].1.weight);
            let weights = if equal {
                Weights::Equal
            } else {
                Weights::Unequal
            };
            groups.push(Group { members, weights });
        }
        let all = usable.into_iter().map(|(_, candidate)| candidate).collect();
        Ok(Self { all, groups })
    }

    fn choose(&self, key: Key, rank: u32, without: Option<u32>) -> Option<u32> {
        let mut rank = usize::try_from(rank).ok()?;
        for group in &self.groups {
            let members = &self.all[group.members.clone()];
            let others = members.iter().filter(|c| Some(c.node) != without);
            let count = others.clone().count();
            if rank < count {
                let chosen = match (rank, group.weights) {
                    (0, Weights::Equal) => others.max_by_key(|c| c.draw(key)),
                    _ => in_place(rank, others, key, group.weights),
                };
                return chosen.map(|candidate| candidate.node);
            }
            rank -= count;
        }
        None
    }
}

/// The candidate in this place from the top.
fn in_place<'a>(
    rank: usize,
    candidates: impl Iterator<Item = &'a Candidate>,
    key: Key,
    weights: Weights,
) -> Option<&'a Candidate> {
    let scored = candidates.map(|candidate| (candidate.score(key, weights), candidate));
    let (_, candidate) = if rank == 0 {
        scored.max_by(|(a, _), (b, _)| a.compare(b))?
    } else {
        let mut order: Vec<_> = scored.collect();
        order.sort_unstable_by(|(a, _), (b, _)| b.compare(a));
        order.into_iter().nth(rank)?
    };
    Some(candidate)
}

impl Candidate {
    fn draw(&self, key: Key) -> u64 {
        mix(key.0 ^ self.id_hash)
    }

    fn score(&self, key: Key, weights: Weights) -> Score {
        let draw = self.draw(key);
        let value = match weights {
            Weights::Equal => 0.0,
            Weights::Unequal => weigh(draw, self.weight),
        };
        Score { value, draw }
    }
}

/// Compared by value, then by draw.
struct Score {
    value: f64,
    draw: u64,
}

impl Score {
    fn compare(&self, other: &Self) -> Ordering {
        let by_value = self.value.total_cmp(&other.value);
        by_value.then(self.draw.cmp(&other.draw))
    }
}

/// Bits of a draw that make up `u`. Few enough that the logarithms of two
/// different `u` differ by far more than their rounding error: scores of equal
/// weight are never in another order than their draws, and a group may change
/// between equal and unequal weights without moving a key that need not move.
const U_BITS: u32 = 40;

#[expect(
    clippy::cast_precision_loss,
    reason = "40 bits and a half fit a mantissa of 53"
)]
fn weigh(draw: u64, weight: u32) -> f64 {
    let steps = (1_u64 << U_BITS) as f64;
    let u = ((draw >> (u64::BITS - U_BITS)) as f64 + 0.5) / steps;
    f64::from(weight) / -libm::log(u)
}

/// What counts before any draw; the smallest class is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    last_resort: bool,
    priority: u32,
}

impl Class {
    fn of(node: &Node) -> Option<Self> {
        let last_resort = match node.health {
            Health::Healthy => false,
            Health::Degraded => true,
            Health::Draining | Health::Unhealthy => return None,
        };
        Some(Self {
            last_resort,
            priority: node.priority,
        })
    }
}

/// Fails if two nodes have the same hash, and so the same draws.
fn hash_ids(nodes: &[Node]) -> Result<Vec<u64>, String> {
    let hash = |node: &Node| xxh64(node.id.as_bytes(), NODE_SEED);
    let hashes: Vec<_> = nodes.iter().map(hash).collect();
    let mut sorted = hashes.clone();
    sorted.sort_unstable();
    let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) else {
        return Ok(hashes);
    };
    let node = nodes.iter().find(|node| hash(node) == twice[0]);
    let id = node.map_or("", |node| &node.id);
    Err(format!("two nodes have the id \"{id}\""))
}

/// Spreads every bit over all others, and maps no two numbers to one: the
/// finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
