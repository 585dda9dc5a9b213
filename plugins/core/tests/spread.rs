//! Which node a session goes to, and how few sessions move.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use mooring_strategies::{
    AffinityAction, ConsistentHash, Health, Replica, RouteError, Server, Strategy, Topology,
};
use support::{Ask, ask, healthy, home, node, strategy, topology, uuids};

const HEALTHY: Health = Health::Healthy;
const DEGRADED: Health = Health::Degraded;
const DRAINING: Health = Health::Draining;
const UNHEALTHY: Health = Health::Unhealthy;

fn hash(topology: &Topology) -> ConsistentHash {
    strategy(topology)
}

/// The node of each session, for this number of sessions.
fn homes(topology: &Topology, sessions: u64) -> Vec<String> {
    let strategy = hash(topology);
    let home = |session: String| home(&strategy, topology, &session).to_owned();
    uuids(sessions).map(home).collect()
}

fn counts(homes: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for home in homes {
        *counts.entry(home.as_str()).or_default() += 1;
    }
    counts
}

#[test]
fn a_session_always_goes_to_the_same_node() {
    let topology = topology(healthy(5), &[1]);
    assert_eq!(homes(&topology, 200), homes(&topology, 200));
    let strategy = hash(&topology);
    for seed in 0..50 {
        let asked = Ask { seed, ..ask("one") };
        assert_eq!(asked.of(&strategy), ask("one").of(&strategy));
    }
}

#[test]
fn the_clients_affinity_is_left_alone() {
    let strategy = hash(&topology(healthy(3), &[1]));
    for affinity in [None, Some(0), Some(1), Some(99)] {
        let decision = Ask {
            affinity,
            ..ask("one")
        }
        .of(&strategy)
        .unwrap();
        assert_eq!(decision.affinity, AffinityAction::Keep);
        assert_eq!(decision, ask("one").of(&strategy).unwrap());
    }
}

#[test]
fn a_thousand_sessions_split_evenly_over_nearly_every_pair() {
    // A fair coin thrown a thousand times leaves 45..55 % once in 630.
    let uneven = (0..1000).filter(|pair| {
        let names = [format!("10.0.0.{pair}"), format!("worker-{pair}")];
        let nodes = names.iter().map(|id| node(id, HEALTHY, 0)).collect();
        let homes = homes(&topology(nodes, &[1]), 1000);
        let first = homes.iter().filter(|home| **home == names[0]).count();
        !(450..=550).contains(&first)
    });
    let uneven = uneven.count();
    assert!(uneven <= 6, "{uneven} of 1000 pairs");
}

#[test]
fn ten_nodes_get_a_tenth_each() {
    let homes = homes(&topology(healthy(10), &[7]), 20_000);
    for (id, count) in counts(&homes) {
        assert!((1800..=2200).contains(&count), "{id} has {count} of 20000");
    }
}

#[test]
fn weights_are_shares() {
    let homes = homes(&topology(healthy(4), &[1, 2, 3, 4]), 20_000);
    for (index, (id, count)) in counts(&homes).into_iter().enumerate() {
        let fair = 2000 * (index + 1);
        let near = fair * 92 / 100..=fair * 108 / 100;
        assert!(near.contains(&count), "{id} has {count}, fair is {fair}");
    }
}

#[test]
fn extreme_weights_are_shares_too() {
    let homes = homes(&topology(healthy(2), &[1, 1000]), 20_000);
    let light = counts(&homes)["node-0"];
    assert!((5..=45).contains(&light), "{light} of 20000, fair is 20");
}

#[test]
fn a_new_node_takes_its_share_and_moves_nothing_else() {
    for count in [1, 2, 3, 10, 50] {
        let before = homes(&topology(healthy(count), &[1]), 2000);
        let after = homes(&topology(healthy(count + 1), &[1]), 2000);
        let newcomer = format!("node-{count}");
        let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
        assert!(moved.iter().all(|(_, to)| **to == newcomer));
        assert!(
            moved.len() * (count + 1) * 2 <= 2000 * 3,
            "{} moved",
            moved.len()
        );
    }
}

#[test]
fn a_node_that_leaves_moves_only_its_own_sessions() {
    for weights in [&[1_u32][..], &[1, 5, 2, 9, 3]] {
        let full = topology(healthy(5), weights);
        let mut less = full.clone();
        less.servers[0].replicas.remove(2);
        for (before, after) in homes(&full, 2000).iter().zip(homes(&less, 2000)) {
            assert_eq!(before == "node-2", *before != after);
        }
    }
}

