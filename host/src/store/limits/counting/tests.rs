use crate::model::{NodeId, ServerName};
use crate::store::Reported;
use crate::store::bindings::Forgotten;
use crate::store::limits::session_limits::MostSessions;

use super::*;

fn key(last: u8) -> QuotaKey {
    QuotaKey::of_address([10, 0, 0, last].into())
}

fn server(name: &str) -> ServerName {
    ServerName::parse(name).unwrap()
}

fn node() -> NodeId {
    NodeId::parse("n").unwrap()
}

/// Sessions at the server `fails` end when it is lost.
fn bounded(
    per_key: usize,
    in_all: usize,
) -> (Arc<Bindings>, tokio::sync::mpsc::Receiver<Forgotten>) {
    let ends = |server: &ServerName| server.as_str() == "fails";
    let (bindings, forgotten) = Bindings::new(MostSessions { per_key, in_all }, Box::new(ends));
    (Arc::new(bindings), forgotten)
}

fn begun(bindings: &Bindings, key: &QuotaKey) -> SessionId {
    let session = SessionId::mint();
    assert_eq!(bindings.admit(session, key), Ok(()));
    bindings.begun(session);
    session
}

fn used(bindings: &Bindings, key: &QuotaKey) -> SessionId {
    let session = begun(bindings, key);
    bindings.recognise(session, key);
    session
}

fn knows(bindings: &Bindings, session: SessionId) -> bool {
    bindings.record(session).is_some()
}

#[test]
fn a_key_has_its_number_of_used_sessions_and_no_more_until_one_is_gone() {
    let (bindings, _forgotten) = bounded(1, 100);
    let one = used(&bindings, &key(1));
    let other = SessionId::mint();
    assert_eq!(bindings.admit(other, &key(1)), Err(NoRoom::OfKey(1)));
    used(&bindings, &key(2));
    bindings.forget(one);
    bindings.forget(one);
    assert_eq!(bindings.of_key(&key(1)), 0);
    // It comes back, as after a restart: never refused, and counted.
    bindings.belongs_to(one, &key(1));
    assert_eq!(bindings.admit(other, &key(1)), Err(NoRoom::OfKey(1)));
    assert_eq!(bindings.sweep(Duration::from_secs(60)), 0);
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(bindings.sweep(Duration::ZERO), 2);
    assert_eq!(bindings.admit(other, &key(1)), Ok(()));
    bindings.forget(other);
    assert!(bindings.quotas.lock().is_empty());
}

#[test]
fn the_oldest_without_a_second_message_gives_way_and_comes_back() {
    let (bindings, _forgotten) = bounded(2, 100);
    let first = used(&bindings, &key(1));
    let second = begun(&bindings, &key(1));
    let others = begun(&bindings, &key(2));
    let third = begun(&bindings, &key(1));
    let known = |session| knows(&bindings, session);
    assert!(known(first) && !known(second) && known(others) && known(third));
    assert_eq!((bindings.of_key(&key(1)), bindings.met.per_key.gave_way()), (2, 1));
    // Its id goes on working; now the other one gives way, and nothing after that.
    bindings.recognise(second, &key(1));
    assert!(known(first) && known(second) && !known(third));
    let last = bindings.admit(SessionId::mint(), &key(1));
    assert_eq!(last, Err(NoRoom::OfKey(2)));
}

#[test]
fn a_session_counts_for_whoever_began_it_wherever_it_is_used() {
    let (bindings, _forgotten) = bounded(9, 100);
    let session = begun(&bindings, &key(1));
    bindings.recognise(session, &key(2));
    bindings.belongs_to(session, &key(3));
    assert_eq!(bindings.counts_for(session), Some(key(1)));
    assert_eq!([1, 2, 3].map(|last| bindings.of_key(&key(last))), [1, 0, 0]);
    // A node has reported it after a restart: whoever comes first is counted.
    let reported = SessionId::mint();
    let report = Reported { node: node(), epoch: None, opened_at: UnixMillis::now() };
    bindings.report(reported, &server("a"), &report, |_| false);
    assert_eq!(bindings.counts_for(reported), None);
    bindings.recognise(reported, &key(2));
    bindings.forget(reported);
    bindings.forget(session);
    assert!(bindings.quotas.lock().is_empty());
}

