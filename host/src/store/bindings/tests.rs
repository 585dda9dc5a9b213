use std::time::Duration;

use super::*;
use crate::store::{ReportOutcome, Reported};

fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

fn server() -> ServerName {
    ServerName::parse("a").unwrap()
}

/// The report of a node that knows no epochs.
fn of_before(id: &str, at: u64) -> Reported {
    Reported { node: node(id), epoch: None, opened_at: UnixMillis(at) }
}

#[test]
fn of_two_first_claims_one_wins_and_both_learn_it() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    assert_eq!(bindings.claim(session, &server(), None, &node("n1")), node("n1"));
    assert_eq!(bindings.claim(session, &server(), None, &node("n2")), node("n1"));
    let moved = bindings.claim(session, &server(), Some(&node("n1")), &node("n2"));
    assert_eq!(moved, node("n2"));
    assert_eq!((bindings.load("n1"), bindings.load("n2")), (0, 1));
}

#[test]
fn the_older_open_wins_between_two_nodes_that_report_one_session() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    let report = |id: &str, at| bindings.report(session, &server(), &of_before(id, at), |_| false);
    assert_eq!(report("n1", 20), ReportOutcome::Taken);
    assert_eq!(report("n2", 30), ReportOutcome::Older(node("n1")));
    assert_eq!(report("n3", 10), ReportOutcome::Replaced(node("n1"), None));
    assert_eq!(bindings.look(session, &server()), Some(node("n3")));
}

#[test]
fn a_node_that_comes_back_does_not_take_a_moved_session_along() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    bindings.claim(session, &server(), None, &node("n2"));
    let report = bindings.report(session, &server(), &of_before("n1", 1), |_| false);
    assert_eq!(report, ReportOutcome::Older(node("n2")));
    assert_eq!(bindings.look(session, &server()), Some(node("n2")));
}

#[test]
fn a_server_that_was_open_is_known_as_such_wherever_it_goes() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    let was_open = || bindings.was_open(session, &server());
    bindings.claim(session, &server(), None, &node("n1"));
    assert!(!was_open(), "it was only chosen");
    bindings.release(session, &server(), &node("n1"));
    bindings.claim(session, &server(), None, &node("n1"));
    assert!(!was_open());
    assert!(!bindings.opened(session, &server(), &node("n2"), None));
    assert!(!was_open(), "another node's");
    assert!(bindings.opened(session, &server(), &node("n1"), None));
    assert!(bindings.get(session, &server()).unwrap().was_open);
    bindings.claim(session, &server(), Some(&node("n1")), &node("n2"));
    assert!(bindings.get(session, &server()).unwrap().was_open);
    bindings.release(session, &server(), &node("n2"));
    assert!(was_open() && bindings.get(session, &server()).is_none());
    bindings.claim(session, &server(), None, &node("n1"));
    assert!(bindings.get(session, &server()).unwrap().was_open);
}

#[test]
fn what_was_opened_while_its_binding_was_released_is_bound_again() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    bindings.claim(session, &server(), None, &node("n1"));
    bindings.release(session, &server(), &node("n1"));
    assert!(bindings.opened(session, &server(), &node("n1"), None));
    assert!(bindings.get(session, &server()).unwrap().was_open);
    assert!(bindings.opened(SessionId::mint(), &server(), &node("n1"), None), "forgotten");
}

#[test]
fn what_is_held_is_not_swept_however_long_it_is_silent() {
    let bindings = Arc::new(Bindings::default());
    let session = SessionId::mint();
    bindings.claim(session, &server(), None, &node("n1"));
    let held = bindings.hold(session);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(bindings.sweep(Duration::ZERO), 0);
    drop(held);
    assert_eq!(bindings.sweep(Duration::from_millis(20)), 0, "the idle time begins");
    let held = bindings.hold(session);
    bindings.forget(session);
    drop(held);
    assert!(bindings.record(session).is_none());
}

#[test]
fn what_is_not_used_is_swept_and_counted_off() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    bindings.claim(session, &server(), None, &node("n1"));
    assert_eq!(bindings.sweep(Duration::from_secs(60)), 0);
    assert_eq!(bindings.sessions(), 1);
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(bindings.sweep(Duration::ZERO), 1);
    assert_eq!((bindings.sessions(), bindings.load("n1")), (0, 0));
    assert_eq!(bindings.get(session, &server()), None);
}

#[test]
fn a_live_holder_keeps_its_session_whoever_reports_it() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    let report = |id: &str, at, is_alive: bool| {
        bindings.report(session, &server(), &of_before(id, at), |_| is_alive)
    };
    assert_eq!(report("n1", 20, true), ReportOutcome::Taken);
    assert_eq!(report("n2", 1, true), ReportOutcome::Older(node("n1")));
    assert_eq!(report("n2", 1, false), ReportOutcome::Replaced(node("n1"), None));
}

#[test]
fn subscriptions_are_bounded_in_bytes_and_counted() {
    let bindings = Bindings::default();
    let (one, other) = (SessionId::mint(), SessionId::mint());
    let uri = |number: usize| format!("{number:0>1000}");
    for number in 0..100 {
        bindings.subscribe(one, &server(), &uri(number));
        bindings.subscribe(one, &server(), &uri(number));
    }
    assert_eq!(bindings.subscribed(), 61 * 1000);
    bindings.unsubscribe(one, &server(), &uri(0));
    assert_eq!(bindings.subscribed(), 60 * 1000);
    bindings.subscribe(other, &server(), &uri(0));
    assert_eq!(bindings.subscribed(), 61 * 1000, "each session has its own bound");
    bindings.forget(one);
    bindings.forget(other);
    assert_eq!(bindings.subscribed(), 0);
}

#[test]
fn nodes_without_bindings_are_forgotten() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    bindings.claim(session, &server(), None, &node("n1"));
    bindings.claim(session, &server(), Some(&node("n1")), &node("n2"));
    bindings.sweep(Duration::MAX);
    assert_eq!(bindings.loads.read().len(), 1);
    assert_eq!((bindings.load("n1"), bindings.load("n2")), (0, 1));
}
