//! Many reloads under load: every call is answered, at servers that did not change by the process that
//! answered the first one, every bad file between is refused with its reason, and no process stays.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::{Gateway, Session, eventually, process, servers, settings};
use serde_json::{Value, json};

/// Every so many reloads, a file comes between that is refused.
const BAD: u64 = 4;

/// Settings with a server that stays, one that does not, and a limit that lets all sessions in.
fn with(changing: &str) -> Value {
    settings::roomy(settings::standalone(json!({
        "same": servers::counter_named("same"),
        "other": servers::counter_named(changing),
    })))
}

/// A file that is refused, with what its reason says: one kind after the other.
fn bad(round: u64) -> (String, &'static str) {
    let broken = json!({"command": "sh", "args": ["-c", "echo no luck >&2; exit 3"]});
    let unset = json!({"command": "x", "env": {"KEY": "${NO_SUCH_VARIABLE}"}});
    let more = |more: Value| settings::merged(with("refused"), more).to_string();
    let of_servers = |servers: Value| more(json!({"mcpServers": servers}));
    match round % 6 {
        0 => (of_servers(json!({"new": servers::missing()})), "mooring-no-such-program"),
        // The one that would do has started when the other one fails.
        1 => (of_servers(json!({"new": broken, "good": servers::counter()})), "no luck"),
        2 => (
            more(json!({"systemConfig": {"cluster": {"enabled": true, "mode": "sideways"}}})),
            "mode",
        ),
        3 => ("{\"mcpServers\": {".to_owned(), "mcp_settings.json"),
        4 => (of_servers(json!({"new": unset})), "NO_SUCH_VARIABLE"),
        _ => (of_servers(json!({"other": broken})), "no luck"),
    }
}

/// What all callers have met.
#[derive(Default)]
struct Met {
    calls: AtomicU64,
    /// Answers that are no result, as text.
    errors: Mutex<Vec<String>>,
}

impl Met {
    /// The count that a call returns; an error is noted.
    fn count(&self, session: &Session, tool: &str) -> Option<i64> {
        let (message, _) = session.message("tools/call", json!({"name": tool, "arguments": {}}));
        let response = session.post(&message).send(session.client.address());
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = response.messages().into_iter().find(|answer| answer["id"] == message["id"]);
        let value = answer.as_ref();
        let value = value.and_then(|it| it["result"]["structuredContent"]["value"].as_i64());
        if response.status != 200 || value.is_none() {
            let text = format!("{tool}: {} {answer:?}", response.status);
            self.errors.lock().unwrap().push(text);
        }
        value
    }

    /// Calls both servers, or one alone, until it is over.
    fn call(&self, gateway: &Gateway, number: usize, over: &AtomicBool) {
        let (path, prefix) =
            if number.is_multiple_of(2) { ("/mcp/same", "") } else { ("/mcp", "same-") };
        let session = gateway.client(path).initialize();
        let (whoami, count) = (format!("{prefix}whoami"), format!("{prefix}count"));
        let pid = session.whoami(&whoami).pid;
        let mut expected = 0;
        while !over.load(Ordering::Relaxed) {
            expected += 1;
            let counted = self.count(&session, &count);
            if counted != Some(expected) {
                let text = format!("{count}: {counted:?} instead of {expected}");
                self.errors.lock().unwrap().push(text);
            }
            if !number.is_multiple_of(2) {
                self.count(&session, "other-count");
            }
        }
        assert_eq!(session.whoami(&whoami).pid, pid);
        session.delete().expect(200);
    }
}

/// Ends the calls, also where a reload is not as it should be.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reloads so many times, within this time, while so many connections call both servers without a
/// break.
fn reload_under_load(reloads: u64, connections: usize, within: Duration) {
    let gateway = Gateway::start_with(&with("start"));
    gateway.wait_until_discovered(&["same", "other"]);
    let (over, met) = (AtomicBool::new(false), Met::default());
    let mut took = Duration::MAX;
    std::thread::scope(|scope| {
        let ends = Ends(&over);
        for number in 0..connections {
            let (met, gateway, over) = (&met, &gateway, &over);
            scope.spawn(move || met.call(gateway, number, over));
        }
        let began = Instant::now();
        for round in 0..reloads {
            let report = gateway.apply(&with(&format!("n{round}")));
            assert_eq!(report["changed"], json!(["other"]), "{report}");
            if round % BAD == 0 {
                let (file, reason) = bad(round / BAD);
                gateway.rewrite_text(&file);
                let answer = gateway.post("/api/reload", &Value::Null).expect(422).json();
                let report = &answer["data"];
                assert_eq!(report["outcome"], "refused", "{report}");
                assert!(report["reasons"].to_string().contains(reason), "{reason}: {report}");
            }
            // Calls are made with each of the settings.
            let before = met.calls.load(Ordering::Relaxed);
            let enough = before + connections as u64;
            eventually("calls go on", || {
                (met.calls.load(Ordering::Relaxed) > enough).then_some(())
            });
        }
        took = began.elapsed();
        // Each session has a process at each server that it calls, and no more stay: neither old
        // ones, nor those of files that were refused.
        let most = connections + connections / 2;
        eventually("no more processes than the sessions have", || {
            (process::servers(gateway.pid()).len() <= most).then_some(())
        });
        drop(ends);
    });
    let calls = met.calls.load(Ordering::Relaxed);
    assert!(took <= within, "{reloads} reloads took {took:?}");
    println!("{reloads} reloads in {took:?}, {calls} calls");
    let errors = met.errors.into_inner().unwrap();
    assert!(errors.is_empty(), "{} of {calls} calls: {errors:#?}", errors.len());
    eventually("no process is left", || process::servers(gateway.pid()).is_empty().then_some(()));
}

#[test]
fn every_call_is_answered_during_reloads() {
    reload_under_load(8, 8, Duration::from_secs(60));
}

#[test]
#[ignore = "long: a hundred reloads in a minute with 32 connections; eight with eight run each time"]
fn every_call_is_answered_during_a_hundred_reloads() {
    reload_under_load(100, 32, Duration::from_secs(60));
}
