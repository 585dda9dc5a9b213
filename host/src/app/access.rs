//! Issuers of tokens, the table of who may use what, and limits of requests: settings → edge.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, PolicyRule, RatePer, RateSettings, TokenIssuer};
use crate::edge::{
    Audience, CallerIdentity, CountedBy, EdgeConfig, Group, IssuerSettings, Issuers, Member,
    PolicyTable, RateLimit, Rates,
};
use crate::model::{Policy, Principal, Rule, RuleEntries, RuleTarget};
use crate::protocol::jwk::Algorithm;
use crate::store::DataFolder;

use super::admission::Admission;
use super::{client_keys, translate};

/// Whom the settings let in, to what, and how often. They take the place of those before, if there were any: known keys of
/// issuers, and what was counted, are kept.
#[must_use]
pub fn of(config: &Config, folder: &DataFolder, before: Option<&EdgeConfig>) -> Admission {
    let rates = rates(config, before.and_then(|before| before.rates.as_deref()));
    let policy = table(config, rates.as_ref(), before.map(|before| &*before.policy));
    Admission {
        keys: client_keys::of(config, folder, &policy),
        anyone: anyone(&policy),
        issuers: issuers(config, &policy, before.and_then(|before| before.issuers.as_deref())),
        policy,
        rates,
    }
}

/// The table of the settings, if they have one, and which limits are for whom.
fn table(
    config: &Config,
    rates: Option<&Arc<Rates>>,
    before: Option<&PolicyTable>,
) -> Arc<PolicyTable> {
    let groups = translate::groups(config);
    let rule = |rule: &PolicyRule| Arc::new(rule_of(rule, &groups));
    let policy = config.access.policy.as_ref();
    let policy = policy.map(|rules| Policy { rules: rules.iter().map(rule).collect() });
    let policy = match before.and_then(PolicyTable::policy) {
        Some(before) => policy.map(|policy| policy.keeping(before)),
        None => policy,
    };
    Arc::new(PolicyTable::new(policy, rates.cloned()))
}

/// The limits of the settings; `None` if there are none.
fn rates(config: &Config, before: Option<&Rates>) -> Option<Arc<Rates>> {
    let limits: Vec<RateLimit> = config.access.rates.iter().map(limit).collect();
    (!limits.is_empty()).then(|| match before {
        Some(before) => before.replaced(limits),
        None => Rates::new(limits),
    })
}

fn limit(of: &RateSettings) -> RateLimit {
    let by = |per: &RatePer| match per {
        RatePer::Principal => CountedBy::Principal,
        RatePer::Key => CountedBy::Key,
        RatePer::Server => CountedBy::Server,
        RatePer::Tool => CountedBy::Tool,
    };
    #[allow(clippy::cast_precision_loss, reason = "settings are far below 2^52")]
    let rate = |(requests, within, burst): (u64, Duration, u64)| {
        (requests as f64 / within.as_secs_f64(), burst as f64)
    };
    RateLimit {
        name: of.name.clone(),
        who: of.who.clone(),
        per: of.per.iter().map(by).collect(),
        servers: of.servers.clone(),
        tools: of.tools.clone(),
        rate: of.requests.map(rate),
        concurrent: of.concurrent,
    }
}

/// What rules and limits decide by for clients without a credential; `None` without any.
fn anyone(table: &PolicyTable) -> Option<Arc<CallerIdentity>> {
    (!table.is_empty()).then(|| Arc::new(table.identity(&Principal::anonymous(), None, &[], true)))
}

/// The issuers of the settings; `None` if there are none.
fn issuers(
    config: &Config,
    table: &Arc<PolicyTable>,
    before: Option<&Issuers>,
) -> Option<Arc<Issuers>> {
    let all: Vec<IssuerSettings> = config.access.issuers.iter().map(issuer).collect();
    (!all.is_empty()).then(|| Arc::new(Issuers::new(all, Arc::clone(table), before)))
}

fn issuer(of: &TokenIssuer) -> IssuerSettings {
    IssuerSettings {
        name: of.name.clone(),
        issuer: of.issuer.clone(),
        keys_url: of.jwks_uri.clone(),
        audience: Audience::new(of.audience.clone()),
        principal_claim: of.principal_claim.clone(),
        groups_claim: of.groups_claim.clone(),
        scopes: of.required_scopes.clone(),
        algorithms: of.algorithms.iter().filter_map(|name| Algorithm::parse(name)).collect(),
        skew: of.clock_skew,
        refresh: of.refresh,
    }
}

/// A rule, with what its groups show in place of their names. A name goes before the id of another
/// group, as in URLs.
fn rule_of(rule: &PolicyRule, groups: &[Group]) -> Rule {
    let named = |name: &String| {
        let by_name = groups.iter().find(|group| group.name.as_str() == name);
        by_name.or_else(|| groups.iter().find(|group| group.id.as_ref() == Some(name)))
    };
    let members = rule.groups.iter().filter_map(named).flat_map(|group| &group.members);
    Rule {
        name: rule.name.clone(),
        allows: rule.allows,
        who: rule.who.clone(),
        servers: rule.servers.clone(),
        targets: members.map(target).collect(),
        entries: rule.entries.clone(),
        manages: rule.manages,
    }
}

fn target(member: &Member) -> RuleTarget {
    RuleTarget {
        server: member.server.to_string(),
        shown: RuleEntries {
            tools: member.tools.clone(),
            prompts: member.prompts.clone(),
            resources: member.resources.clone(),
        },
    }
}
