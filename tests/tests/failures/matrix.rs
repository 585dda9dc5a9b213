//! Each fault and each state in every run, and the whole matrix in `./test --long`.
//!
//! The whole matrix prints its table for BENCHMARKS.md, and writes it to the file that
//! `MOORING_FAILURES_TABLE` names. `MOORING_FAILURES` picks faults by a part of their name.

use std::io::Write as _;

use super::cell::{self, Cell, HEAD};
use super::faults::Fault;
use super::states::State;

/// Sessions in each state, in the whole matrix.
const SESSIONS: usize = 4;

#[track_caller]
fn holds(fault: Fault, states: &[State]) {
    let Some(cells) = cell::run(fault, states, 1, false) else { return };
    let wrongs: Vec<String> = cells.iter().flat_map(Cell::wrongs).collect();
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}

#[test]
fn a_server_that_is_killed_costs_nothing_but_the_call_it_was_working_on() {
    holds(Fault::KillServer, &[State::Idle, State::Unsafe, State::Safe]);
}

#[test]
fn a_node_that_is_killed_costs_nothing_but_the_calls_it_was_working_on() {
    holds(Fault::KillNode, &[State::List, State::Unsafe, State::Sse, State::Question]);
}

#[test]
fn a_coordinator_that_is_killed_and_started_costs_no_session_and_no_event() {
    holds(Fault::KillCoordinator, &[State::Idle, State::Stream, State::Long, State::Aggregate]);
}

#[test]
fn a_supervisor_that_is_killed_costs_nothing_but_calls() {
    holds(Fault::KillSupervisor, &[State::Idle, State::SseCall]);
}

#[test]
fn a_node_that_stands_still_costs_no_session() {
    holds(Fault::StopNode, &[State::Idle, State::List]);
}

#[test]
fn a_coordinator_that_stands_still_costs_nothing() {
    holds(Fault::StopCoordinator, &[State::Long, State::Stream, State::Safe]);
}

#[test]
fn a_node_that_is_asked_to_end_costs_nothing() {
    holds(Fault::TermNode, &[State::Idle, State::Unsafe, State::Safe, State::Question]);
}

#[test]
fn a_coordinator_that_is_restarted_costs_no_session() {
    holds(Fault::TermCoordinator, &[State::Idle, State::List]);
}

#[test]
fn a_node_that_is_killed_and_comes_back_costs_no_session() {
    holds(Fault::RestartNode, &[State::Idle, State::Stream]);
}

#[test]
fn a_cable_that_is_cut_costs_no_session() {
    holds(Fault::Partition, &[State::Idle, State::Safe]);
}

#[test]
fn a_proxy_that_accepts_and_closes_costs_no_session() {
    holds(Fault::AcceptAndClose, &[State::Idle, State::List]);
}

#[test]
fn a_store_that_is_lost_and_comes_back_empty_costs_nothing() {
    holds(Fault::KillRedis, &[State::Idle, State::Unsafe, State::Stream, State::Aggregate]);
}

#[test]
fn a_store_that_stands_still_costs_nothing() {
    holds(Fault::StopRedis, &[State::Idle, State::Safe, State::SseCall]);
}

#[test]
fn a_store_that_is_emptied_costs_nothing() {
    holds(Fault::EmptyRedis, &[State::Idle, State::List, State::Sse, State::Question]);
}

#[test]
#[ignore = "long: every fault with every state; one cell of each kind runs each time"]
fn no_fault_costs_a_session_in_any_state() {
    let picked = std::env::var("MOORING_FAILURES").unwrap_or_default();
    let faults = Fault::ALL.into_iter().filter(|fault| fault.name().contains(&picked));
    let (mut table, mut wrongs) = (HEAD.to_owned(), Vec::new());
    for fault in faults {
        for cell in cell::run(fault, &State::ALL, SESSIONS, true).into_iter().flatten() {
            let row = cell.row();
            eprintln!("{row}");
            table = format!("{table}\n{row}");
            wrongs.extend(cell.wrongs());
        }
    }
    println!("\nfor BENCHMARKS.md:\n{table}");
    if let Some(path) = std::env::var_os("MOORING_FAILURES_TABLE") {
        let mut file = std::fs::File::create(path).unwrap();
        writeln!(file, "{table}").unwrap();
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}
