//! How often clients may ask, and how much at the same time: token buckets, counted for whom the
//! operator says.
//!
//! A limit that names no server counts requests before they are read; the others count what goes to
//! servers. All limits that a request is for are met together: none is charged if one refuses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{QuotaKey, RuleSubject, ServerName, Who, fits};
use crate::sync::Locked;

use super::limit_met::{LimitMet, LimitRemedy};

/// Most counts at a time. Those that are as good as new go first; if there are more clients than this,
/// the others are counted together.
const MOST_COUNTS: usize = 65_536;
/// Pause between two searches for those that may go: each looks at all of them.
const BETWEEN_SEARCHES: Duration = Duration::from_secs(1);
/// After this time a place may be free again where too much is under way.
const SOON: Duration = Duration::from_secs(1);

/// What is counted apart by one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// Each principal; a client without a credential by its address.
    Principal,
    /// Each key, and each issuer of tokens.
    Key,
    Server,
    /// Each tool of each server.
    Tool,
}

/// One limit of the operator's.
#[derive(Debug, Clone)]
pub struct RateLimit {
    pub name: String,
    pub who: Who,
    /// What it counts apart; nothing counts all together.
    pub per: Vec<CountedBy>,
    /// Patterns of the servers and tools that it is for; `None` for all.
    pub servers: Option<Vec<String>>,
    pub tools: Option<Vec<String>>,
    /// Requests in each second, and at once after a pause. `None`: as many as there are.
    pub rate: Option<(f64, f64)>,
    /// Requests at the same time; `None`: as many as there are.
    pub concurrent: Option<u32>,
}

impl RateLimit {
    /// Whether it counts requests before it is known what they ask for.
    fn is_of_requests(&self) -> bool {
        let by_server = |by: &CountedBy| matches!(by, CountedBy::Server | CountedBy::Tool);
        self.servers.is_none() && self.tools.is_none() && !self.per.iter().any(by_server)
    }

    fn is_of_tools(&self) -> bool {
        self.tools.is_some() || self.per.contains(&CountedBy::Tool)
    }

    /// Whether the counts of this limit can go on as those of the other one.
    fn counts_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.per == other.per
            && self.rate.is_some() == other.rate.is_some()
    }

    fn is_for(&self, server: &ServerName) -> bool {
        let fits = |patterns: &Vec<String>| patterns.iter().any(|p| fits(p, server.as_str()));
        self.servers.as_ref().is_none_or(fits)
    }

    fn is_for_call(&self, server: &ServerName, tool: Option<&str>) -> bool {
        let has = |tool: &str| {
            self.tools.as_ref().is_none_or(|tools| tools.iter().any(|p| fits(p, tool)))
        };
        self.is_for(server) && if self.is_of_tools() { tool.is_some_and(has) } else { true }
    }
}

/// All limits, and what was counted.
#[derive(Debug)]
pub struct Rates {
    /// Each with the id of its counts.
    limits: Vec<(u32, RateLimit)>,
    /// No limit has had this id or a higher one.
    next: u32,
    /// What was counted outlives a reload of the settings.
    counts: Arc<Locked<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: HashMap<CountKey, Bucket>,
    /// When it was looked for counts that may go.
    searched: Option<Instant>,
}

/// The id of a limit's counts, and what it counts apart; nothing for those that are counted together.
type CountKey = (u32, String);

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
    running: u32,
}

/// Requests that are under way. Dropping this gives their places back.
#[must_use]
#[derive(Debug)]
pub struct CountedRequests {
    rates: Arc<Rates>,
    places: Vec<(CountKey, u32)>,
}

impl Drop for CountedRequests {
    fn drop(&mut self) {
        let mut counts = self.rates.counts.lock();
        for (place, number) in &self.places {
            if let Some(bucket) = counts.all.get_mut(place) {
                bucket.running = bucket.running.saturating_sub(*number);
            }
        }
    }
}

/// What requests that pass together take of one count.
struct Claim<'a> {
    limit: &'a RateLimit,
    key: CountKey,
    number: u32,
}

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub struct LimitedRequest<'a> {
    pub quota: &'a QuotaKey,
    /// The name of its key.
    pub key: Option<&'a str>,
    /// The numbers of the limits that are for it.
    pub limits: &'a [u16],
    /// The server and the tool that is called; `None` before that is known.
    pub call: Option<(&'a ServerName, Option<&'a str>)>,
}

