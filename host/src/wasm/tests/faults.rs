use super::super::{DecidedBy, Reason};
use super::*;

/// Every fault costs the plugin one decision; the fallback makes the same one
/// as the sound plugin would have, and the next is the plugin's again.
#[test]
fn a_fault_is_contained_and_answered_by_the_fallback() {
    let sound = consistent_hash();
    sound.publish(topology(5));
    for (name, reasons) in [
        ("traps", &[Reason::Trap][..]),
        ("loops", &[Reason::Deadline]),
        // Touching 16 MiB may take longer than the deadline.
        ("eats-memory", &[Reason::Trap, Reason::Deadline]),
        ("overflows-stack", &[Reason::Trap, Reason::Deadline]),
        ("out-of-range", &[Reason::InvalidAnswer]),
    ] {
        let strategy = load_faulty(name, 5);
        let choice = ask(&strategy, "fault-1").unwrap();
        let DecidedBy::Fallback(reason) = choice.decided_by else {
            panic!("{name}: {choice:?}");
        };
        assert!(reasons.contains(&reason), "{name}: {reason}");
        assert_eq!(choice.node, ask(&sound, "fault-1").unwrap().node, "{name}");
        eventually(name, || {
            let next = ask(&strategy, "sound-1").unwrap();
            next.decided_by == DecidedBy::Plugin
        });
        let stats = strategy.stats();
        assert_eq!(stats.fallbacks_for(reason), 1, "{name}");
        assert_eq!(stats.replaced, stats.traps + stats.interrupts, "{name}");
        let failed_calls = if reason == Reason::InvalidAnswer { 0 } else { 1 };
        assert!(stats.replaced >= failed_calls, "{name}");
    }
}

#[test]
fn a_loop_is_cut_in_time() {
    let strategy = load_faulty("loops", 3);
    // The quickest of three: a busy machine may take the thread off its core.
    let quickest = (0..3)
        .map(|_| {
            let begun = Instant::now();
            let choice = ask(&strategy, "fault").unwrap();
            assert!(matches!(choice.decided_by, DecidedBy::Fallback(_)));
            eventually("replaced", || {
                ask(&strategy, "sound").unwrap().decided_by == DecidedBy::Plugin
            });
            begun.elapsed()
        })
        .min()
        .unwrap();
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
}

#[test]
fn a_loop_is_cut_after_an_idle_time_too() {
    let strategy = load_faulty("loops", 3);
    std::thread::sleep(Duration::from_millis(250));
    let begun = Instant::now();
    let choice = ask(&strategy, "fault").unwrap();
    assert_eq!(choice.decided_by, DecidedBy::Fallback(Reason::Deadline));
    // Generous: the machine may be busy.
    assert!(begun.elapsed() < Duration::from_millis(500));
}

#[test]
fn broken_instances_are_replaced() {
    let strategy = load_faulty("traps", 3);
    for round in 1..=3 {
        ask(&strategy, "fault").unwrap();
        assert_eq!(strategy.stats().replaced, 2 * round);
        eventually("both replaced", || strategy.ready_instances() == 2);
    }
}

#[test]
fn a_plugin_that_keeps_failing_is_bypassed() {
    let strategy = load_faulty("out-of-range", 3);
    let bypassed = DecidedBy::Fallback(Reason::Quarantined);
    eventually("quarantine", || ask(&strategy, "fault").unwrap().decided_by == bypassed);
    assert_eq!(ask(&strategy, "sound").unwrap().decided_by, bypassed);
    assert_eq!(strategy.stats().quarantines, 1);
    let invalid = strategy.stats().fallbacks_for(Reason::InvalidAnswer);
    assert_eq!(invalid, 20);

    // Another plugin is not to blame.
    strategy.replace(&Source::Builtin(Builtin::ConsistentHash), CONFIG, &options(1)).unwrap();
    assert_eq!(ask(&strategy, "fault").unwrap().decided_by, DecidedBy::Plugin);
}

#[test]
fn a_flood_of_log_lines_does_not_fail_a_decision() {
    let strategy = load_faulty("floods-log", 3);
    let choice = ask(&strategy, "fault").unwrap();
    let begun = Instant::now();
    assert!(["a", "b", "c"].contains(&&*choice.node));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
