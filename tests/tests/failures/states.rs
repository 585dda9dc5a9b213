//! What a session is doing when something goes wrong, and what its client sees of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Listener, Session, Trouble};
use super::faults::Fault;
use super::ground::AT_N1;
use super::moment::Moment;
use super::over_sse::SseSession;

/// How long a session is tried until it counts as lost.
const HORIZON: Duration = Duration::from_secs(60);
/// How long a client waits for one answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long after its recovery a stream is listened to, until it counts as silent.
const STREAM_BACK: Duration = Duration::from_secs(15);
/// How long a call lasts that is under way, in milliseconds.
const IN_FLIGHT: u64 = 2500;
/// How long servers that are killed take to be gone.
const DYING: Duration = Duration::from_millis(500);
/// How long the answer to such a call over HTTP+SSE may take, once the session is served again: what
/// was lost on its stream does not come later.
const LATE_ANSWER: Duration = Duration::from_secs(15);
const LONG_CALL: u64 = 8000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Idle,
    List,
    Safe,
    Unsafe,
    Long,
    Stream,
    Sse,
    SseCall,
    Aggregate,
    Question,
}

impl State {
    pub const ALL: [Self; 10] = [
        Self::Idle,
        Self::List,
        Self::Safe,
        Self::Unsafe,
        Self::Long,
        Self::Stream,
        Self::Sse,
        Self::SseCall,
        Self::Aggregate,
        Self::Question,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::List => "list",
            Self::Safe => "safe call",
            Self::Unsafe => "unsafe call in flight",
            Self::Long => "long call with progress",
            Self::Stream => "GET stream with events",
            Self::Sse => "HTTP+SSE, idle",
            Self::SseCall => "HTTP+SSE, in a call",
            Self::Aggregate => "aggregate over both nodes",
            Self::Question => "pending elicitation",
        }
    }
}

/// What one client has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Errors that no client may see, and how long after the fault.
    pub errors: Vec<(Duration, String)>,
    /// Errors of calls that were under way.
    pub in_flight: Vec<String>,
    /// From the fault to the first success of a call that was begun after it. Where calls go on all
    /// the time, the longest time without a success if that is longer.
    pub recovered: Option<Duration>,
    /// Whether the session is gone.
    pub is_lost: bool,
    /// Whether the server's state is another one, and whether the client was told so.
    pub has_new_state: bool,
    pub is_told: bool,
    pub lost_events: usize,
    pub doubled_events: usize,
    /// What the harness could not do.
    pub trouble: Option<String>,
}

impl Seen {
    fn note(&mut self, moment: &Moment, trouble: &Trouble) {
        self.is_lost |= matches!(trouble, Trouble::Unknown);
        // While nobody listens there, clients cannot connect: that is time, not an error.
        if matches!(trouble, Trouble::Connection(_)) && moment.fault.is_of_the_coordinator() {
            return;
        }
        // Servers are gone a moment after they are killed, or their supervisor: what was written to
        // them in between was under way on them.
        let kills_servers = matches!(moment.fault, Fault::KillServer | Fault::KillSupervisor);
        let is_between = kills_servers && moment.since() < DYING;
        if is_between && trouble.to_string().contains("may have run") {
            self.in_flight.push(trouble.to_string());
            return;
        }
        self.errors.push((moment.since(), trouble.to_string()));
    }