impl Rates {
    #[must_use]
    pub fn new(limits: Vec<RateLimit>) -> Arc<Self> {
        let none = Self { limits: Vec::new(), next: 0, counts: Arc::default() };
        none.replaced(limits)
    }

    /// Other limits. One that was there before goes on with its counts, whatever it allows now: a
    /// reload gives nobody anew what is used up, and what is under way keeps its place.
    #[must_use]
    pub fn replaced(&self, limits: Vec<RateLimit>) -> Arc<Self> {
        let mut next = self.next;
        let with_id = |limit: RateLimit| {
            let before = self.limits.iter().find(|(_, known)| known.counts_as(&limit));
            let id = before.map_or(next, |(id, _)| *id);
            next = next.max(id + 1);
            (id, limit)
        };
        let limits: Vec<(u32, RateLimit)> = limits.into_iter().map(with_id).collect();
        let stays = |id: u32| limits.iter().any(|(own, _)| *own == id);
        self.counts.lock().all.retain(|(id, _), _| stays(*id));
        Arc::new(Self { limits, next, counts: Arc::clone(&self.counts) })
    }

    /// The numbers of the limits that are for a client.
    #[must_use]
    pub fn numbers(&self, holder: RuleSubject<'_>) -> Vec<u16> {
        let limits = self.limits.iter().zip(0u16..);
        limits.filter(|((_, limit), _)| limit.who.is(holder)).map(|(_, number)| number).collect()
    }

    /// Whether calls of a server are counted, so that its messages have to be read.
    #[must_use]
    pub fn count_calls_of(&self, server: &ServerName) -> bool {
        self.limits.iter().any(|(_, limit)| !limit.is_of_requests() && limit.is_for(server))
    }

    /// Counts one request, or says which limit it has met.
    ///
    /// # Errors
    /// The limit that it waits for longest.
    pub fn admit(
        self: &Arc<Self>,
        asking: LimitedRequest<'_>,
    ) -> Result<Option<CountedRequests>, LimitMet> {
        self.admit_together(std::slice::from_ref(&asking))
    }

    /// Counts several requests, of which all pass or none.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_together(
        self: &Arc<Self>,
        asking: &[LimitedRequest<'_>],
    ) -> Result<Option<CountedRequests>, LimitMet> {
        let mut claims: Vec<Claim<'_>> = Vec::new();
        for asking in asking {
            self.claim(*asking, &mut claims);
        }
        if claims.is_empty() {
            return Ok(None);
        }
        let now = Instant::now();
        let mut counts = self.counts.lock();
        self.make_room(&mut counts, claims.iter_mut().map(|claim| &mut claim.key), now);
        let mut met: Option<(&RateLimit, LimitRemedy)> = None;
        for Claim { limit, key, number } in &claims {
            let new =
                || Bucket { left: limit.rate.map_or(0.0, |(_, most)| most), at: now, running: 0 };
            let bucket = counts.all.entry(key.clone()).or_insert_with(new);
            bucket.refill(limit, now);
            let Some(remedy) = bucket.remedy(limit, *number) else { continue };
            if met.is_none_or(|(_, known)| known.harder(remedy) != known) {
                met = Some((limit, remedy));
            }
        }
        if let Some((limit, remedy)) = met {
            let is_whole = asking.iter().all(|asking| asking.call.is_none());
            return Err(LimitMet { limit: limit.name.clone(), remedy, is_whole });
        }
        for Claim { limit, key, number } in &claims {
            if let Some(bucket) = counts.all.get_mut(key) {
                bucket.left -= limit.rate.map_or(0.0, |_| f64::from(*number));
                bucket.running += number;
            }
        }
        drop(counts);
        let places = claims.into_iter().map(|claim| (claim.key, claim.number)).collect();
        Ok(Some(CountedRequests { rates: Arc::clone(self), places }))
    }

