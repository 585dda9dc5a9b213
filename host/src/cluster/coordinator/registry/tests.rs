//! Leases over time, and what the edge sees of them.

use crate::cluster::RoomReport;
use crate::config::Secret;
use crate::model::{Health, Room};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(15);

fn entry(id: &str, at: Instant) -> NodeEntry {
    let reach = Reach::Remote("http://10.0.0.1:3001".into());
    let id = NodeId::parse(id).unwrap();
    NodeEntry {
        incarnation: Secret::new("one"),
        last_heartbeat: UnixMillis(7),
        last_seen: at,
        ..NodeEntry::new(id.clone(), id.to_string(), reach, "10.0.0.1".into(), 3001)
    }
}

fn status(registry: &Registry, id: &str) -> Option<LeaseStatus> {
    registry.get(&NodeId::parse(id).unwrap()).map(|entry| entry.status)
}

#[test]
fn a_lease_runs_out_once_and_only_a_registration_brings_the_node_back() {
    let registry = Registry::new(TIMEOUT);
    let (start, id) = (Instant::now(), NodeId::parse("n1").unwrap());
    registry.enter(entry("n1", start));
    assert_eq!(registry.expire(start + TIMEOUT), []);
    let late = start + TIMEOUT + Duration::from_millis(1);
    let unhealthy = LeaseChange::Unhealthy { id: id.clone(), last_heartbeat: UnixMillis(7) };
    assert_eq!(registry.expire(late), [unhealthy]);
    assert_eq!(registry.expire(late), []);
    assert_eq!(registry.heartbeat(&id, "one", Beat::default(), late), Err(Unknown));
    assert_eq!(status(&registry, "n1"), Some(LeaseStatus::Unhealthy));
    registry.register(entry("n1", late)).unwrap();
    assert_eq!(registry.heartbeat(&id, "one", Beat::default(), late), Ok(()));
    assert_eq!(status(&registry, "n1"), Some(LeaseStatus::Active));
}

#[test]
fn long_dead_nodes_are_forgotten() {
    let registry = Registry::new(TIMEOUT);
    let start = Instant::now();
    registry.enter(entry("n1", start));
    registry.expire(start + TIMEOUT * 2);
    assert_eq!(registry.clean_up(start + TIMEOUT * 10), []);
    assert_eq!(registry.clean_up(start + TIMEOUT * 12), [], "its servers are listed yet");
    let removed = registry.clean_up(start + TIMEOUT * 13);
    assert_eq!(removed, [LeaseChange::Removed { id: NodeId::parse("n1").unwrap() }]);
    assert_eq!(status(&registry, "n1"), None);
}

#[test]
fn a_heartbeat_of_another_start_or_after_good_bye_is_unknown() {
    let registry = Registry::new(TIMEOUT);
    let (now, id) = (Instant::now(), NodeId::parse("n1").unwrap());
    assert_eq!(registry.heartbeat(&id, "one", Beat::default(), now), Err(Unknown));
    registry.enter(entry("n1", now));
    for other in ["", "o", "onee"] {
        assert_eq!(registry.heartbeat(&id, other, Beat::default(), now), Err(Unknown));
        assert!(!registry.deregister(&id, other));
    }
    assert_eq!(registry.heartbeat(&id, "two", Beat::default(), now), Err(Unknown));
    assert!(!registry.deregister(&id, "two"));
    assert!(registry.deregister(&id, "one"));
    assert_eq!(registry.heartbeat(&id, "one", Beat::default(), now), Err(Unknown));
}

#[test]
fn only_what_the_edge_can_see_makes_a_new_topology() {
    let registry = Registry::new(TIMEOUT);
    let (now, id) = (Instant::now(), NodeId::parse("n1").unwrap());
    registry.enter(entry("n1", now));
    let generation = || registry.topology().borrow().generation;
    let before = generation();
    let _ = registry.heartbeat(&id, "one", Beat::default(), now);
    assert_eq!(generation(), before);
    assert!(registry.suspect(&id, now));
    assert!(!registry.suspect(&id, now));
    assert_eq!(generation(), before + 1);
    let _ = registry.heartbeat(&id, "one", Beat { draining: true, ..Beat::default() }, now);
    assert_eq!(registry.topology().borrow().nodes[0].health, Health::Draining);
    let servers: BTreeMap<_, _> =
        [(ServerName::parse("one").unwrap(), Replica::of_weight(1))].into_iter().collect();
    let before = generation();
    for _ in 0..2 {
        let beat = Beat { servers: Some(servers.clone()), draining: true, ..Beat::default() };
        let _ = registry.heartbeat(&id, "one", beat, now);
        assert_eq!(generation(), before + 1);
        assert_eq!(registry.topology().borrow().nodes[0].servers, servers);
    }
}