    /// Tries until it works.
    fn probe<T>(
        &mut self,
        moment: &Moment,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Option<T> {
        while moment.since() < HORIZON && !self.is_lost {
            match attempt() {
                Ok(done) => {
                    self.recovered = Some(moment.since());
                    return Some(done);
                }
                Err(trouble) => self.note(moment, &trouble),
            }
            std::thread::sleep(PAUSE);
        }
        self.is_lost = true;
        None
    }
}

/// Lives through the fault in this state.
pub fn live_through(state: State, moment: &Moment) -> Seen {
    let mut seen = Seen::default();
    let done = match state {
        State::Sse | State::SseCall => over_sse(state, moment, &mut seen),
        _ => over_http(state, moment, &mut seen),
    };
    if let Err(trouble) = done {
        moment.is_ready();
        seen.trouble = Some(trouble.to_string());
    }
    seen
}

fn over_http(state: State, moment: &Moment, seen: &mut Seen) -> Result<(), Trouble> {
    let (path, prefix) = match state {
        State::Aggregate => ("/mcp", "tally-"),
        State::Stream => ("/mcp/ticker", ""),
        _ => ("/mcp/tally", ""),
    };
    let session = Session::begin(moment.address, path, &AT_N1)?;
    let whoami = format!("{prefix}whoami");
    let before = who(&session, &whoami)?;
    let listener = matches!(state, State::Stream | State::Aggregate).then(|| session.listen());
    if let Some(listener) = &listener {
        moment.until("the stream is open", || listener.heard.is_open.load(Ordering::Relaxed));
    }
    match state {
        State::Idle => {
            moment.wait();
            again(&session, moment, seen);
        }
        State::List | State::Safe | State::Aggregate => goes_on(state, &session, moment, seen)?,
        State::Unsafe | State::Long | State::Question => in_flight(state, &session, moment, seen),
        State::Stream => {
            moment.wait();
            again(&session, moment, seen);
        }
        State::Sse | State::SseCall => {}
    }
    if seen.is_lost {
        return Ok(());
    }
    let after = seen.probe_quietly(moment, || who(&session, &whoami));
    seen.has_new_state = after.as_ref().is_some_and(|after| *after != before);
    if let (State::Stream, Some(listener), Some(pid)) = (state, &listener, after) {
        judge_events(listener, pid, seen);
    }
    // One that did not listen is told on its next stream.
    if seen.has_new_state {
        let listener = listener.unwrap_or_else(|| session.listen());
        let end = Instant::now() + Duration::from_secs(3);
        while !listener.heard.is_told() && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
        seen.is_told = listener.heard.is_told();
    }
    session.end();
    Ok(())
}

impl Seen {
    /// The same without noting anything: for what is only looked at afterwards.
    fn probe_quietly<T>(
        &mut self,
        moment: &Moment,
        attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Option<T> {
        let mut other = Self::default();
        other.probe(moment, attempt)
    }
}

/// The process that serves the session.
fn who(session: &Session, tool: &str) -> Result<u64, Trouble> {
    let state = session.call(tool, json!({}), PATIENCE, &mut |_| {})?;
    state["pid"].as_u64().ok_or_else(|| Trouble::Error(format!("no pid: {state}")))
}

/// Calls what must not run twice until it is answered.
fn again(session: &Session, moment: &Moment, seen: &mut Seen) {
    seen.probe(moment, || {
        session.call("count", json!({"key": moment.key()}), PATIENCE, &mut |_| {})
    });
}

/// Asks again and again, from before the fault until it is over.
fn goes_on(
    state: State,
    session: &Session,
    moment: &Moment,
    seen: &mut Seen,
) -> Result<(), Trouble> {
    let is_far = std::cell::Cell::new(false);
    let ask = || match state {
        State::List => session.list(PATIENCE).map(|tools| !tools.is_empty()),
        State::Aggregate => {
            let tool = if is_far.replace(!is_far.get()) { "far-whoami" } else { "tally-whoami" };
            session.call(tool, json!({}), PATIENCE, &mut |_| {}).map(|_| true)
        }
        _ => session.call("safe", json!({"ms": 100}), PATIENCE, &mut |_| {}).map(|_| true),
    };
    ask()?;
    if state == State::Aggregate {
        ask()?;
    }
    moment.is_ready();
    // An aggregate has recovered once both of its servers have answered.
    let needed = if state == State::Aggregate { 2 } else { 1 };
    let (mut answered, mut failing) = (0, None);
    while (!moment.is_over() || answered < needed) && moment.since() < HORIZON && !seen.is_lost {
        let (is_after, began) = (moment.has_struck(), moment.since());
        match ask() {
            Ok(true) if is_after => {
                answered += 1;
                if answered == needed {
                    let since = failing.take().unwrap_or_default();
                    let time = moment.since().saturating_sub(since);
                    seen.recovered = seen.recovered.max(Some(time));
                }
            }
            Ok(is_whole) if !is_whole => {
                seen.errors.push((moment.since(), "an empty list".to_owned()));
            }
            Ok(_) => {}
            Err(trouble) if moment.has_just_struck() => {
                answered = answered.min(needed - 1);
                failing = failing.or(Some(began));
                seen.note(moment, &trouble);
            }
            Err(trouble) => return Err(trouble),
        }
        std::thread::sleep(PAUSE);
    }
    seen.is_lost |= answered < needed;
    Ok(())
}

/// A call is under way when it happens.
fn in_flight(state: State, session: &Session, moment: &Moment, seen: &mut Seen) {
    let key = moment.key();
    let (tool, arguments) = match state {
        State::Question => ("ask", json!({"key": key})),
        State::Long => ("long", json!({"key": key, "ms": LONG_CALL})),
        _ => ("count", json!({"key": key, "ms": IN_FLIGHT})),
    };
    let called = std::thread::scope(|scope| {
        let (asks, asked) = std::sync::mpsc::channel();
        let calling = scope.spawn(move || {
            session.call(tool, arguments, PATIENCE, &mut |message| {
                if message["method"] == "elicitation/create" {
                    let _ = asks.send(message["id"].clone());
                }
            })
        });
        let answering = if state == State::Question {
            let question = asked.recv_timeout(Duration::from_secs(20)).expect("a question");
            moment.wait();
            Some(scope.spawn(move || answer(session, moment, &question)))
        } else {
            moment.until("the call runs", || moment.tally().contains_key(&key));
            moment.wait();
            None
        };
        // What was under way does not keep the session from being served.
        again(session, moment, seen);
        seen.is_lost |= answering.is_some_and(|answering| answering.join().expect("an answer"));
        calling.join().expect("a call")
    });
    if let Err(trouble) = called {
        seen.is_lost |= matches!(trouble, Trouble::Unknown);
        if moment.fault.breaks_calls() || matches!(trouble, Trouble::Connection(_)) {
            seen.in_flight.push(trouble.to_string());
        } else {
            seen.errors.push((moment.since(), format!("in flight: {trouble}")));
        }
    }
}

/// Answers a question of the server, as often as it takes to get it through. Returns whether the
/// session is gone.
fn answer(session: &Session, moment: &Moment, id: &Value) -> bool {
    std::thread::sleep(Duration::from_millis(500));
    let result = json!({"action": "accept", "content": {"x": "1"}});
    let message = json!({"jsonrpc": "2.0", "id": id, "result": result});
    while moment.since() < HORIZON {
        match session.send(&message) {
            // Where it is not taken, its server is gone: nobody waits for it.
            Ok(status) => return status == 404,
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    false
}

/// Events of one process are numbered from 1: none may be missing, none may come twice.
fn judge_events(listener: &Listener, pid: u64, seen: &mut Seen) {
    let heard = &listener.heard;
    let ticks = || -> Vec<(u64, u64)> {
        let messages = heard.messages.lock().unwrap();
        let data = |message: &Value| {
            let data = &message["params"]["data"];
            Some((data["pid"].as_u64()?, data["n"].as_u64()?))
        };
        messages.iter().filter_map(|(_, message)| data(message)).collect()
    };
    let end = Instant::now() + STREAM_BACK;
    while !ticks().iter().any(|(of, _)| *of == pid) && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
    let mut by_process: std::collections::BTreeMap<u64, Vec<u64>> = Default::default();
    for (of, number) in ticks() {
        by_process.entry(of).or_default().push(number);
    }
    if !by_process.contains_key(&pid) {
        seen.lost_events += 1;
    }
    for mut numbers in by_process.into_values() {
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        seen.doubled_events += all - numbers.len();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        seen.lost_events += (last - first + 1) as usize - numbers.len();
    }
}

fn over_sse(state: State, moment: &Moment, seen: &mut Seen) -> Result<(), Trouble> {
    let mut session = SseSession::begin(moment.address, "/sse/tally", &AT_N1)?;
    let who = |session: &mut SseSession| {
        let state = session.call("whoami", json!({}))?;
        state["pid"].as_u64().ok_or_else(|| Trouble::Error(format!("no pid: {state}")))
    };
    let before = who(&mut session)?;
    let mut under_way = None;
    if state == State::SseCall {
        let key = moment.key();
        under_way = Some(session.start("count", json!({"key": key, "ms": IN_FLIGHT}))?);
        moment.until("the call runs", || moment.tally().contains_key(&key));
    }
    moment.wait();
    let called = seen.probe(moment, || session.call("count", json!({"key": moment.key()})));
    if let Some(call) = under_way
        && let Err(trouble) = session.answer_within(call, LATE_ANSWER)
    {
        if moment.fault.breaks_calls() || moment.fault.is_of_the_coordinator() {
            seen.in_flight.push(trouble.to_string());
        } else {
            seen.errors.push((moment.since(), format!("in flight: {trouble}")));
        }
    }
    if called.is_some() {
        let after = seen.probe_quietly(moment, || who(&mut session));
        seen.has_new_state = after.is_some_and(|after| after != before);
        std::thread::sleep(Duration::from_millis(500));
        seen.is_told = session.is_told();
    }
    Ok(())
}
