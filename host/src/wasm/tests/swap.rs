use std::sync::atomic::{AtomicBool, Ordering};

use super::super::{DecidedBy, Reason};
use super::*;

#[test]
fn plugins_and_topologies_are_swapped_under_load_without_a_failed_decision() {
    let strategy =
        Strategy::load(&Source::Builtin(Builtin::ConsistentHash), CONFIG, &options(2)).unwrap();
    strategy.publish(topology(4));
    let stop = AtomicBool::new(false);
    let decide = |worker: usize| {
        let (strategy, mut number) = (strategy.clone(), 0_u64);
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let choice = strategy.choose(&Question {
                worker,
                server: "files",
                plan: &strategy.plan(),
                inputs: &[Some(&format!("{worker}-{number}"))],
                affinity: None,
                seed: number,
                loads: None,
                excluded: &[],
            });
            let choice = choice.expect("there is always a node");
            assert_eq!(choice.decided_by, DecidedBy::Plugin);
        }
        number
    };
    let decisions: u64 = std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| scope.spawn(move || decide(worker)));
        for round in 0..6 {
            let builtin = Builtin::ALL[round % 3];
            strategy.replace(&Source::Builtin(builtin), CONFIG, &options(1)).unwrap();
            for nodes in 3..13 {
                strategy.publish(topology(nodes));
            }
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let stats = strategy.stats();
    assert_eq!(stats.decisions, decisions);
    assert_eq!(stats.all_fallbacks(), 0);
    assert_eq!(stats.replaced, 0);
}

#[test]
fn a_plugin_that_is_refused_leaves_the_old_one_serving() {
    let strategy = consistent_hash();
    strategy.publish(topology(3));
    let before = ask(&strategy, "s");
    strategy.replace(&faulty("traps-always"), CONFIG, &options(1)).unwrap_err();
    assert_eq!(strategy.name(), "consistent-hash");
    assert_eq!(ask(&strategy, "s"), before);
}

#[test]
fn a_swapped_plugin_decides_by_the_topology_that_was_there() {
    let strategy = consistent_hash();
    strategy.publish(topology(3));
    strategy.replace(&Source::Builtin(Builtin::Cookie), CONFIG, &options(1)).unwrap();
    assert_eq!(strategy.name(), "cookie");
    assert_eq!(strategy.topology().nodes.len(), 3);
    assert_eq!(ask(&strategy, "s").unwrap().decided_by, DecidedBy::Plugin);
}

#[test]
fn many_topologies_in_a_row_do_not_use_up_the_slots() {
    let strategy = consistent_hash();
    for generation in 0..100 {
        let mut next = Topology::clone(&topology(3));
        next.generation = generation;
        strategy.publish(Arc::new(next));
        let choice = ask(&strategy, "s").unwrap();
        assert_eq!(choice.decided_by, DecidedBy::Plugin, "{generation}");
    }
    assert_eq!(strategy.stats().fallbacks_for(Reason::UpdateRefused), 0);
}