#[test]
fn a_heartbeat_that_does_not_speak_of_load_leaves_it_as_it_was() {
    let registry = Registry::new(TIMEOUT);
    let (now, id) = (Instant::now(), NodeId::parse("n1").unwrap());
    registry.enter(entry("n1", now));
    let room = || registry.topology().borrow().nodes[0].room;
    assert_eq!(room(), Room::Free);
    let load = LoadReport { room: RoomReport::Full, ..LoadReport::default() };
    for (load, expect) in [
        (Some(load.clone()), Room::Full),
        (None, Room::Full),
        (Some(LoadReport { room: RoomReport::LowMemory, ..load }), Room::LowMemory),
        (Some(LoadReport::default()), Room::Free),
    ] {
        let beat = Beat { load, ..Beat::default() };
        assert_eq!(registry.heartbeat(&id, "one", beat, now), Ok(()));
        assert_eq!(room(), expect);
    }
}

#[test]
fn nodes_and_what_they_report_are_bounded_together() {
    let now = Instant::now();
    let registry = Registry::new(Duration::from_secs(15));
    let sized = |id: &str, size| NodeEntry { size, ..entry(id, now) };
    assert_eq!(registry.register(sized("n1", MAX_REPORTS)), Ok(()));
    assert_eq!(registry.register(sized("n2", 1)), Err(Full));
    assert_eq!(registry.register(sized("n1", MAX_REPORTS - 1)), Ok(()), "it replaces itself");
    assert_eq!(registry.register(sized("n2", 1)), Ok(()));
    let id = NodeId::parse("n2").unwrap();
    let more = Beat { servers: Some(BTreeMap::new()), size: 2, ..Beat::default() };
    assert_eq!(registry.heartbeat(&id, "one", more, now), Err(Unknown));
    let instances = [("s".repeat(100), 1)].into_iter().collect();
    let load = LoadReport { instances, ..LoadReport::default() };
    let loaded = Beat { load: Some(load), ..Beat::default() };
    assert_eq!(registry.heartbeat(&id, "one", loaded, now), Err(Unknown));
    let labels = vec![("zone".into(), "x".into())];
    assert_eq!(registry.register(NodeEntry { labels, ..sized("n2", 1) }), Err(Full));
    let others = (3..=MAX_NODES).map(|number| entry(&format!("n{number}"), now));
    registry.nodes.lock().extend(others.map(|entry| (entry.id.clone(), entry)));
    assert_eq!(registry.register(sized("one-more", 0)), Err(Full));
}

#[test]
fn of_two_nodes_with_one_url_the_active_one_is_there() {
    let registry = Registry::new(TIMEOUT);
    let now = Instant::now();
    registry.enter(entry("n1", now));
    registry.enter(entry("n2", now));
    let at = || registry.read_at("http://10.0.0.1:3001", |entry| entry.id.to_string());
    assert!(registry.deregister(&NodeId::parse("n1").unwrap(), "one"));
    assert_eq!(at().as_deref(), Some("n2"));
    assert!(registry.read_at("http://10.0.0.1:3002", |_| ()).is_none());
}

#[test]
fn at_one_address_there_is_the_node_that_has_registered_last() {
    let registry = Registry::new(TIMEOUT);
    let now = Instant::now();
    let starts = || registry.starts();
    assert_eq!(registry.register(entry("n2", now)), Ok(()));
    assert_eq!((status(&registry, "n2"), starts()), (Some(LeaseStatus::Active), 1));
    assert_eq!(registry.register(entry("n2", now)), Ok(()));
    assert_eq!(starts(), 1, "the same start once more");
    assert_eq!(registry.register(entry("n3", now)), Ok(()));
    assert_eq!((status(&registry, "n2"), starts()), (Some(LeaseStatus::Inactive), 2));
    let at = registry.read_at("http://10.0.0.1:3001", |entry| entry.id.to_string());
    assert_eq!(at.as_deref(), Some("n3"));
    let again = NodeEntry { incarnation: Secret::new("two"), ..entry("n3", now) };
    assert_eq!((registry.register(again), starts()), (Ok(()), 3));
}

