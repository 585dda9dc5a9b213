//! Servers are killed at random under load: only calls to a server that is killed may fail.
//!
//! `./test --long` kills for ten minutes. `MOORING_CHAOS_SECONDS=60 cargo nextest run --no-capture chaos`
//! shows how long restarts take; `MOORING_CHAOS_PAUSE_MS` is the mean time between two kills.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::{Gateway, Session, process, servers, settings, within};
use rustix::process::Signal;
use serde_json::{Value, json};

const SESSIONS: usize = 16;
const THREADS: usize = 4;
const SECONDS: u64 = 10;
const LONG_SECONDS: u64 = 600;
/// Bytes that the gateway may hold more of after any number of kills: its allocator keeps some.
const KEPT: u64 = 32 << 20;
/// Mean time between two kills, in milliseconds.
const PAUSE_MS: u64 = 100;

/// Time in which the gateway notices a server's end; calls sent to it until then may fail.
const NOTICE: Duration = Duration::from_millis(50);

/// A process that was alive before `from` and is gone after `until`.
struct Kill {
    /// The number of its session.
    owner: usize,
    from: Instant,
    until: Instant,
}

struct Failure {
    session: usize,
    began: Instant,
    ended: Instant,
    says: String,
}

/// The state shared by the killer and the clients.
#[derive(Default)]
struct Ground {
    is_over: AtomicBool,
    /// The session of each process that runs and has answered `whoami`.
    owners: Mutex<BTreeMap<u32, usize>>,
    /// When each session's process was killed; removed once the session is served again.
    killed: Mutex<BTreeMap<usize, Instant>>,
}

/// The outcomes of some sessions' calls.
#[derive(Default)]
struct Outcomes {
    calls: usize,
    failures: Vec<Failure>,
    /// Calls that found a new process.
    anew: usize,
    /// Times from a kill to the next success.
    restarts: Vec<Duration>,
    /// Durations of the calls that found a new process.
    waits: Vec<Duration>,
}

impl Outcomes {
    /// Makes one call; `None` if it has failed. Anything but an answer ends the test.
    fn call(&mut self, (number, session): &(usize, Session), tool: &str) -> Option<Value> {
        let began = Instant::now();
        let (message, id) = session.message("tools/call", json!({"name": tool, "arguments": {}}));
        let response = session.post(&message).send(session.client.address()).expect(200);
        let ended = Instant::now();
        let messages = response.messages();
        let answer = messages.iter().find(|message| message["id"] == id);
        let answer = answer.unwrap_or_else(|| panic!("no answer to {id}: {messages:?}"));
        self.calls += 1;
        let content = &answer["result"]["structuredContent"];
        if content.is_object() {
            return Some(content.clone());
        }
        let (session, says) = (*number, answer.to_string());
        self.failures.push(Failure { session, began, ended, says });
        None
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures.extend(other.failures);
        self.anew += other.anew;
        self.restarts.extend(other.restarts);
        self.waits.extend(other.waits);
    }
}

/// Calls the counters of some sessions, one after the other, until the test is over.
fn use_them(ground: &Ground, sessions: &[(usize, Session)]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut last: HashMap<usize, i64> = HashMap::new();
    while !ground.is_over.load(Ordering::Acquire) {
        for one in sessions {
            let (number, began) = (&one.0, Instant::now());
            let Some(content) = outcomes.call(one, "count") else { continue };
            let value = content["value"].as_i64().unwrap();
            let before = last.insert(*number, value);
            if before.is_some_and(|before| value > before) {
                assert_eq!(before, Some(value - 1), "somebody else counts, or a call ran twice");
                continue;
            }
            if before.is_some() {
                outcomes.anew += 1;
                outcomes.waits.push(began.elapsed());
                if let Some(killed) = ground.killed.lock().unwrap().remove(number) {
                    outcomes.restarts.push(killed.elapsed());
                }
            }
            // `whoami` only reads, so the gateway may repeat it.
            if let Some(content) = outcomes.call(one, "whoami") {
                let pid = content["pid"].as_u64().unwrap().try_into().unwrap();
                ground.owners.lock().unwrap().insert(pid, *number);
            }
        }
    }
    outcomes
}

