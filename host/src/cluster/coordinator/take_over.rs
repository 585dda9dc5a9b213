//! Whose a known id is. A node that lives keeps its id, whatever a newcomer says, and whatever
//! keeps the coordinator from reaching it for a moment.

use std::net::IpAddr;
use std::time::Instant;

use crate::model::Reach;
use crate::net::Sign;
use crate::seam::Link;
use crate::sync::now;

use super::callback::Callback;
use super::node_entry::{LeaseStatus, NodeEntry};
use super::registry::Registry;
use super::rejected::Rejected;

/// Heartbeat intervals of silence after which a node that does not answer either is gone.
const SILENT_INTERVALS: u32 = 2;

/// Refuses a process whose id another process has that may still be there. The process has proved
/// to be at its address.
pub async fn refuse_second(
    entry: &NodeEntry,
    registry: &Registry,
    callback: &Callback,
    link: &Link,
) -> Result<(), Rejected> {
    let Some(known) = registry.get(&entry.id) else { return Ok(()) };
    let in_use = || Rejected::InUse(entry.id.to_string());
    if known.reach == Reach::Local {
        return Err(in_use());
    }
    // Without a token every process could have any id, so it stays where it is until the node is
    // forgotten.
    if callback.token.is_none() && !is_same_host(known.from, entry.from) {
        return Err(Rejected::Elsewhere(entry.id.to_string()));
    }
    let is_same_start = known.is_start(entry.incarnation.expose());
    // At one address there can be one process, and this one has just proved to be there.
    let is_same_place = known.url == entry.url;
    if is_same_start || is_same_place || known.status == LeaseStatus::Inactive {
        return Ok(());
    }
    let Err(unproved) = callback.prove(&known, link).await else { return Err(in_use()) };
    if !is_gone(&known, unproved.sign, now()) {
        tracing::info!(
            node = %entry.id,
            "a second process with this id is refused: the first one, at {}, cannot be reached, \
             and may live all the same ({})",
            known.url, unproved.why
        );
        return Err(in_use());
    }
    // Meanwhile it may have sent a heartbeat.
    let is_unheard = |now: &NodeEntry| now.last_seen == known.last_seen;
    if !registry.read(&entry.id, is_unheard).unwrap_or(true) {
        return Err(in_use());
    }
    tracing::info!(
        node = %entry.id,
        "the node is taken over: at {} it does not answer any more ({})",
        known.url, unproved.why
    );
    Ok(())
}

/// Whether a node that has not answered is gone for certain, or has been silent for long enough.
fn is_gone(known: &NodeEntry, sign: Sign, now: Instant) -> bool {
    let silence = now.saturating_duration_since(known.last_seen);
    match sign {
        Sign::Gone | Sign::Other => true,
        Sign::Silent => silence > known.heartbeat_interval.saturating_mul(SILENT_INTERVALS),
        Sign::Unclear | Sign::Short => false,
    }
}

fn is_same_host(known: Option<IpAddr>, now: Option<IpAddr>) -> bool {
    let are_loopback = |one: IpAddr, other: IpAddr| one.is_loopback() && other.is_loopback();
    // A file of an earlier version does not say it.
    let Some((known, now)) = known.zip(now) else { return known.is_none() };
    known == now || are_loopback(known, now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::NodeId;

    use super::*;

    #[test]
    fn only_what_says_that_a_node_is_gone_counts_at_once() {
        let reach = Reach::Remote("http://n".into());
        let entry = NodeEntry::new(NodeId::parse("n").unwrap(), "n".into(), reach, "n".into(), 80);
        let known = NodeEntry { heartbeat_interval: Duration::from_secs(5), ..entry };
        let after = |seconds| known.last_seen + Duration::from_secs(seconds);
        for (sign, soon, late) in [
            (Sign::Gone, true, true),
            (Sign::Other, true, true),
            (Sign::Silent, false, true),
            (Sign::Unclear, false, false),
            (Sign::Short, false, false),
        ] {
            assert_eq!(is_gone(&known, sign, after(10)), soon, "{sign:?}");
            assert_eq!(is_gone(&known, sign, after(11)), late, "{sign:?}");
        }
    }

    #[test]
    fn a_host_is_known_by_its_address() {
        let ip = |text: &str| Some(text.parse().unwrap());
        assert!(is_same_host(ip("10.0.0.1"), ip("10.0.0.1")));
        assert!(is_same_host(ip("127.0.0.1"), ip("::1")));
        assert!(is_same_host(None, ip("10.0.0.1")), "kept by an earlier version");
        assert!(!is_same_host(ip("10.0.0.1"), ip("10.0.0.2")));
        assert!(!is_same_host(ip("10.0.0.1"), None), "a node of the last start says it");
    }
}
