//! Thousands of schedules, and the planted faults.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::Locked;

use super::plan::Plant;
use super::witness::{Invariant, Violation};
use super::{process, simulate};

/// Schedules of each run: one takes about 10 ms of a core.
const SCHEDULES: u64 = 2_500;
/// Schedules of `./test --long`.
const LONG: u64 = 10_000;
/// Within so many schedules a planted fault must be found.
const FOUND_WITHIN: u64 = SCHEDULES;

/// Plays schedules on all cores until a violation of what is looked for is found. Returns all that
/// were, by seed.
fn explore(
    seeds: std::ops::Range<u64>,
    plant: Plant,
    until: Option<Invariant>,
) -> Vec<(u64, Violation)> {
    process::prepare();
    let (next, found) = (AtomicU64::new(seeds.start), Locked::new(Vec::new()));
    let (ran, moves) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_found = |found: &[(u64, Violation)]| {
                        found.iter().any(|(_, violation)| Some(violation.invariant) == until)
                    };
                    if seed >= seeds.end || is_found(&found.lock()) {
                        return;
                    }
                    let shown = simulate(seed, plant, false);
                    ran.fetch_add(shown.ran, Ordering::Relaxed);
                    moves.fetch_add(shown.moves, Ordering::Relaxed);
                    let violations = shown.violations.into_iter().map(|one| (seed, one));
                    found.lock().extend(violations);
                }
            });
        }
    });
    eprintln!(
        "{} schedules: {} messages that must not run twice, {} moves of sessions",
        next.load(Ordering::Relaxed).min(seeds.end) - seeds.start,
        ran.load(Ordering::Relaxed),
        moves.load(Ordering::Relaxed)
    );
    let mut found = std::mem::take(&mut *found.lock());
    found.sort_by_key(|(seed, _)| *seed);
    found
}

fn shown(found: &[(u64, Violation)]) -> String {
    let line = |(seed, violation): &(u64, Violation)| {
        format!("MOORING_SIM_SEED={seed}: {:?}: {}", violation.invariant, violation.what)
    };
    found.iter().take(20).map(line).collect::<Vec<_>>().join("\n")
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Plays as many schedules, unless the environment names one, or another number.
fn breaks_nothing(schedules: u64) {
    if let Some(seed) = number("MOORING_SIM_SEED") {
        process::prepare();
        let filter = tracing_subscriber::EnvFilter::try_from_env("MOORING_LOG");
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr).without_time();
        let _ = log.with_env_filter(filter.unwrap_or_else(|_| "info".into())).try_init();
        let found = simulate(seed, Plant::None, true).violations;
        let found: Vec<_> = found.into_iter().map(|violation| (seed, violation)).collect();
        assert!(found.is_empty(), "{}", shown(&found));
        return;
    }
    let count = number("MOORING_SIM_SCHEDULES").unwrap_or(schedules);
    let found = explore(0..count, Plant::None, None);
    assert!(found.is_empty(), "{} violations\n{}", found.len(), shown(&found));
}

#[test]
fn schedules_of_faults_break_nothing() {
    breaks_nothing(SCHEDULES);
}

#[test]
#[ignore = "long: two minutes of a core; a quarter of them runs each time"]
fn ten_thousand_schedules_of_faults_break_nothing() {
    breaks_nothing(LONG);
}

#[test]
fn a_seed_plays_the_same_each_time() {
    process::prepare();
    for seed in 0..20 {
        let play = || {
            let shown = simulate(seed, Plant::None, false);
            let what: Vec<String> = shown.violations.into_iter().map(|one| one.what).collect();
            (shown.ran, shown.moves, what)
        };
        assert_eq!(play(), play(), "seed {seed}");
    }
}

#[test]
fn each_planted_fault_is_found() {
    for (plant, invariant) in [
        (Plant::BindingsAreForgotten, Invariant::OneOwner),
        (Plant::SentIsCalledUnsent, Invariant::RunsOnce),
        (Plant::LeftIsCalledCurrent, Invariant::NoWayBack),
        (Plant::UnknownIsCalledKnown, Invariant::Served),
    ] {
        let found = explore(0..FOUND_WITHIN, plant, Some(invariant));
        let is_found = found.iter().any(|(_, violation)| violation.invariant == invariant);
        assert!(is_found, "{plant:?} is not found: {}", shown(&found));
    }
}
