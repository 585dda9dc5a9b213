use std::collections::BTreeMap;

use super::*;

fn server(name: &str) -> ServerName {
    ServerName::parse(name).unwrap()
}

fn key(name: &str) -> QuotaKey {
    QuotaKey::Credential(crate::model::Principal::named(name))
}

fn caps(per_server: usize, per_node: usize, per_principal: usize) -> Caps {
    let per_principal = Some(per_principal);
    let own = BTreeMap::from([(server("own"), 1)]);
    Caps::new(ProcessCaps { per_server, own, per_node, per_principal })
}

fn refusal(caps: &Caps, name: &str, principal: &str) -> String {
    match caps.try_enter(&server(name), &key(principal)) {
        Ok(_) => "taken".to_owned(),
        Err((full, _)) => full.to_string(),
    }
}

fn enter(caps: &Caps, name: &str, principal: &str) -> Permit {
    caps.try_enter(&server(name), &key(principal)).unwrap()
}

#[test]
fn the_limit_that_is_reached_is_named() {
    let caps = caps(2, 4, 3);
    let mut permits = vec![enter(&caps, "a", "p"), enter(&caps, "a", "p")];
    assert_eq!(
        refusal(&caps, "a", "q"),
        "all 2 of its processes are in use (limits.childrenPerServer)"
    );
    permits.push(enter(&caps, "own", "p"));
    assert_eq!(refusal(&caps, "own", "q"), "all 1 of its processes are in use (maxInstances)");
    assert_eq!(
        refusal(&caps, "b", "p"),
        "you have 3 processes in use (limits.childrenPerPrincipal), counted for the credential p; \
         end sessions that you no longer need"
    );
    permits.push(enter(&caps, "b", "q"));
    assert_eq!(
        refusal(&caps, "c", "r"),
        "all 4 processes of this node are in use (limits.childrenPerNode)"
    );
    drop(permits);
    assert_eq!(refusal(&caps, "a", "p"), "taken");
    assert_eq!(caps.of(&server("a")), 0);
    assert!(caps.counts.lock().keys.is_empty());
}

fn address(last: u8) -> QuotaKey {
    QuotaKey::of_address([10, 0, 0, last].into())
}

#[test]
fn an_address_has_a_share_of_the_node_and_of_each_server_and_a_credential_has_not() {
    let limits = |per_server, per_node, per_principal| ProcessCaps {
        per_server,
        own: BTreeMap::new(),
        per_node,
        per_principal,
    };
    let (one, named) = (address(1), key("p"));
    for (limits, of_node, of_server) in [
        (limits(100, 500, None), 125, 50),
        (limits(100, 18, None), 5, 50),
        (limits(8, 8, None), 4, 4),
        (limits(2, 3, None), 3, 2),
        (limits(100, 500, Some(500)), 500, 100),
        (limits(100, 500, Some(2)), 2, 100),
        (limits(100, 500, Some(9000)), 500, 100),
    ] {
        let seen = (limits.of_key(&one), limits.share(&one, limits.per_server));
        assert_eq!(seen, (of_node, of_server), "{limits:?}");
    }
    let default = limits(100, 500, None);
    assert_eq!((default.of_key(&named), default.share(&named, 100)), (500, 100));
    let caps = Caps::new(limits(10, 500, None));
    let _all: Vec<Permit> = (0..5).map(|_| caps.try_enter(&server("a"), &one).unwrap()).collect();
    let (full, _) = caps.try_enter(&server("a"), &one).unwrap_err();
    assert!(full.is_of_key() && full.is_of(&server("a"), &server("a")));
    assert!(!full.is_of(&server("a"), &server("b")));
    assert!(full.to_string().contains("childrenPerPrincipal"), "{full}");
    assert!(full.to_string().contains("the address 10.0.0.1"), "{full}");
    assert!(caps.try_enter(&server("b"), &one).is_ok());
}

#[test]
fn those_who_hold_what_counts_are_told_apart_by_the_limit() {
    let caps = caps(3, 5, 9);
    let mut permits: Vec<Permit> =
        ["p", "p", "q"].map(|name| enter(&caps, "a", name)).into_iter().collect();
    permits.extend(["p", "r"].map(|name| enter(&caps, "b", name)));
    let holders = |of: &str| {
        let (full, _) = caps.try_enter(&server(of), &key("s")).unwrap_err();
        let mut holders: Vec<(String, usize)> = caps
            .holders(&full, &server(of))
            .into_iter()
            .map(|(key, count)| (key.to_string().replace("the credential ", ""), count))
            .collect();
        holders.sort();
        holders
    };
    let of = |all: &[(&str, usize)]| -> Vec<(String, usize)> {
        all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    assert_eq!(holders("a"), of(&[("p", 2), ("q", 1)]));
    assert_eq!(holders("c"), of(&[("p", 3), ("q", 1), ("r", 1)]));
    permits[0].mark_ending();
    assert_eq!(holders("a"), of(&[("p", 1), ("q", 1)]), "without what is being ended");
    drop(permits);
    let counts = caps.counts.lock();
    assert!(counts.keys.is_empty() && counts.shares.is_empty());
}

#[test]
fn what_was_freed_for_one_start_is_taken_by_no_other() {
    let caps = caps(2, 3, 9);
    let mut held = vec![enter(&caps, "a", "p"), enter(&caps, "a", "p"), enter(&caps, "b", "p")];
    let promise = caps.promise(&server("a"), &key("q"));
    held.remove(0);
    assert!(refusal(&caps, "a", "p").contains("childrenPerServer"));
    assert!(refusal(&caps, "b", "r").contains("childrenPerNode"));
    let entered = enter(&caps, "a", "q");
    drop(promise);
    drop(entered);
    assert_eq!(refusal(&caps, "a", "p"), "taken");
}

#[tokio::test]
async fn who_finds_no_room_waits_for_what_is_being_ended_and_for_nothing_else() {
    let caps = caps(1, 10, 10);
    let mut first = enter(&caps, "a", "p");
    let (name, principal) = (server("a"), key("q"));
    assert!(caps.enter(&name, &principal).await.is_err());
    first.mark_ending();
    first.mark_ending();
    let ends = async {
        tokio::task::yield_now().await;
        drop(first);
    };
    let (entered, ()) = tokio::join!(caps.enter(&name, &principal), ends);
    let second = entered.unwrap();
    assert!(caps.enter(&name, &principal).await.is_err(), "nothing is being ended any more");
    drop(second);
}

#[test]
fn spares_have_what_sessions_leave_and_give_way() {
    let caps = caps(10, 2, 10);
    let spare = caps.enter_spare().unwrap();
    let _one = enter(&caps, "a", "p");
    assert!(caps.enter_spare().is_none());
    assert!(!caps.is_crowded());
    let _two = enter(&caps, "a", "p");
    assert!(caps.is_crowded());
    drop(spare);
    assert!(!caps.is_crowded());
}
