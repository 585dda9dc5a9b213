use super::super::DecidedBy;
use super::*;

fn sandboxed() -> Strategy {
    let options = Options { wasi: WasiPolicy::Sandbox, ..Options::default() };
    let strategy = Strategy::load(&faulty("wasi-chatty"), CONFIG, &options).unwrap();
    strategy.publish(topology(3));
    strategy
}

#[test]
fn a_wasi_plugin_decides_in_the_sandbox() {
    let (strategy, sound) = (sandboxed(), consistent_hash());
    sound.publish(topology(3));
    for session in ["s1", "s2", "s3", "s4"] {
        let choice = ask(&strategy, session).unwrap();
        assert_eq!(choice.decided_by, DecidedBy::Plugin);
        assert_eq!(choice.node, ask(&sound, session).unwrap().node);
    }
}

/// The guest prints, opens files and sleeps, on a worker inside tokio, where entering
/// tokio again would panic.
#[test]
fn a_guest_that_prints_and_sleeps_holds_no_worker() {
    let strategy = sandboxed();
    let worker = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    worker.block_on(async {
        let begun = Instant::now();
        let choice = ask(&strategy, "fault").unwrap();
        assert!(["a", "b", "c"].contains(&&*choice.node));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(matches!(choice.decided_by, DecidedBy::Fallback(_)), "{choice:?}");
    });
}

#[test]
fn an_ordinary_plugin_is_not_slowed_down_where_the_sandbox_is_allowed() {
    let options = Options { wasi: WasiPolicy::Sandbox, ..Options::default() };
    let source = Source::Builtin(Builtin::ConsistentHash);
    let strategy = Strategy::load(&source, CONFIG, &options).unwrap();
    strategy.publish(topology(3));
    assert_eq!(ask(&strategy, "s").unwrap().decided_by, DecidedBy::Plugin);
}
