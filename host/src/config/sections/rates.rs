//! `systemConfig.limits.rates`: how often clients may ask, and how much at the same time.
//!
//! A mistake refuses the start: a limit that is lost protects nothing.

use std::collections::HashSet;
use std::time::Duration;

use jsonc_parser::ast::Value;

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::model::Who;

use super::lists::{names, refuse_unknown};
use super::policy;

/// Limits of one file.
const MAX_LIMITS: usize = 100;
/// Requests of one limit, and the milliseconds for which they are: the default is a minute.
const MAX_REQUESTS: u64 = 1_000_000_000;
const WITHIN_MS: u64 = 60_000;
const MAX_WITHIN_MS: u64 = 86_400_000;
const MAX_CONCURRENT: u64 = 1_000_000;

pub(in crate::config) const MEMBERS: [&str; 9] =
    ["name", "per", "who", "servers", "tools", "requests", "within", "burst", "concurrent"];

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePer {
    Principal,
    Key,
    Server,
    Tool,
}

const PER: [(&str, RatePer); 4] = [
    ("principal", RatePer::Principal),
    ("key", RatePer::Key),
    ("server", RatePer::Server),
    ("tool", RatePer::Tool),
];

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateSettings {
    /// What refusals call it; unique.
    pub name: String,
    pub who: Who,
    /// Empty: all are counted together.
    pub per: Vec<RatePer>,
    pub servers: Option<Vec<String>>,
    pub tools: Option<Vec<String>>,
    /// Requests within a time, and at once after a pause.
    pub requests: Option<(u64, Duration, u64)>,
    pub concurrent: Option<u32>,
}

pub(in crate::config) fn read(system: &Section<'_>, sources: &Sources<'_>) -> Vec<RateSettings> {
    let Some(item) = system.section("limits").get("rates") else { return Vec::new() };
    if !matches!(item.value, Value::Array(_)) {
        let advice = "write [ { \"per\": \"principal\", \"requests\": 600 } ]";
        item.wrong_type::<()>("a list of limits", advice);
        return Vec::new();
    }
    let items = item.items();
    if items.len() > MAX_LIMITS {
        item.refuse(format!("has more than {MAX_LIMITS} limits"), "use patterns, with *");
        return Vec::new();
    }
    let mut known = HashSet::new();
    let mut limits = Vec::new();
    for (item, number) in items.iter().zip(1..) {
        let Some(limit) = limit(item, number, sources) else { continue };
        if known.insert(limit.name.clone()) {
            limits.push(limit);
        } else {
            let message = format!("is called {}, as an earlier limit", quote(&limit.name));
            item.refuse(message, "give it a name of its own");
        }
    }
    limits
}

fn limit(item: &Item<'_>, number: usize, sources: &Sources<'_>) -> Option<RateSettings> {
    let section = item.section();
    section.object?;
    refuse_unknown(&section, &MEMBERS);
    let whole = |key: &str, most: u64| match section.get(key) {
        None => Some(None),
        Some(item) => item.whole(1..=most).map(Some),
    };
    let requests = whole("requests", MAX_REQUESTS)?;
    let within = whole("within", MAX_WITHIN_MS)?;
    let burst = whole("burst", MAX_REQUESTS)?;
    let concurrent = whole("concurrent", MAX_CONCURRENT)?;
    if requests.is_none() && concurrent.is_none() {
        let advice = "add \"requests\", or \"concurrent\"";
        item.refuse("limits nothing", advice);
        return None;
    }
    for (key, value) in [("within", within), ("burst", burst)] {
        if value.is_some() && requests.is_none() {
            section.refuse_key(key, "is about \"requests\", which is absent", "add \"requests\"");
            return None;
        }
    }
    let within = Duration::from_millis(within.unwrap_or(WITHIN_MS));
    let name = section.text("name").filter(|name| !name.trim().is_empty());
    Some(RateSettings {
        name: name.unwrap_or_else(|| format!("limit {number}")),
        who: policy::who(&section, sources)?,
        per: per(&section, sources)?,
        servers: names(&section, "servers", sources)?,
        tools: names(&section, "tools", sources)?,
        requests: requests.map(|requests| (requests, within, burst.unwrap_or(requests))),
        concurrent: concurrent.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
    })
}

fn per(section: &Section<'_>, sources: &Sources<'_>) -> Option<Vec<RatePer>> {
    let mut per = Vec::new();
    for word in names(section, "per", sources)?.unwrap_or_default() {
        let Some((_, by)) = PER.iter().find(|(name, _)| *name == word) else {
            let message = format!("{} is nothing that is counted", quote(&word));
            section.refuse_key("per", &message, "use some of principal, key, server, tool");
            return None;
        };
        if !per.contains(by) {
            per.push(*by);
        }
    }
    Some(per)
}