#[test]
fn a_raised_weight_moves_sessions_only_to_that_node() {
    let before = homes(&topology(healthy(4), &[5]), 2000);
    let after = homes(&topology(healthy(4), &[5, 9, 5, 5]), 2000);
    let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert!(!moved.is_empty());
    assert!(moved.iter().all(|(_, to)| *to == "node-1"));
}

#[test]
fn a_scale_of_weights_means_nothing() {
    let small = homes(&topology(healthy(6), &[1]), 500);
    assert_eq!(small, homes(&topology(healthy(6), &[1000]), 500));
}

#[test]
fn equal_and_unequal_weights_agree_among_equals() {
    // One node of another weight makes the group unequal. A session that does not
    // go to that node must be where equal weights would have put it.
    let mut nodes = healthy(6);
    let short = homes(&topology(nodes.clone(), &[3]), 5000);
    nodes.push(node("other", HEALTHY, 0));
    let long = homes(&topology(nodes, &[3, 3, 3, 3, 3, 3, 1]), 5000);
    for (short, long) in short.iter().zip(&long).filter(|(_, long)| *long != "other") {
        assert_eq!(short, long);
    }
}

#[test]
fn the_order_of_nodes_and_replicas_means_nothing() {
    let forward = topology(healthy(7), &[1, 2, 3, 4, 5, 6, 7]);
    let mut backward = forward.clone();
    backward.nodes.reverse();
    for replica in &mut backward.servers[0].replicas {
        replica.node = 6 - replica.node;
    }
    backward.servers[0].replicas.rotate_left(3);
    assert_eq!(homes(&forward, 1000), homes(&backward, 1000));
}

#[test]
fn draining_and_unhealthy_nodes_are_never_chosen() {
    let nodes = vec![
        node("a", HEALTHY, 0),
        node("b", DRAINING, 0),
        node("c", UNHEALTHY, 0),
    ];
    let topology = topology(nodes, &[1]);
    assert!(homes(&topology, 200).iter().all(|home| home == "a"));
    let second = Ask {
        attempt: 1,
        ..ask("one")
    };
    assert_eq!(second.of(&hash(&topology)), Err(RouteError::NoCandidate));
}

#[test]
fn a_degraded_node_serves_only_when_nothing_healthy_is_left() {
    let nodes = vec![node("suspect", DEGRADED, 0), node("sound", HEALTHY, 9)];
    assert!(
        homes(&topology(nodes, &[1]), 200)
            .iter()
            .all(|home| home == "sound")
    );
    let nodes = vec![node("suspect", DEGRADED, 0), node("gone", UNHEALTHY, 0)];
    assert!(
        homes(&topology(nodes, &[1]), 200)
            .iter()
            .all(|home| home == "suspect")
    );
}

#[test]
fn a_higher_tier_serves_only_when_the_lower_has_nothing_healthy() {
    let tiers = |first: Health| {
        let nodes = vec![
            node("a", first, 0),
            node("b", HEALTHY, 1),
            node("c", HEALTHY, 2),
        ];
        homes(&topology(nodes, &[1]), 100)
    };
    assert!(tiers(HEALTHY).iter().all(|home| home == "a"));
    assert!(tiers(DRAINING).iter().all(|home| home == "b"));
    assert!(tiers(DEGRADED).iter().all(|home| home == "b"));
}

/// Every node of the server in the order of the attempts.
fn attempts(topology: &Topology, asked: Ask<'_>) -> Vec<String> {
    let strategy = hash(topology);
    let asked = (0..).map(|attempt| Ask { attempt, ..asked }.of(&strategy));
    let chosen = asked.map_while(|answer| match answer {
        Ok(decision) => Some(topology.nodes[decision.node as usize].id.clone()),
        Err(error) => {
            assert_eq!(error, RouteError::NoCandidate);
            None
        }
    });
    chosen.collect()
}

