//! What `cookie` and `header` make of the node that a client brings.

mod support;

use mooring_strategies::{
    AffinityAction, Carrier, ConsistentHash, Cookie, Decision, Header, Health, Input, Plan,
    RouteError, Strategy, Topology,
};
use support::{Ask, ask, healthy, node, strategy, topology, uuids};

fn kept(node: u32) -> Result<Decision, RouteError> {
    let affinity = AffinityAction::Keep;
    Ok(Decision { node, affinity })
}

/// Both strategies answer alike, so what holds for one is checked for both.
fn both(topology: &Topology, asked: Ask<'_>) -> Result<Decision, RouteError> {
    let cookie = asked.of(&strategy::<Cookie>(topology));
    assert_eq!(cookie, asked.of(&strategy::<Header>(topology)));
    cookie
}

#[test]
fn the_named_node_is_kept_while_it_can_serve() {
    let nodes = vec![
        node("a", Health::Healthy, 0),
        node("b", Health::Degraded, 0),
        node("c", Health::Healthy, 5),
    ];
    let topology = topology(nodes, &[1]);
    for named in 0..3 {
        let asked = Ask {
            affinity: Some(named),
            ..ask("one")
        };
        assert_eq!(both(&topology, asked), kept(named));
    }
}

#[test]
fn a_client_without_a_node_is_pinned_to_its_sessions_own() {
    let topology = topology(healthy(5), &[1, 2]);
    for session in uuids(100) {
        let pinned = both(&topology, ask(&session)).unwrap();
        assert_eq!(pinned.affinity, AffinityAction::Pin);
        let hashed = ask(&session).of(&strategy::<ConsistentHash>(&topology));
        assert_eq!(hashed.unwrap().node, pinned.node);
    }
}

#[test]
fn a_node_that_cannot_serve_is_replaced_and_the_client_told() {
    for health in [Health::Draining, Health::Unhealthy] {
        let mut nodes = healthy(4);
        nodes[1].health = health;
        let topology = topology(nodes, &[1]);
        let asked = Ask {
            affinity: Some(1),
            ..ask("one")
        };
        let decision = both(&topology, asked).unwrap();
        assert_ne!(decision.node, 1);
        assert_eq!(decision.affinity, AffinityAction::Pin);
        assert_eq!(Ok(decision), both(&topology, ask("one")));
    }
}

#[test]
fn a_node_that_does_not_host_the_server_or_exist_is_replaced() {
    let mut topology = topology(healthy(4), &[1]);
    topology.servers[0].replicas.remove(1);
    for named in [1, 99] {
        let asked = Ask {
            affinity: Some(named),
            ..ask("one")
        };
        assert_eq!(both(&topology, asked), both(&topology, ask("one")));
    }
}

#[test]
fn attempts_meet_the_named_node_first_and_every_other_once() {
    let mut nodes = healthy(5);
    nodes[4].health = Health::Degraded;
    let topology = topology(nodes, &[1, 3]);
    for session in uuids(50) {
        for named in 0..5 {
            let order: Vec<_> = (0..5)
                .map(|attempt| {
                    let affinity = Some(named);
                    both(
                        &topology,
                        Ask {
                            affinity,
                            attempt,
                            ..ask(&session)
                        },
                    )
                    .unwrap()
                })
                .collect();
            assert_eq!(Ok(order[0]), kept(named));
            assert!(order[1..].iter().all(|d| d.affinity == AffinityAction::Pin));
            let mut met: Vec<_> = order.iter().map(|d| d.node).collect();
            met.sort_unstable();
            assert_eq!(met, [0, 1, 2, 3, 4]);

            let sixth = Ask {
                affinity: Some(named),
                attempt: 5,
                ..ask(&session)
            };
            assert_eq!(both(&topology, sixth), Err(RouteError::NoCandidate));
        }
    }
}

#[test]
fn without_a_session_a_new_client_is_spread_by_the_seed() {
    let topology = topology(healthy(2), &[1]);
    let pins = (0..1000).filter(|seed| {
        let asked = Ask {
            seed: *seed,
            ..Ask::default()
        };
        both(&topology, asked).unwrap().node == 0
    });
    let count = pins.count();
    assert!((450..=550).contains(&count), "{count} of 1000");
}

#[test]
fn each_strategy_says_how_its_affinity_travels() {
    let config = r#"{"cookieName":"seat","headerName":"X-Seat","affinityTimeout":5000}"#;
    let plan = |carrier| Plan {
        inputs: vec![Input::SessionId],
        carrier,
        affinity_ttl_seconds: 5,
        wants_loads: false,
    };
    let of = |plan: Result<Plan, String>| plan.unwrap();
    let cookie = of(Cookie::configure(config).map(|(_, plan)| plan));
    assert_eq!(cookie, plan(Carrier::Cookie("seat".to_owned())));
    let header = of(Header::configure(config).map(|(_, plan)| plan));
    assert_eq!(header, plan(Carrier::Header("X-Seat".to_owned())));
    let hash = of(ConsistentHash::configure(config).map(|(_, plan)| plan));
    assert_eq!(hash, plan(Carrier::Session));
}

#[test]
fn a_wrong_configuration_refuses_the_strategy() {
    let error = Cookie::configure(r#"{"cookieName":"a b"}"#).unwrap_err();
    assert!(
        error.contains("stickySession.cookieName must not contain ' '"),
        "{error}"
    );
}