    /// Adds what a request takes of each limit that is for it.
    fn claim<'r>(&'r self, asking: LimitedRequest<'_>, claims: &mut Vec<Claim<'r>>) {
        for number in asking.limits {
            let Some((id, limit)) = self.limits.get(usize::from(*number)) else { continue };
            let is_meant = match asking.call {
                None => limit.is_of_requests(),
                Some((server, tool)) => !limit.is_of_requests() && limit.is_for_call(server, tool),
            };
            if !is_meant {
                continue;
            }
            let key = (*id, apart(limit, asking));
            match claims.iter_mut().find(|claim| claim.key == key) {
                Some(known) => known.number += 1,
                None => claims.push(Claim { limit, key, number: 1 }),
            }
        }
    }

    /// Sees to it that there is room for the counts with these keys. Where there is none, those that are
    /// not there yet become those of all that are counted together.
    fn make_room<'k>(
        &self,
        counts: &mut Counts,
        keys: impl Iterator<Item = &'k mut CountKey>,
        now: Instant,
    ) {
        let mut new: Vec<&mut CountKey> =
            keys.filter(|key| !counts.all.contains_key(&**key)).collect();
        // One of each limit is left for what is counted together.
        let most = MOST_COUNTS.saturating_sub(self.limits.len());
        let wanted = new.len();
        let has_room = |counts: &Counts| counts.all.len() + wanted <= most;
        if wanted == 0 || has_room(counts) {
            return;
        }
        let is_due = |at: Instant| now.saturating_duration_since(at) >= BETWEEN_SEARCHES;
        if counts.searched.is_none_or(is_due) {
            counts.searched = Some(now);
            self.forget_idle(&mut counts.all, now);
        }
        if !has_room(counts) {
            new.iter_mut().for_each(|key| key.1.clear());
        }
    }

    /// Forgets counts that a new one would equal.
    fn forget_idle(&self, counts: &mut HashMap<CountKey, Bucket>, now: Instant) {
        counts.retain(|(id, _), bucket| {
            let Some((_, limit)) = self.limits.iter().find(|(own, _)| own == id) else {
                // It is of newer limits, or of none any more.
                return *id >= self.next;
            };
            bucket.refill(limit, now);
            bucket.running > 0 || limit.rate.is_some_and(|(_, most)| bucket.left < most)
        });
    }
}

impl Bucket {
    fn refill(&mut self, limit: &RateLimit, now: Instant) {
        let Some((rate, most)) = limit.rate else { return };
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate).min(most);
        self.at = now;
    }

    /// What helps the next requests, of which there are so many; `None` if they may go.
    fn remedy(&self, limit: &RateLimit, number: u32) -> Option<LimitRemedy> {
        let tokens = f64::from(number);
        let burst = limit.rate.map(|(_, most)| most).filter(|most| *most < tokens);
        let places = limit.concurrent.filter(|most| *most < number).map(u64::from);
        // A burst is a whole number.
        if let Some(most) = burst.map(|most| most as u64).into_iter().chain(places).min() {
            return Some(LimitRemedy::SmallerBatch { has: number.into(), may_have: most });
        }
        let is_crowded =
            limit.concurrent.is_some_and(|most| self.running.saturating_add(number) > most);
        let crowded = is_crowded.then_some(SOON);
        let early = limit.rate.filter(|_| self.left < tokens).map(|(rate, _)| {
            Duration::try_from_secs_f64((tokens - self.left) / rate).unwrap_or(Duration::MAX)
        });
        crowded.max(early).map(LimitRemedy::Wait)
    }
}

