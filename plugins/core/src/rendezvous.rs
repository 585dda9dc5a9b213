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

use std::cmp::Ordering;
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
    /// Fails if the topology contradicts itself.
    pub fn build(topology: &Topology) -> Result<Self, String> {
        check_ids(&topology.nodes)?;
        let servers = topology.servers.iter();
        let servers = servers.map(|server| {
            Candidates::build(&topology.nodes, &server.replicas)
                .map_err(|problem| format!("server \"{}\": {problem}", server.name))
        });
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
        })
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

    /// A key for something that never comes back.
    pub fn fleeting(seed: u64) -> Self {
        Self(mix(seed))
    }
}

/// The nodes of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidates {
    /// By group, then by node id: that a tie is broken by the first makes the
    /// order of the topology irrelevant.
    all: Vec<Candidate>,
    groups: Vec<Group>,
}

/// Candidates that only their draws tell apart.
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
    id_hash: u64,
    node: u32,
    weight: u32,
}

impl Candidates {
    fn build(nodes: &[Node], replicas: &[Replica]) -> Result<Self, String> {
        let mut usable = Vec::with_capacity(replicas.len());
        for replica in replicas {
            let node = usize::try_from(replica.node)
                .ok()
                .and_then(|index| nodes.get(index))
                .ok_or_else(|| {
                    format!("a replica names node {}, which is not there", replica.node)
                })?;
            if let Some(class) = Class::of(node) {
                usable.push((class, node.id.as_str(), replica));
            }
        }
        // A node that is listed twice counts once, with its highest weight.
        usable.sort_by_key(|(class, id, replica)| (*class, *id, std::cmp::Reverse(replica.weight)));
        usable.dedup_by_key(|(_, _, replica)| replica.node);

        let mut groups = Vec::new();
        let mut start = 0;
        for peers in usable.chunk_by(|(a, ..), (b, ..)| a == b) {
            let equal = peers
                .windows(2)
                .all(|pair| pair[0].2.weight == pair[1].2.weight);
            let members = start..start + peers.len();
            start = members.end;
            let weights = if equal {
                Weights::Equal
            } else {
                Weights::Unequal
            };
            groups.push(Group { members, weights });
        }
        let all = usable.into_iter().map(|(_, id, replica)| Candidate {
            id_hash: xxh64(id.as_bytes(), NODE_SEED),
            node: replica.node,
            // 0 would never be chosen; the contract's least weight is 1.
            weight: replica.weight.max(1),
        });
        Ok(Self {
            all: all.collect(),
            groups,
        })
    }

    fn choose(&self, key: Key, rank: u32, without: Option<u32>) -> Option<u32> {
        let mut rank = usize::try_from(rank).ok()?;
        for group in &self.groups {
            let members = &self.all[group.members.clone()];
            let left_out = |candidate: &&Candidate| Some(candidate.node) == without;
            let count = members.len() - members.iter().filter(left_out).count();
            if rank < count {
                return choose_among(members, group.weights, key, rank, without);
            }
            rank -= count;
        }
        None
    }
}

fn choose_among(
    members: &[Candidate],
    weights: Weights,
    key: Key,
    rank: usize,
    without: Option<u32>,
) -> Option<u32> {
    let others = members.iter().filter(|c| Some(c.node) != without);
    let draws = others.map(|candidate| (candidate.draw(key), candidate));
    match weights {
        Weights::Equal => in_place(draws, rank, Ord::cmp),
        Weights::Unequal => {
            let scores = draws.map(|(draw, c)| (Score::of(draw, c.weight), c));
            in_place(scores, rank, Score::compare)
        }
    }
}

/// The node whose value comes in place `rank` from the top.
fn in_place<'a, T>(
    valued: impl Iterator<Item = (T, &'a Candidate)>,
    rank: usize,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Option<u32> {
    let best = if rank == 0 {
        valued.reduce(|best, next| match compare(&next.0, &best.0) {
            Ordering::Greater => next,
            Ordering::Less | Ordering::Equal => best,
        })
    } else {
        let mut order: Vec<_> = valued.collect();
        // Stable, so that a tie is broken as above.
        order.sort_by(|a, b| compare(&b.0, &a.0));
        order.into_iter().nth(rank)
    };
    best.map(|(_, candidate)| candidate.node)
}

impl Candidate {
    fn draw(&self, key: Key) -> u64 {
        mix(key.0 ^ self.id_hash)
    }
}

/// A draw with a weight. Orders equal weights exactly as their draws, so that a
/// group may change between the two ways of choosing without moving a key.
struct Score {
    value: f64,
    draw: u64,
}

impl Score {
    /// Bits of the draw that make up `u`. Few enough that two different values
    /// of `u` differ in their logarithms by far more than its rounding error,
    /// so that the logarithm cannot swap or equate them.
    const BITS: u32 = 40;

    #[expect(
        clippy::cast_precision_loss,
        reason = "40 bits and a half fit a mantissa of 53"
    )]
    fn of(draw: u64, weight: u32) -> Self {
        let steps = (1_u64 << Self::BITS) as f64;
        let u = ((draw >> (u64::BITS - Self::BITS)) as f64 + 0.5) / steps;
        Self {
            value: f64::from(weight) / -libm::log(u),
            draw,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let by_value = self.value.total_cmp(&other.value);
        by_value.then(self.draw.cmp(&other.draw))
    }
}

/// What comes before any draw; the smallest is tried first.
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

fn check_ids(nodes: &[Node]) -> Result<(), String> {
    let mut ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two nodes have the id \"{}\"", pair[0])),
        None => Ok(()),
    }
}

/// Spreads every bit over all others: the finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