#[test]
fn the_id_of_a_node_that_has_missed_its_recall_is_kept_for_a_while() {
    let registry = Registry::new(TIMEOUT);
    let (now, id) = (Instant::now(), NodeId::parse("n1").unwrap());
    let holder = || registry.get(&id).map(|entry| entry.incarnation.expose().to_owned());
    registry.expect(vec![entry("n1", now)]);
    assert_eq!(holder().as_deref(), Some("one"));
    // Its heartbeats are refused, so that it registers and says which sessions it holds.
    assert_eq!(registry.heartbeat(&id, "one", Beat::default(), now), Err(Unknown));
    assert_eq!(status(&registry, "n1"), Some(LeaseStatus::Unhealthy));
    let second = NodeEntry { incarnation: Secret::new("two"), ..entry("n1", now) };
    assert_eq!(registry.register(second), Ok(()));
    assert_eq!(holder().as_deref(), Some("two"));
    registry.expect(vec![entry("n2", now), entry("n1", now)]);
    assert_eq!(status(&registry, "n1"), Some(LeaseStatus::Active), "it is back already");
    registry.clean_up(now + TIMEOUT * 10);
    assert!(status(&registry, "n2").is_some());
    registry.clean_up(now + TIMEOUT * 10 + Duration::from_millis(1));
    assert_eq!(status(&registry, "n2"), None);
}

fn away(registry: &Registry, id: &str) -> Option<(Absence, bool)> {
    let topology = registry.current().load_full();
    let node = topology.node(&NodeId::parse(id).unwrap())?;
    node.away.map(|away| (away.how, away.is_listed))
}

#[test]
fn a_node_that_is_away_is_listed_for_a_while_however_it_has_left() {
    let grace = TIMEOUT * 20;
    let registry = Registry::new(TIMEOUT).with_away_timeout(grace);
    let now = Instant::now();
    for id in ["silent", "left", "replaced"] {
        let entry = entry(id, now);
        registry.register(NodeEntry { url: format!("http://{id}"), ..entry }).unwrap();
    }
    registry.expect(vec![entry("missing", now)]);
    assert_eq!(away(&registry, "silent"), None);
    assert!(registry.deregister(&NodeId::parse("left").unwrap(), "one"));
    registry.register(NodeEntry { url: "http://replaced".into(), ..entry("new", now) }).unwrap();
    let late = now + TIMEOUT * 2;
    registry.expire(late);
    for (id, how) in
        [("silent", Absence::Silent), ("left", Absence::GoodBye), ("missing", Absence::NotBack)]
    {
        assert_eq!(away(&registry, id), Some((how, true)), "{id}");
    }
    assert_eq!(away(&registry, "replaced"), None, "another node has its address");
    registry.clean_up(now + TIMEOUT * 11);
    assert!(away(&registry, "left").is_some(), "what is listed is not forgotten");
    registry.expire(late + grace + Duration::from_millis(1));
    for id in ["silent", "left", "missing"] {
        assert_eq!(away(&registry, id).map(|(_, is_listed)| is_listed), Some(false), "{id}");
    }
    assert_eq!(registry.clean_up(late + grace + Duration::from_millis(1)).len(), 4);
}

#[test]
fn a_suspect_node_is_away_until_its_next_heartbeat() {
    let registry = Registry::new(TIMEOUT);
    let (now, id) = (Instant::now(), NodeId::parse("n1").unwrap());
    registry.register(entry("n1", now)).unwrap();
    registry.suspect(&id, now);
    assert_eq!(away(&registry, "n1"), Some((Absence::Unreachable, true)));
    registry.heartbeat(&id, "one", Beat::default(), now).unwrap();
    assert_eq!(away(&registry, "n1"), None);
}

#[test]
fn secrets_of_a_node_are_not_shown() {
    let shown = NodeEntry {
        incarnation: Secret::new("incarnation-1"),
        secret: Some(Secret::new("secret-1")),
        ..entry("n1", Instant::now())
    };
    let shown = format!("{shown:?}");
    assert!(!shown.contains("incarnation-1") && !shown.contains("secret-1"), "{shown}");
}

#[test]
fn what_has_not_changed_is_the_value_of_before() {
    let registry = Registry::new(TIMEOUT);
    for id in ["n1", "n2", "n3"] {
        let url = format!("http://{id}");
        let own = NodeEntry { url, ..entry(id, Instant::now()) };
        registry.register(own).unwrap();
    }
    let nodes = || registry.current().load().nodes.clone();
    let before = nodes();
    registry.suspect(&NodeId::parse("n2").unwrap(), Instant::now());
    let after = nodes();
    let same: Vec<bool> = before.iter().zip(&after).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!(same, [true, false, true]);
    assert_eq!(after[1].health, Health::Suspect);
}
