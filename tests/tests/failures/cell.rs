//! One fault, and sessions in several states: a column of the matrix.

use std::time::Duration;

use super::faults::Fault;
use super::ground::Ground;
use super::moment::{self, Moment};
use super::states::{Seen, State, live_through};

/// The time in which what goes on all the time is watched after a fault that needs no mending: in a
/// test of every run, and in the whole matrix.
const WATCHED: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];

/// What the sessions of one state have seen of one fault.
pub struct Cell {
    pub fault: Fault,
    pub state: State,
    pub seen: Vec<Seen>,
    /// Messages that ran twice, of all sessions of the fault.
    pub doubles: usize,
}

/// Lets a fault happen to this many sessions in each of these states. `None` if it cannot be done
/// here.
pub fn run(fault: Fault, states: &[State], of_each: usize, is_long: bool) -> Option<Vec<Cell>> {
    let mut ground = Ground::for_fault(fault)?;
    let moment = Moment::new(fault, ground.coordinator.address(), ground.file());
    let count = states.len() * of_each;
    let mut mended = Duration::ZERO;
    let seen: Vec<(State, Seen)> = std::thread::scope(|scope| {
        let moment = &moment;
        let begin = |state: State| (state, scope.spawn(move || live_through(state, moment)));
        let all = states.iter().flat_map(|state| std::iter::repeat_n(*state, of_each));
        let living: Vec<_> = all.map(begin).collect();
        moment.wait_for_all(count);
        let mend = fault.strike(&mut ground, &|| moment.strike());
        std::thread::sleep(mend.after(is_long).max(WATCHED[usize::from(is_long)]));
        mend.mend(&mut ground);
        mended = moment.since();
        moment.end();
        living.into_iter().map(|(state, one)| (state, one.join().expect("a client"))).collect()
    });
    // While the only coordinator stands still, nobody can be served.
    let spared = if fault == Fault::StopCoordinator { mended } else { Duration::ZERO };
    let doubles = moment::tally(&ground.file()).values().filter(|runs| **runs > 1).count();
    let mut cells: Vec<Cell> = states
        .iter()
        .map(|state| Cell { fault, state: *state, seen: Vec::new(), doubles })
        .collect();
    for (state, mut seen) in seen {
        seen.recovered = seen.recovered.map(|time| time.saturating_sub(spared));
        if let Some(cell) = cells.iter_mut().find(|cell| cell.state == state) {
            cell.seen.push(seen);
        }
    }
    Some(cells)
}

impl Cell {
    pub fn count(&self, what: impl Fn(&Seen) -> usize) -> usize {
        self.seen.iter().map(what).sum()
    }

    /// A quantile of the times to recover.
    pub fn recovery(&self, percent: usize) -> Option<Duration> {
        let mut times: Vec<Duration> = self.seen.iter().filter_map(|seen| seen.recovered).collect();
        times.sort();
        let last = times.len().checked_sub(1)?;
        times.get(last * percent / 100).copied()
    }

    /// What must not be, whatever the speed of the machine.
    pub fn wrongs(&self) -> Vec<String> {
        let name = format!("{}, {}", self.fault.name(), self.state.name());
        let lost = self.count(|seen| usize::from(seen.is_lost));
        let events = self.count(|seen| seen.lost_events + seen.doubled_events);
        let untold = self.count(|seen| usize::from(seen.has_new_state && !seen.is_told));
        let errors = self.count(|seen| seen.errors.len());
        let first = self.seen.iter().find_map(|seen| seen.errors.first());
        [
            (lost, "sessions lost".to_owned()),
            (self.doubles, "messages that ran twice".to_owned()),
            (events, "events lost or doubled".to_owned()),
            (untold, "clients that were not told of a new state".to_owned()),
            (errors, format!("errors, the first {first:?}")),
            (
                self.count(|seen| usize::from(seen.trouble.is_some())),
                format!("clients that could not begin: {:?}", self.seen[0].trouble),
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{name}: {count} {what}"))
        .collect()
    }

    /// A row of the table in BENCHMARKS.md.
    pub fn row(&self) -> String {
        let shown = |percent| match self.recovery(percent) {
            Some(time) => format!("{:.2}", time.as_secs_f64()),
            None => "never".to_owned(),
        };
        let is_late = self.recovery(99).is_none_or(|time| time > self.fault.target());
        let lost_state = self.count(|seen| usize::from(seen.has_new_state));
        let told = self.count(|seen| usize::from(seen.has_new_state && seen.is_told));
        format!(
            "| {} | {} | {} | {} | {} | {} | {}{} | {} | {} | {} | {} |",
            self.fault.name(),
            self.state.name(),
            self.seen.len(),
            self.count(|seen| seen.errors.len()),
            self.count(|seen| seen.in_flight.len()),
            shown(50),
            shown(99),
            if is_late { " !" } else { "" },
            self.doubles,
            self.count(|seen| seen.lost_events + seen.doubled_events),
            self.count(|seen| usize::from(seen.is_lost)),
            if lost_state == 0 { "–".to_owned() } else { format!("{told} of {lost_state}") },
        )
    }
}

/// The head of that table.
pub const HEAD: &str = "\
| fault | state | sessions | errors | in flight | p50 s | p99 s | twice | events | lost | told |\n\
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|";
