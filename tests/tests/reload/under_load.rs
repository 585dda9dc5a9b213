//! Many reloads under load: the servers that did not change answer every call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mooring_tests::{Gateway, eventually, process, servers, settings};
use serde_json::{Value, json};

/// Settings with a server that stays, one that does not, and a limit that lets all sessions in.
fn with(changing: &str) -> Value {
    settings::roomy(settings::standalone(json!({
        "same": servers::counter_named("same"),
        "other": servers::counter_named(changing),
    })))
}

/// Reloads so many times while so many connections call both servers without a break.
fn reload_under_load(reloads: u64, connections: usize) {
    let gateway = Gateway::start_with(&with("start"));
    gateway.wait_until_discovered(&["same", "other"]);
    let (over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..connections)
            .map(|number| {
                let (gateway, over, calls) = (&gateway, &over, &calls);
                scope.spawn(move || {
                    let path = if number % 2 == 0 { "/mcp/same" } else { "/mcp" };
                    let prefix = if number % 2 == 0 { "" } else { "same-" };
                    let session = gateway.client(path).initialize();
                    let pid = session.whoami(&format!("{prefix}whoami")).pid;
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        count += 1;
                        assert_eq!(session.count(&format!("{prefix}count")), count);
                        if number % 2 == 1 {
                            session.call("other-count", json!({}));
                        }
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                    assert_eq!(session.whoami(&format!("{prefix}whoami")).pid, pid);
                    session.delete().expect(200);
                })
            })
            .collect();
        for round in 0..reloads {
            let report = gateway.apply(&with(&format!("n{round}")));
            assert_eq!(report["changed"], json!(["other"]), "{report}");
            // Each works with the settings for a while.
            let (before, enough) = (calls.load(Ordering::Relaxed), connections as u64);
            eventually("calls go on", || {
                (calls.load(Ordering::Relaxed) > before + enough).then_some(())
            });
        }
        over.store(true, Ordering::Relaxed);
        callers.into_iter().for_each(|caller| caller.join().expect("no call has failed"));
    });
    eventually("no process is left", || process::servers(gateway.pid()).is_empty().then_some(()));
}

#[test]
fn servers_that_did_not_change_answer_every_call_during_reloads() {
    reload_under_load(8, 8);
}

#[test]
#[ignore = "long: a hundred reloads with 32 connections; eight with eight run each time"]
fn servers_that_did_not_change_answer_every_call_during_a_hundred_reloads() {
    reload_under_load(100, 32);
}