#[test]
fn sessions_that_come_back_do_not_make_a_key_have_more_than_its_number() {
    let (bindings, _forgotten) = bounded(3, 100);
    for _ in 0..20 {
        bindings.recognise(SessionId::mint(), &key(1));
    }
    assert_eq!((bindings.of_key(&key(1)), bindings.sessions()), (3, 3));
}

#[test]
fn what_waits_for_its_second_message_is_forgotten_in_time_and_the_rest_is_not() {
    let (bindings, mut forgotten) = bounded(9, 100);
    let (bare, bound, fails) =
        (begun(&bindings, &key(1)), begun(&bindings, &key(1)), begun(&bindings, &key(1)));
    bindings.claim(bound, &server("a"), None, &node());
    bindings.claim(fails, &server("fails"), None, &node());
    let (listens, stays) = (begun(&bindings, &key(1)), used(&bindings, &key(1)));
    let held = bindings.hold(listens);
    assert_eq!(bindings.sweep_unused(Duration::from_secs(60)), 0);
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(bindings.sweep_unused(Duration::ZERO), 2);
    let known = [bare, bound, fails, listens, stays].map(|session| knows(&bindings, session));
    assert_eq!(known, [false, false, true, true, true]);
    assert_eq!(bindings.of_key(&key(1)), 3);
    let (session, servers) = forgotten.try_recv().unwrap();
    assert_eq!((session, servers.len(), bindings.load("n")), (bound, 1, 1));
    assert!(forgotten.try_recv().is_err(), "the other one had no server");
    drop(held);
}

#[test]
fn a_session_whose_server_still_starts_does_not_give_way() {
    let (bindings, _forgotten) = bounded(2, 100);
    let starts = SessionId::mint();
    assert_eq!(bindings.admit(starts, &key(1)), Ok(()));
    let held = bindings.hold(starts);
    begun(&bindings, &key(1));
    begun(&bindings, &key(1));
    std::thread::sleep(Duration::from_millis(3));
    bindings.sweep_unused(Duration::ZERO);
    assert!(knows(&bindings, starts));
    drop(held);
    bindings.begun(starts);
    assert_eq!(bindings.sweep_unused(Duration::from_secs(60)), 0, "its minute begins now");
    std::thread::sleep(Duration::from_millis(3));
    assert_eq!(bindings.sweep_unused(Duration::ZERO), 1);
}

#[test]
fn where_all_are_too_many_the_least_used_go_and_those_of_the_largest_key_first() {
    let (bindings, _forgotten) = bounded(100, 4);
    let small = used(&bindings, &key(1));
    let [bound, two, fresh] =
        [used(&bindings, &key(2)), used(&bindings, &key(2)), begun(&bindings, &key(1))];
    bindings.claim(bound, &server("a"), None, &node());
    let known = |session| knows(&bindings, session);
    used(&bindings, &key(3));
    assert!(!known(fresh) && known(small) && known(two) && known(bound));
    assert_eq!((bindings.sessions(), bindings.met.in_all.gave_way()), (4, 1));
    // Of the used ones, those that hold a server go last. Shards are looked at one by one, so the
    // largest key is found where two are in one shard only.
    used(&bindings, &key(3));
    used(&bindings, &key(3));
    used(&bindings, &key(3));
    assert_eq!(bindings.sessions(), 4);
    bindings.begin(SessionId::mint());
    assert_eq!(bindings.sessions(), 4);
}

#[test]
fn where_all_have_an_open_stream_their_own_key_waits_and_an_old_session_goes_on() {
    let (bindings, _forgotten) = bounded(100, 2);
    let held = [(); 2].map(|()| bindings.hold(used(&bindings, &key(1))));
    assert_eq!(bindings.admit(SessionId::mint(), &key(1)), Err(NoRoom::InAll(2)));
    bindings.recognise(SessionId::mint(), &key(1));
    assert_eq!(bindings.sessions(), 3);
    drop(held);
    assert_eq!(bindings.admit(SessionId::mint(), &key(1)), Ok(()));
    assert_eq!(bindings.sessions(), 2);
}