/// Kills one server after the other, until the test is over. Spares those that have not answered
/// yet: several deaths before the first answer count as a crash loop, which pauses restarts.
fn kill_them(ground: &Ground, pause_ms: u64) -> Vec<Kill> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut kills = Vec::new();
    while !ground.is_over.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(chance.below(2 * pause_ms)));
        let from = Instant::now();
        let (pid, owner) = {
            let mut owners = ground.owners.lock().unwrap();
            if owners.is_empty() {
                continue;
            }
            let at = usize::try_from(chance.below(owners.len() as u64)).unwrap();
            let pid = *owners.keys().nth(at).unwrap();
            let owner = owners.remove(&pid).unwrap();
            ground.killed.lock().unwrap().insert(owner, from);
            (pid, owner)
        };
        process::signal(pid, Signal::KILL);
        while process::runs(pid) {
            std::thread::sleep(Duration::from_millis(1));
        }
        kills.push(Kill { owner, from, until: Instant::now() });
    }
    kills
}

#[test]
fn servers_that_are_killed_at_random_cost_the_calls_they_were_working_on_and_nothing_else() {
    kills_cost_little(number("MOORING_CHAOS_SECONDS", SECONDS));
}

/// What each death leaves behind would add up.
#[test]
#[ignore = "long: ten minutes of kills"]
fn ten_minutes_of_kills_cost_no_more_and_leave_nothing() {
    kills_cost_little(number("MOORING_CHAOS_SECONDS", LONG_SECONDS));
}

fn kills_cost_little(seconds: u64) {
    let pause_ms = number("MOORING_CHAOS_PAUSE_MS", PAUSE_MS);
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    gateway.wait_until_discovered(&["counter"]);
    let mut sessions: Vec<Vec<(usize, Session)>> = (0..THREADS).map(|_| Vec::new()).collect();
    for number in 0..SESSIONS {
        let session = gateway.client("/mcp/counter").initialize();
        session.count("count");
        sessions[number % THREADS].push((number, session));
    }

    let before = process::resident(gateway.pid());
    let ground = Ground::default();
    let (outcomes, kills) = std::thread::scope(|scope| {
        let ground = &ground;
        let clients = sessions.iter().map(|some| scope.spawn(|| use_them(ground, some)));
        let clients: Vec<_> = clients.collect();
        let killer = scope.spawn(|| kill_them(ground, pause_ms));
        let end = Instant::now() + Duration::from_secs(seconds);
        // Ends early if a client has panicked.
        while Instant::now() < end && !clients.iter().any(|client| client.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        ground.is_over.store(true, Ordering::Release);
        let mut all = Outcomes::default();
        clients.into_iter().for_each(|client| all.add(client.join().unwrap()));
        (all, killer.join().unwrap())
    });

    let Outcomes { calls, failures, anew, restarts, waits } = outcomes;
    eprintln!(
        "{seconds} s: {} kills, {calls} calls, {} told that they may have run, {anew} new processes",
        kills.len(),
        failures.len(),
    );
    eprintln!("from a kill to the session's next answer: {}", spread(restarts));
    eprintln!("the call that found a new process: {}", spread(waits));
    let log = gateway.log();
    let loops = log.lines().filter(|line| line.contains("the server is in a crash loop")).count();
    assert_eq!(loops, 0, "what has answered and dies is no crash loop");

    for failure in &failures {
        assert!(failure.says.contains("may have run"), "{}", failure.says);
        let is_of = |kill: &Kill| {
            kill.owner == failure.session
                && kill.from <= failure.ended
                && failure.began <= kill.until + NOTICE
        };
        assert!(kills.iter().any(is_of), "its server was not killed meanwhile: {}", failure.says);
    }
    assert!(failures.len() <= kills.len(), "{} calls, {} kills", failures.len(), kills.len());
    assert!(anew <= kills.len(), "{anew} new processes, {} kills", kills.len());
    assert!(anew > 0, "nothing was tried");
    for (_, session) in sessions.iter().flatten() {
        let first = session.count("count");
        assert_eq!(session.count("count"), first + 1);
    }
    for (_, session) in sessions.into_iter().flatten() {
        session.delete().expect(200);
    }
    within(mooring_tests::PATIENCE, "nothing is left", || {
        process::servers(gateway.pid()).is_empty().then_some(())
    });
    let more = process::resident(gateway.pid()).saturating_sub(before);
    eprintln!("{} KiB more than before", more >> 10);
    assert!(more < KEPT, "{} MiB more than before", more >> 20);
}

fn number(variable: &str, usual: u64) -> u64 {
    let Some(value) = std::env::var_os(variable) else { return usual };
    let value = value.to_str().and_then(|value| value.parse().ok()).filter(|value| *value > 0);
    value.unwrap_or_else(|| panic!("{variable} is no number"))
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let Some(last) = times.len().checked_sub(1) else { return "never".to_owned() };
    let at = |percent: usize| times[last * percent / 100];
    format!("p50 {:.1?}, p99 {:.1?}, longest {:.1?} of {}", at(50), at(99), at(100), times.len())
}

/// Xorshift: the same order of pauses and choices each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
