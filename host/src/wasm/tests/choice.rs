use super::super::vocabulary::{AffinityAction, Health};
use super::super::{DecidedBy, Reason};
use super::*;

#[test]
fn a_session_stays_on_its_node_and_sessions_spread() {
    let strategy = consistent_hash();
    strategy.publish(topology(4));
    let mut seen = std::collections::BTreeMap::new();
    for number in 0..400 {
        let session = format!("session-{number}");
        let choice = ask(&strategy, &session).unwrap();
        assert_eq!(choice.decided_by, DecidedBy::Plugin);
        assert_eq!(ask(&strategy, &session), Some(choice.clone()));
        *seen.entry(choice.node).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.values().all(|count| *count > 60), "{seen:?}");
    assert_eq!(strategy.stats().decisions, 800);
    assert_eq!(strategy.stats().all_fallbacks(), 0);
}

#[test]
fn before_the_first_topology_there_is_no_candidate() {
    let strategy = consistent_hash();
    assert_eq!(ask(&strategy, "s"), None);
    assert_eq!(strategy.stats().unanswered, 1);
}

#[test]
fn an_unknown_server_has_no_candidate() {
    let strategy = consistent_hash();
    strategy.publish(Arc::new(Topology::default()));
    assert_eq!(ask(&strategy, "s"), None);
}

#[test]
fn excluded_nodes_are_passed_over_until_none_is_left() {
    let strategy = consistent_hash();
    strategy.publish(topology(3));
    let first = ask(&strategy, "s").unwrap().node;
    let second = ask_without(&strategy, "s", &[&first]).unwrap();
    assert_eq!(second.decided_by, DecidedBy::Plugin);
    assert_ne!(second.node, first);
    let third = ask_without(&strategy, "s", &[&first, &second.node]).unwrap().node;
    assert_ne!(third, first);
    assert_ne!(third, second.node);
    assert_eq!(ask_without(&strategy, "s", &["a", "b", "c"]), None);
}

#[test]
fn a_node_that_drains_or_is_down_gets_no_session() {
    let strategy = consistent_hash();
    let mut changed = Topology::clone(&topology(3));
    changed.nodes[0].health = Health::Draining;
    changed.nodes[2].health = Health::Unhealthy;
    strategy.publish(Arc::new(changed));
    for number in 0..50 {
        let choice = ask(&strategy, &format!("s{number}")).unwrap();
        assert_eq!(&*choice.node, "b");
    }
}

#[test]
fn the_clients_own_node_is_kept_and_a_new_one_pinned() {
    let strategy = load(&Source::Builtin(Builtin::Cookie));
    strategy.publish(topology(3));
    let plan = strategy.plan();
    let question = Question {
        worker: 0,
        server: "files",
        plan: &plan,
        inputs: &[Some("s")],
        affinity: Some("b"),
        seed: 0,
        loads: None,
        excluded: &[],
    };
    let kept = strategy.choose(&question).unwrap();
    assert_eq!((&*kept.node, kept.affinity), ("b", AffinityAction::Keep));
    let moved = strategy.choose(&Question { excluded: &["b"], ..question }).unwrap();
    assert_ne!(&*moved.node, "b");
    assert_eq!(moved.affinity, AffinityAction::Pin);
    let gone = strategy.choose(&Question { affinity: Some("left long ago"), ..question }).unwrap();
    assert_eq!(gone.affinity, AffinityAction::Pin);
}

#[test]
fn inputs_gathered_for_another_plan_are_put_in_order() {
    let strategy = consistent_hash();
    strategy.publish(topology(5));
    let mut other = super::super::vocabulary::Plan::clone(&strategy.plan());
    other.inputs.insert(0, super::super::vocabulary::Input::RpcMethod);
    let choice = strategy.choose(&Question {
        worker: 0,
        server: "files",
        plan: &Arc::new(other),
        inputs: &[Some("tools/call"), Some("s")],
        affinity: None,
        seed: 7,
        loads: None,
        excluded: &[],
    });
    assert_eq!(choice, ask(&strategy, "s"));
}

#[test]
fn a_worker_beyond_the_last_shares_an_others_instances() {
    let strategy = consistent_hash();
    strategy.publish(topology(3));
    let choice = strategy.choose(&Question {
        worker: 17,
        server: "files",
        plan: &strategy.plan(),
        inputs: &[Some("s")],
        affinity: None,
        seed: 7,
        loads: None,
        excluded: &[],
    });
    assert_eq!(choice, ask(&strategy, "s"));
}

#[test]
fn without_a_session_any_node_is_as_good() {
    let strategy = consistent_hash();
    strategy.publish(topology(4));
    let plan = strategy.plan();
    let ask = |seed| {
        let question = Question {
            worker: 0,
            server: "files",
            plan: &plan,
            inputs: &[None],
            affinity: None,
            seed,
            loads: None,
            excluded: &[],
        };
        strategy.choose(&question).unwrap().node
    };
    let nodes: std::collections::BTreeSet<_> = (0..100).map(ask).collect();
    assert_eq!(nodes.len(), 4);
}

#[test]
fn a_topology_that_contradicts_itself_is_ignored() {
    let strategy = consistent_hash();
    strategy.publish(topology(2));
    let mut twice = Topology::clone(&topology(2));
    twice.nodes[1].id = "a".to_owned();
    twice.generation = 2;
    strategy.publish(Arc::new(twice));
    assert_eq!(strategy.topology().generation, 1);
    assert_eq!(ask(&strategy, "s").unwrap().decided_by, DecidedBy::Plugin);
}

#[test]
fn a_weight_out_of_bounds_is_clamped() {
    let strategy = consistent_hash();
    let mut heavy = Topology::clone(&topology(2));
    heavy.servers[0].replicas[0].weight = 0;
    heavy.servers[0].replicas[1].weight = 5000;
    strategy.publish(Arc::new(heavy));
    let weights: Vec<u32> =
        strategy.topology().servers[0].replicas.iter().map(|replica| replica.weight).collect();
    assert_eq!(weights, [1, 1000]);
    assert_eq!(ask(&strategy, "s").unwrap().decided_by, DecidedBy::Plugin);
    assert_eq!(strategy.stats().fallbacks_for(Reason::UpdateRefused), 0);
}