#[test]
fn where_one_key_has_all_with_open_streams_another_still_begins() {
    let (bindings, _forgotten) = bounded(100, 2);
    let _held = [(); 2].map(|()| bindings.hold(used(&bindings, &key(1))));
    let session = SessionId::mint();
    assert_eq!(bindings.admit(session, &key(2)), Ok(()));
    assert_eq!([1, 2].map(|last| bindings.of_key(&key(last))), [1, 1]);
    let _also_held = bindings.hold(session);
    assert_eq!(bindings.admit(SessionId::mint(), &key(3)), Err(NoRoom::InAll(2)));
}

#[test]
fn sessions_that_end_with_their_server_do_not_keep_other_keys_out() {
    let (bindings, _forgotten) = bounded(100, 5);
    let bound = |last| {
        let session = used(&bindings, &key(last));
        bindings.claim(session, &server("fails"), None, &node());
        session
    };
    let [_, _, _] = [1, 1, 1].map(bound);
    let smaller = [2, 2].map(bound);
    assert_eq!(bindings.admit(SessionId::mint(), &key(1)), Err(NoRoom::InAll(5)));
    assert_eq!(bindings.admit(SessionId::mint(), &key(2)), Err(NoRoom::InAll(5)));
    assert_eq!(bindings.admit(SessionId::mint(), &key(3)), Ok(()));
    assert_eq!([1, 2, 3].map(|last| bindings.of_key(&key(last))), [2, 2, 1]);
    assert!(smaller.iter().all(|session| knows(&bindings, *session)));
}

#[test]
fn a_forgotten_session_that_goes_on_is_counted_again() {
    let (bindings, _forgotten) = bounded(100, 100);
    let session = used(&bindings, &key(1));
    bindings.forget(session);
    bindings.goes_on(session, &key(1));
    assert_eq!(bindings.of_key(&key(1)), 1);
    bindings.goes_on(session, &key(1));
    assert_eq!(bindings.of_key(&key(1)), 1);
    bindings.forget(session);
    let held = bindings.hold_for(session, &key(2));
    assert_eq!((bindings.of_key(&key(1)), bindings.of_key(&key(2))), (0, 1));
    drop(held);
    bindings.forget(session);
    assert!(bindings.quotas.lock().is_empty());
}

#[test]
fn a_stream_is_counted_once_with_and_without_its_session() {
    let (bindings, _forgotten) = bounded(2, 100);
    let stream = SessionId::mint();
    assert_eq!(bindings.admit(stream, &key(1)), Ok(()));
    let held = bindings.hold(stream);
    assert_eq!(bindings.admit(stream, &key(1)), Ok(()), "its initialize");
    bindings.begun(stream);
    bindings.forget_unless_held(stream);
    assert_eq!(bindings.of_key(&key(1)), 1);
    drop(held);
    bindings.forget_unless_held(stream);
    assert!(bindings.quotas.lock().is_empty());
}

#[test]
fn subscriptions_are_bounded_in_bytes_too() {
    let (bindings, _forgotten) = bounded(9, 100);
    let session = used(&bindings, &key(1));
    let noted = || bindings.record(session).unwrap().subscriptions.len();
    bindings.subscribe(session, &server("a"), &"x".repeat(1 << 20));
    assert_eq!(noted(), 0);
    for number in 0..70 {
        bindings.subscribe(session, &server("a"), &format!("{number:01000}"));
    }
    assert_eq!(noted(), 61);
    bindings.unsubscribe(session, &server("a"), &format!("{:01000}", 3));
    bindings.subscribe(session, &server("a"), "one more");
    assert_eq!(noted(), 61);
    bindings.forget(session);
    assert!(bindings.quotas.lock().is_empty());
}

#[test]
fn subscriptions_of_one_key_are_bounded_over_all_its_sessions() {
    let (bindings, _forgotten) = bounded(1000, 10_000);
    let uri = "x".repeat(60 << 10);
    let sessions: Vec<SessionId> = (0..300).map(|_| used(&bindings, &key(1))).collect();
    for session in &sessions {
        bindings.subscribe(*session, &server("a"), &uri);
    }
    let noted = |session: &SessionId| bindings.record(*session).unwrap().subscriptions.len();
    let of_one: usize = sessions.iter().map(noted).sum();
    assert_eq!(of_one, (16 << 20) / (uri.len() + 64));
    let other = used(&bindings, &key(2));
    bindings.subscribe(other, &server("a"), &uri);
    assert_eq!(noted(&other), 1);
}