#[test]
fn attempts_meet_each_candidate_once_the_best_first() {
    let nodes = vec![
        node("late", DEGRADED, 0),
        node("a", HEALTHY, 0),
        node("off", DRAINING, 0),
        node("b", HEALTHY, 0),
        node("spare", HEALTHY, 1),
        node("last", DEGRADED, 1),
        node("c", HEALTHY, 0),
    ];
    for weights in [&[1_u32][..], &[4, 1, 7]] {
        let topology = topology(nodes.clone(), weights);
        for session in uuids(100) {
            let order = attempts(&topology, ask(&session));
            let first: BTreeSet<_> = order[..3].iter().map(String::as_str).collect();
            assert_eq!(first, BTreeSet::from(["a", "b", "c"]));
            assert_eq!(order[3..], ["spare", "late", "last"]);
            assert_eq!(order[0], home(&hash(&topology), &topology, &session));
        }
    }
}

#[test]
fn a_second_attempt_is_where_the_session_goes_when_the_node_is_gone() {
    let full = topology(healthy(5), &[1, 2, 3, 4, 5]);
    for session in uuids(200) {
        let order = attempts(&full, ask(&session));
        let mut less = full.clone();
        let lost = less.nodes.iter_mut().find(|node| node.id == order[0]);
        lost.unwrap().health = UNHEALTHY;
        assert_eq!(home(&hash(&less), &less, &session), order[1]);
    }
}

#[test]
fn without_a_session_the_seed_decides() {
    let topology = topology(healthy(4), &[1]);
    let strategy = hash(&topology);
    let mut met = [0_u32; 4];
    for seed in 0..4000 {
        let asked = Ask {
            seed,
            ..Ask::default()
        };
        let decision = asked.of(&strategy).unwrap();
        assert_eq!(asked.of(&strategy), Ok(decision));
        met[decision.node as usize] += 1;
    }
    assert!(
        met.iter().all(|count| (900..=1100).contains(count)),
        "{met:?}"
    );
}

#[test]
fn each_server_is_routed_among_its_own_replicas() {
    let mut topology = topology(healthy(3), &[1]);
    topology.servers.push(Server {
        name: "amap".to_owned(),
        replicas: vec![Replica { node: 2, weight: 1 }],
    });
    let strategy = hash(&topology);
    for session in uuids(50) {
        let asked = Ask {
            server: 1,
            ..ask(&session)
        };
        assert_eq!(asked.of(&strategy).unwrap().node, 2);
    }
    let nowhere = Ask {
        server: 2,
        ..ask("one")
    };
    assert_eq!(nowhere.of(&strategy), Err(RouteError::NoCandidate));
}

#[test]
fn a_session_has_one_home_for_all_servers_that_live_there() {
    let mut topology = topology(healthy(4), &[1]);
    topology.servers.push(topology.servers[0].clone());
    let strategy = hash(&topology);
    for session in uuids(50) {
        let other = Ask {
            server: 1,
            ..ask(&session)
        };
        assert_eq!(ask(&session).of(&strategy), other.of(&strategy));
    }
}

#[test]
fn before_a_topology_and_without_nodes_there_is_no_candidate() {
    let (strategy, _) = ConsistentHash::configure("{}").unwrap();
    assert_eq!(ask("one").of(&strategy), Err(RouteError::NoCandidate));
    let strategy = hash(&topology(Vec::new(), &[1]));
    assert_eq!(ask("one").of(&strategy), Err(RouteError::NoCandidate));
}

#[test]
fn a_replica_listed_twice_is_one_candidate() {
    let mut topology = topology(healthy(3), &[1, 2, 3]);
    let again = Replica { node: 1, weight: 1 };
    let before = homes(&topology, 200);
    topology.servers[0].replicas.insert(0, again);
    assert_eq!(homes(&topology, 200), before);
    assert_eq!(attempts(&topology, ask("one")).len(), 3);
}

#[test]
fn a_contradictory_topology_is_refused_and_the_old_one_stays() {
    let sound = topology(healthy(3), &[1]);
    let mut strategy = hash(&sound);
    let expected = ask("one").of(&strategy);

    let mut twins = sound.clone();
    twins.nodes[2].id = "node-0".to_owned();
    assert_eq!(
        strategy.update(&twins),
        Err("two nodes have the id \"node-0\"".to_owned())
    );

    let mut beyond = sound;
    beyond.servers[0].replicas[0].node = 3;
    let error = strategy.update(&beyond).unwrap_err();
    assert_eq!(
        error,
        "server \"playwright\": a replica names node 3, which is not there"
    );

    assert_eq!(ask("one").of(&strategy), expected);
}
