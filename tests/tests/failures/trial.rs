//! Faults at random under load. The seed is printed, and `MOORING_TRIAL_SEED` plays its faults again;
//! `MOORING_TRIAL_SECONDS` is how long they go on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mooring_tests::{Gateway, process};
use rustix::process::Signal;
use serde_json::json;

use super::client::{Session, Trouble};
use super::faults::Fault;
use super::ground::Ground;
use super::moment;

const SECONDS: u64 = 180;
const SESSIONS: u64 = 12;
/// How long a session may take until it is served, once nothing fails any more.
const SERVED_WITHIN: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(60);

/// Xorshift.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[derive(Default)]
struct Outcomes {
    answered: usize,
    may_have_run: usize,
    refused: Vec<String>,
    is_lost: bool,
}

/// Uses one session until it is over, and then until it is served.
fn use_it(address: SocketAddr, number: u64, seed: u64, is_over: &AtomicBool) -> Outcomes {
    let mut chance = Chance(seed.wrapping_mul(number + 2) | 1);
    let path = ["/mcp/tally", "/mcp/tally", "/mcp"][usize::try_from(number % 3).unwrap()];
    let prefix = if path == "/mcp" { "tally-" } else { "" };
    let session = Session::begin(address, path, &[]).expect("a session");
    let listener = number.is_multiple_of(2).then(|| session.listen());
    let mut outcomes = Outcomes::default();
    let mut calls = 0;
    let mut step = |outcomes: &mut Outcomes, ms: u64, tool: &str| {
        calls += 1;
        let arguments = json!({"key": format!("s{number}-{calls}"), "ms": ms});
        let came = session.call(&format!("{prefix}{tool}"), arguments, PATIENCE, &mut |_| {});
        match came {
            Ok(_) => outcomes.answered += 1,
            Err(Trouble::Unknown) => outcomes.is_lost = true,
            Err(trouble @ Trouble::Connection(_)) => outcomes.refused.push(trouble.to_string()),
            Err(Trouble::Error(says)) if says.contains("may have run") => {
                outcomes.may_have_run += 1;
            }
            Err(Trouble::Error(says)) => outcomes.refused.push(says),
        }
        outcomes.answered
    };
    while !is_over.load(Ordering::Relaxed) && !outcomes.is_lost {
        let tool = ["safe", "count", "long"][usize::try_from(chance.below(3)).unwrap()];
        let ms = [0, 20, 300, 2500][usize::try_from(chance.below(4)).unwrap()];
        step(&mut outcomes, ms, tool);
        std::thread::sleep(Duration::from_millis(chance.below(400)));
    }
    let (begun, before) = (Instant::now(), outcomes.answered);
    while outcomes.answered == before && !outcomes.is_lost {
        outcomes.is_lost |= begun.elapsed() > SERVED_WITHIN;
        step(&mut outcomes, 0, "count");
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(listener);
    outcomes
}

/// Does something to a process, and mends it.
fn strike(gateway: &mut Gateway, what: u64, lasts: Duration, is_coordinator: bool) {
    let said =
        ["killed", "ended and started", "stopped", "its servers killed", "supervisor killed"];
    let what = if is_coordinator { what % 3 } else { what };
    let name = if is_coordinator { "the coordinator" } else { "a node" };
    eprintln!("{name}: {} ({lasts:?})", said[usize::try_from(what).unwrap()]);
    match what {
        0 => {
            gateway.kill9();
            std::thread::sleep(lasts);
            gateway.start();
        }
        1 => gateway.restart_after(Signal::TERM),
        2 => {
            gateway.signal(Signal::STOP);
            std::thread::sleep(lasts);
            gateway.signal(Signal::CONT);
        }
        3 => process::servers(gateway.pid()).iter().for_each(|pid| {
            process::signal(*pid, Signal::KILL);
        }),
        _ => process::supervisors(gateway.pid()).iter().for_each(|pid| {
            process::signal(*pid, Signal::KILL);
        }),
    }
}

fn trial(seconds: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("MOORING_TRIAL_SEED").unwrap_or(now.as_secs() | 1);
    eprintln!("MOORING_TRIAL_SEED={seed}");
    let mut ground = Ground::for_fault(Fault::KillNode).expect("a cluster");
    let mut nodes = std::mem::take(&mut ground.nodes);
    let mut chance = Chance(seed);
    let is_over = AtomicBool::new(false);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (address, file) = (ground.coordinator.address(), ground.file());
    let outcomes: Vec<Outcomes> = std::thread::scope(|scope| {
        let is_over = &is_over;
        let using = |number| scope.spawn(move || use_it(address, number, seed, is_over));
        let clients: Vec<_> = (0..SESSIONS).map(using).collect();
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(500 + chance.below(6000)));
            let lasts = Duration::from_millis(chance.below(6000));
            let (what, at) = (chance.below(5), usize::try_from(chance.below(5)).unwrap());
            match nodes.get_mut(at / 2) {
                Some(node) => strike(node, what, lasts, false),
                None => strike(&mut ground.coordinator, what, lasts, true),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let twice: Vec<String> = moment::tally(&file)
        .into_iter()
        .filter_map(|(key, runs)| (runs > 1).then_some(key))
        .collect();
    let sum = |what: fn(&Outcomes) -> usize| outcomes.iter().map(what).sum::<usize>();
    eprintln!(
        "{seconds} s: {} answers, {} times \"may have run\", {} times not reached or not served",
        sum(|one| one.answered),
        sum(|one| one.may_have_run),
        sum(|one| one.refused.len())
    );
    let lost = outcomes.iter().filter(|one| one.is_lost).count();
    assert_eq!((twice.len(), lost), (0, 0), "ran twice, lost; seed {seed}: {twice:?}");
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
#[ignore = "long: three minutes of random faults; the matrix has one of each kind"]
fn random_faults_lose_no_session_and_run_nothing_twice() {
    trial(number("MOORING_TRIAL_SECONDS").unwrap_or(SECONDS));
}