/// What a limit counts apart, for this request.
fn apart(limit: &RateLimit, asking: LimitedRequest<'_>) -> String {
    let mut text = String::new();
    for by in &limit.per {
        match (by, asking.call) {
            (CountedBy::Principal, _) => text.push_str(&asking.quota.to_string()),
            (CountedBy::Key, _) => text.push_str(asking.key.unwrap_or_default()),
            (CountedBy::Server, Some((server, _))) => text.push_str(server.as_str()),
            (CountedBy::Tool, Some((server, tool))) => {
                text.push_str(server.as_str());
                text.push('\0');
                text.push_str(tool.unwrap_or_default());
            }
            (CountedBy::Server | CountedBy::Tool, None) => {}
        }
        // None of these has it in it.
        text.push('\0');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Principal;

    fn limit(per: &[CountedBy], rate: Option<(f64, f64)>, concurrent: Option<u32>) -> RateLimit {
        RateLimit {
            name: "l".into(),
            who: Who::default(),
            per: per.to_vec(),
            servers: None,
            tools: None,
            rate,
            concurrent,
        }
    }

    struct Client {
        quota: QuotaKey,
        limits: Vec<u16>,
    }

    fn client(name: &str, rates: &Rates) -> Client {
        let limits = rates.numbers(RuleSubject { principal: name, key: Some("k"), groups: &[] });
        Client { quota: QuotaKey::Credential(Principal::named(name)), limits }
    }

    fn ask(
        rates: &Arc<Rates>,
        client: &Client,
        call: Option<(&ServerName, Option<&str>)>,
    ) -> Result<Option<CountedRequests>, LimitMet> {
        rates.admit(LimitedRequest {
            quota: &client.quota,
            key: Some("k"),
            limits: &client.limits,
            call,
        })
    }

    #[test]
    fn a_client_waits_when_it_has_asked_too_often_and_no_other_does() {
        let rates = Rates::new(vec![limit(&[CountedBy::Principal], Some((0.5, 2.0)), None)]);
        let (ann, bob) = (client("ann", &rates), client("bob", &rates));
        assert!(ask(&rates, &ann, None).is_ok() && ask(&rates, &ann, None).is_ok());
        let met = ask(&rates, &ann, None).unwrap_err();
        let wait = met.retry_after().unwrap();
        assert!(met.is_whole && wait > Duration::from_millis(1500), "{met:?}");
        assert!(wait <= Duration::from_secs(2), "{met:?}");
        assert!(ask(&rates, &bob, None).is_ok());
        // Calls are not counted twice.
        let server = ServerName::parse("a").unwrap();
        assert!(ask(&rates, &ann, Some((&server, Some("t")))).unwrap().is_none());
    }

    #[test]
    fn what_has_passed_fills_the_bucket_up_to_its_size() {
        let limit = limit(&[], Some((10.0, 3.0)), None);
        let now = Instant::now();
        let mut bucket = Bucket { left: 0.0, at: now, running: 0 };
        bucket.refill(&limit, now + Duration::from_millis(150));
        assert!((bucket.left - 1.5).abs() < 1e-9 && bucket.remedy(&limit, 1).is_none());
        bucket.refill(&limit, now + Duration::from_secs(60));
        assert!((bucket.left - 3.0).abs() < 1e-9);
        bucket.left = 0.25;
        let wait = |millis| Some(LimitRemedy::Wait(Duration::from_millis(millis)));
        assert_eq!(bucket.remedy(&limit, 1), wait(75));
        assert_eq!(bucket.remedy(&limit, 3), wait(275));
        let never = Some(LimitRemedy::SmallerBatch { has: 4, may_have: 3 });
        assert_eq!(bucket.remedy(&limit, 4), never, "the bucket never has so many");
    }

    #[test]
    fn places_come_back_when_requests_end() {
        let rates = Rates::new(vec![limit(&[CountedBy::Key], None, Some(2))]);
        let (ann, bob) = (client("ann", &rates), client("bob", &rates));
        let first = ask(&rates, &ann, None).unwrap();
        let second = ask(&rates, &bob, None).unwrap();
        assert_eq!(ask(&rates, &ann, None).unwrap_err().retry_after(), Some(SOON));
        drop(first);
        let third = ask(&rates, &ann, None).unwrap();
        assert!(ask(&rates, &ann, None).is_err());
        drop((second, third));
        assert!(ask(&rates, &ann, None).is_ok());
    }

    #[test]
    fn tools_are_counted_by_their_server_and_name() {
        let mut of_tools = limit(&[CountedBy::Tool], Some((0.001, 1.0)), None);
        of_tools.tools = Some(vec!["s*".into()]);
        let rates = Rates::new(vec![of_tools]);
        let ann = client("ann", &rates);
        let [a, b] = ["a", "b"].map(|name| ServerName::parse(name).unwrap());
        let call = |server, tool| ask(&rates, &ann, Some((server, tool))).is_ok();
        assert!(call(&a, Some("set")) && !call(&a, Some("set")));
        assert!(call(&a, Some("say")) && call(&b, Some("set")));
        for _ in 0..3 {
            assert!(call(&a, Some("get")) && call(&a, None));
        }
        assert!(rates.count_calls_of(&a) && ask(&rates, &ann, None).unwrap().is_none());
    }

    #[test]
    fn a_refused_request_is_charged_to_no_limit() {
        let (wide, narrow) = (limit(&[], Some((0.001, 2.0)), None), limit(&[], None, Some(1)));
        let rates = Rates::new(vec![wide, narrow]);
        let ann = client("ann", &rates);
        let first = ask(&rates, &ann, None).unwrap();
        for _ in 0..5 {
            assert!(ask(&rates, &ann, None).is_err());
        }
        drop(first);
        assert!(ask(&rates, &ann, None).is_ok());
        assert!(ask(&rates, &ann, None).is_err(), "two are gone");
    }

    #[test]
    fn a_batch_passes_as_a_whole_or_costs_nothing() {
        let mut of_calls = limit(&[CountedBy::Tool], Some((0.001, 3.0)), None);
        of_calls.servers = Some(vec!["*".into()]);
        let mut narrow = limit(&[CountedBy::Server], None, Some(2));
        narrow.name = "narrow".into();
        let rates = Rates::new(vec![of_calls, narrow]);
        let ann = client("ann", &rates);
        let server = ServerName::parse("a").unwrap();
        let batch = |tools: &[&'static str]| {
            let calls = tools.iter().map(|tool| LimitedRequest {
                quota: &ann.quota,
                key: None,
                limits: &ann.limits,
                call: Some((&server, Some(*tool))),
            });
            rates.admit_together(&calls.collect::<Vec<_>>())
        };
        let met = batch(&["x", "x", "y"]).unwrap_err();
        let never = LimitRemedy::SmallerBatch { has: 3, may_have: 2 };
        assert_eq!((&*met.limit, met.remedy, met.is_whole), ("narrow", never, false));
        let both = batch(&["x", "y"]).unwrap();
        assert_eq!(batch(&["x"]).unwrap_err().remedy, LimitRemedy::Wait(SOON));
        drop(both);
        drop(batch(&["x", "x"]).unwrap());
        // Three are gone, and what was refused has cost nothing.
        assert_eq!(batch(&["x"]).unwrap_err().limit, "l");
        drop(batch(&["y", "y"]).unwrap());
    }

    #[test]
    fn other_limits_give_nobody_anew_what_is_used_up() {
        let by_ann = |requests| limit(&[CountedBy::Principal], Some((0.001, requests)), Some(2));
        let rates = Rates::new(vec![by_ann(2.0)]);
        let ann = client("ann", &rates);
        let first = ask(&rates, &ann, None).unwrap();
        drop(ask(&rates, &ann, None).unwrap());
        // Another one comes first, so that it has another number.
        let mut other = limit(&[], None, Some(9));
        other.name = "other".into();
        let newer = rates.replaced(vec![other.clone(), by_ann(5.0)]);
        let renewed = client("ann", &newer);
        assert_eq!(renewed.limits, [0, 1]);
        assert!(ask(&newer, &renewed, None).is_err(), "both are gone");
        // What an earlier request held comes back.
        drop(first);
        assert!(newer.counts.lock().all.values().all(|bucket| bucket.running == 0));
        // A limit that was not there counts anew, and its earlier namesake is forgotten.
        let without = newer.replaced(vec![other]);
        let again = without.replaced(vec![by_ann(2.0)]);
        assert!(ask(&again, &client("ann", &again), None).is_ok());
    }

    #[test]
    fn counts_do_not_grow_with_the_number_of_clients() {
        let limits = vec![
            limit(&[CountedBy::Principal], Some((0.001, 1.0)), None),
            RateLimit { name: "other".into(), ..limit(&[CountedBy::Principal], None, Some(1)) },
        ];
        let rates = Rates::new(limits);
        let first = client("0", &rates);
        let known = ask(&rates, &first, None).unwrap();
        for number in 1..MOST_COUNTS + 10 {
            let _ = ask(&rates, &client(&number.to_string(), &rates), None);
            assert!(rates.counts.lock().all.len() <= MOST_COUNTS, "{number}");
        }
        // Who has come before all these has its own counts still.
        drop(known);
        assert_eq!(ask(&rates, &first, None).unwrap_err().limit, "l");
        assert!(rates.counts.lock().all.len() <= MOST_COUNTS);
    }

    #[test]
    fn clients_beyond_the_bound_are_counted_together_until_there_is_room() {
        let rates = Rates::new(vec![limit(&[CountedBy::Principal], Some((1e6, 2.0)), None)]);
        let now = Instant::now();
        let mut counts = rates.counts.lock();
        for number in 0..MOST_COUNTS - 1 {
            let bucket = Bucket { left: 0.0, at: now, running: u32::from(number > 0) };
            counts.all.insert((0, format!("{number}")), bucket);
        }
        counts.searched = Some(now);
        let room_for = |counts: &mut Counts, name: &str, at: Instant| {
            let mut key = (0, name.to_owned());
            rates.make_room(counts, std::iter::once(&mut key), at);
            key.1
        };
        assert_eq!(room_for(&mut counts, "new", now), "");
        assert_eq!(room_for(&mut counts, "7", now), "7");
        // The first one is as good as new by then.
        assert_eq!(room_for(&mut counts, "new", now + BETWEEN_SEARCHES), "new");
        assert_eq!(counts.all.len(), MOST_COUNTS - 2);
    }
}
