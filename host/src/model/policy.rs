//! Who may use what: the table of rules that the operator writes, and what it comes to for one
//! client.
//!
//! A client may use what a rule for it allows, unless another rule for it denies it. Without a table
//! everything may be used. Nothing here knows what servers have: [`Rights`] answer for a server, and
//! [`EntryRights`] for one of its entries.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::ServerName;
use super::pattern::fits;

/// Whom a rule is for, by patterns. All lists that are given have to fit; one that is not given fits
/// everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Who {
    /// Names of principals.
    pub principals: Option<Vec<String>>,
    /// Names of keys; a token's is that of its issuer.
    pub keys: Option<Vec<String>>,
    /// Groups that tokens name, of which one has to fit.
    pub groups: Option<Vec<String>>,
}

/// A client, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct RuleSubject<'a> {
    /// Whom sessions belong to.
    pub principal: &'a str,
    /// The key, or the issuer of the token; `None` for a client without credentials.
    pub key: Option<&'a str>,
    /// What its token says.
    pub groups: &'a [&'a str],
}

impl Who {
    /// Whether the rule is for this client.
    #[must_use]
    pub fn is(&self, holder: RuleSubject<'_>) -> bool {
        let any = |patterns: &Option<Vec<String>>, names: &[&str]| {
            patterns.as_ref().is_none_or(|patterns| {
                patterns.iter().any(|pattern| names.iter().any(|name| fits(pattern, name)))
            })
        };
        any(&self.principals, &[holder.principal])
            && any(&self.keys, holder.key.as_slice())
            && any(&self.groups, holder.groups)
    }
}

/// What kind of entry of a server is meant. Templates are resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource or a template, by its URI.
    Resource,
}

/// The entries of servers that are meant, by patterns. If no list is given, all are; else only those
/// of the lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RuleEntries {
    /// Names of tools.
    pub tools: Option<Vec<String>>,
    /// Names of prompts.
    pub prompts: Option<Vec<String>>,
    /// URIs.
    pub resources: Option<Vec<String>>,
}

impl RuleEntries {
    fn are_all(&self) -> bool {
        self.tools.is_none() && self.prompts.is_none() && self.resources.is_none()
    }

    fn of(&self, kind: EntryKind) -> Option<&[String]> {
        match kind {
            EntryKind::Tool => self.tools.as_deref(),
            EntryKind::Prompt => self.prompts.as_deref(),
            EntryKind::Resource => self.resources.as_deref(),
        }
    }

    fn have(&self, kind: EntryKind, spellings: &[&str]) -> bool {
        let any = |patterns: &[String]| {
            patterns.iter().any(|pattern| spellings.iter().any(|name| fits(pattern, name)))
        };
        self.are_all() || self.of(kind).is_some_and(any)
    }
}

/// What a group shows of a server: these very entries of each kind, or all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RuleTarget {
    /// The server.
    pub server: String,
    /// Names and URIs; a kind that is not given is shown whole.
    pub shown: RuleEntries,
}

impl RuleTarget {
    fn is_whole(&self) -> bool {
        self.shown.are_all()
    }

    fn has(&self, kind: EntryKind, spellings: &[&str]) -> bool {
        let named = |names: &[String]| names.iter().any(|name| spellings.contains(&name.as_str()));
        self.shown.of(kind).is_none_or(named)
    }
}

/// One rule of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What logs call it.
    pub name: String,
    /// Whether it allows; otherwise it denies.
    pub allows: bool,
    /// Whom it is for.
    pub who: Who,
    /// Patterns of the servers that it is about.
    pub servers: Vec<String>,
    /// What the groups show that it is about.
    pub targets: Vec<RuleTarget>,
    /// What of these servers it is about.
    pub entries: RuleEntries,
    /// Whether it is about the management API.
    pub manages: bool,
}

impl Rule {
    fn touches(&self, server: &ServerName) -> bool {
        self.has_server(server) || self.targets.iter().any(|of| of.server == server.as_str())
    }

    fn has_server(&self, server: &ServerName) -> bool {
        self.servers.iter().any(|pattern| fits(pattern, server.as_str()))
    }

    /// Whether it is about all of a server.
    fn is_of_whole(&self, server: &ServerName) -> bool {
        let by_group = |of: &RuleTarget| of.server == server.as_str() && of.is_whole();
        self.entries.are_all() && (self.has_server(server) || self.targets.iter().any(by_group))
    }

    fn has(&self, server: &ServerName, kind: EntryKind, spellings: &[&str]) -> bool {
        let by_group = |of: &RuleTarget| of.server == server.as_str() && of.has(kind, spellings);
        self.entries.have(kind, spellings)
            && (self.has_server(server) || self.targets.iter().any(by_group))
    }
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// In the order of the file, which decides nothing.
    pub rules: Vec<Arc<Rule>>,
}

impl Policy {
    /// The numbers of the rules for this client: clients with the same ones have the same rights.
    #[must_use]
    pub fn numbers(&self, holder: RuleSubject<'_>) -> Vec<u16> {
        let rules = self.rules.iter().zip(0u16..);
        rules.filter(|(rule, _)| rule.who.is(holder)).map(|(_, number)| number).collect()
    }

    /// What the rules with these numbers come to.
    #[must_use]
    pub fn rights(&self, numbers: &[u16]) -> Rights {
        let rule = |number: &u16| self.rules.get(usize::from(*number)).cloned();
        let rules: Vec<Arc<Rule>> = numbers.iter().filter_map(rule).collect();
        let mut hasher = DefaultHasher::new();
        rules.hash(&mut hasher);
        Rights { rules, digest: hasher.finish() }
    }

    /// The same table, with the very rules of the one before where they are the same: what was
    /// decided by these is then the same at a glance.
    #[must_use]
    pub fn keeping(self, before: &Self) -> Self {
        let kept = |rule: Arc<Rule>| {
            before.rules.iter().find(|known| **known == rule).cloned().unwrap_or(rule)
        };
        Self { rules: self.rules.into_iter().map(kept).collect() }
    }
}

/// What one client may use: the rules of the table that are for it.
#[derive(Debug, Clone)]
pub struct Rights {
    rules: Vec<Arc<Rule>>,
    /// Of the rules, which are long to read.
    digest: u64,
}

/// A reload may bring another table: what counts is what the rules say.
impl PartialEq for Rights {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.rules == other.rules
    }
}

impl Eq for Rights {}

impl Hash for Rights {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// Which rule has decided something, for those who read what was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyRuling {
    /// It may be used, as this rule says. Others may say so too.
    Allowed(Arc<Rule>),
    /// It may not, as this rule says.
    Denied(Arc<Rule>),
    /// It may not, since no rule allows it.
    Nothing,
}

impl PolicyRuling {
    /// The name of the rule.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Allowed(rule) | Self::Denied(rule) => Some(&rule.name),
            Self::Nothing => None,
        }
    }
}

/// What a client may use of one server.
#[derive(Debug, Clone)]
pub enum ServerRights {
    /// Nothing: the server does not exist for it.
    Nothing,
    /// Everything.
    Whole,
    /// What is to be judged entry by entry.
    Part(Arc<EntryRights>),
}

impl Rights {
    /// A number that other rights do not have, as far as numbers of 64 bits can tell.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What may be used of a server.
    #[must_use]
    pub fn of(&self, server: &ServerName) -> ServerRights {
        let touching: Vec<&Arc<Rule>> =
            self.rules.iter().filter(|rule| rule.touches(server)).collect();
        let (allowing, denying): (Vec<&Arc<Rule>>, Vec<&Arc<Rule>>) =
            touching.into_iter().partition(|rule| rule.allows);
        if allowing.is_empty() || denying.iter().any(|rule| rule.is_of_whole(server)) {
            return ServerRights::Nothing;
        }
        if denying.is_empty() && allowing.iter().any(|rule| rule.is_of_whole(server)) {
            return ServerRights::Whole;
        }
        ServerRights::Part(Arc::new(EntryRights {
            server: server.clone(),
            allowing: allowing.into_iter().cloned().collect(),
            denying: denying.into_iter().cloned().collect(),
        }))
    }

    /// Whether a server exists for the client.
    #[must_use]
    pub fn has(&self, server: &ServerName) -> bool {
        !matches!(self.of(server), ServerRights::Nothing)
    }

    /// Whether the management API may be used.
    #[must_use]
    pub fn manages(&self) -> bool {
        matches!(self.ruling_on_management(), PolicyRuling::Allowed(_))
    }

    /// What decides whether the management API may be used.
    #[must_use]
    pub fn ruling_on_management(&self) -> PolicyRuling {
        self.ruling_of(|rule| rule.manages)
    }

    /// What decides whether an entry of a server may be used, of which these are the spellings that a
    /// file may have; without an entry, whether anything of the server may.
    #[must_use]
    pub fn ruling(&self, server: &ServerName, entry: Option<(EntryKind, &[&str])>) -> PolicyRuling {
        self.ruling_of(|rule| match entry {
            Some((kind, spellings)) => rule.has(server, kind, spellings),
            None if rule.allows => rule.touches(server),
            None => rule.is_of_whole(server),
        })
    }

    fn ruling_of(&self, is_about: impl Fn(&Rule) -> bool) -> PolicyRuling {
        let first = |allows: bool| {
            let mut all = self.rules.iter();
            all.find(|rule| rule.allows == allows && is_about(rule)).cloned()
        };
        match first(false) {
            Some(denies) => PolicyRuling::Denied(denies),
            None => first(true).map_or(PolicyRuling::Nothing, PolicyRuling::Allowed),
        }
    }

    /// Whether every server may be used whole, whatever it is called.
    #[must_use]
    pub fn are_all(&self) -> bool {
        let is_of_all = |rule: &Arc<Rule>| {
            rule.allows && rule.entries.are_all() && rule.servers.iter().any(|name| name == "*")
        };
        let denies = |rule: &Arc<Rule>| {
            !rule.allows && (!rule.servers.is_empty() || !rule.targets.is_empty())
        };
        self.rules.iter().any(is_of_all) && !self.rules.iter().any(denies)
    }
}

/// What a client may use of one server, where that is not all of it.
#[derive(Debug)]
pub struct EntryRights {
    server: ServerName,
    allowing: Vec<Arc<Rule>>,
    denying: Vec<Arc<Rule>>,
}

impl EntryRights {
    /// Whether an entry may be used, of which these are the spellings that a file may have.
    #[must_use]
    pub fn allow(&self, kind: EntryKind, spellings: &[&str]) -> bool {
        let has = |rule: &Arc<Rule>| rule.has(&self.server, kind, spellings);
        self.allowing.iter().any(has) && !self.denying.iter().any(has)
    }

    /// Whether every entry of a kind may be used, listed or not.
    #[must_use]
    pub fn allow_all(&self, kind: EntryKind) -> bool {
        let of_all = |rule: &Arc<Rule>| rule.is_of_whole(&self.server);
        let of_kind = |rule: &Arc<Rule>| rule.entries.are_all() || rule.entries.of(kind).is_some();
        self.allowing.iter().any(of_all) && !self.denying.iter().any(of_kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    fn rule(allows: bool, servers: &[&str], tools: Option<&[&str]>) -> Rule {
        Rule {
            name: "r".into(),
            allows,
            who: Who::default(),
            servers: texts(servers),
            targets: Vec::new(),
            entries: RuleEntries { tools: tools.map(texts), ..RuleEntries::default() },
            manages: false,
        }
    }

    fn rights(rules: Vec<Rule>) -> Rights {
        let policy = Policy { rules: rules.into_iter().map(Arc::new).collect() };
        let holder = RuleSubject { principal: "p", key: None, groups: &[] };
        policy.rights(&policy.numbers(holder))
    }

    /// What may be used of the server `a`, in one word or by the tools that may be called.
    fn seen(rules: Vec<Rule>) -> String {
        match rights(rules).of(&ServerName::parse("a").unwrap()) {
            ServerRights::Nothing => "nothing".to_owned(),
            ServerRights::Whole => "whole".to_owned(),
            ServerRights::Part(part) => ["get", "set", "get_all"]
                .into_iter()
                .filter(|tool| part.allow(EntryKind::Tool, &[tool, &format!("a-{tool}")]))
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn what_a_rule_allows_may_be_used_unless_another_denies_it() {
        let allow = |servers: &[&str]| rule(true, servers, None);
        let deny = |servers: &[&str]| rule(false, servers, None);
        let some = |tools: &[&str]| rule(true, &["*"], Some(tools));
        let but = |tools: &[&str]| rule(false, &["*"], Some(tools));
        for (rules, expect) in [
            (vec![], "nothing"),
            (vec![allow(&["a"])], "whole"),
            (vec![allow(&["b", "a*"])], "whole"),
            (vec![allow(&["b"])], "nothing"),
            (vec![allow(&["a"]), deny(&["*"])], "nothing"),
            (vec![deny(&["*"]), allow(&["a"])], "nothing"),
            (vec![allow(&["*"]), deny(&["b"])], "whole"),
            (vec![allow(&["*"]), but(&["set*"])], "get get_all"),
            (vec![allow(&["*"]), but(&["a-get"])], "set get_all"),
            (vec![some(&["get*"])], "get get_all"),
            (vec![some(&["a-get*"])], "get get_all"),
            (vec![some(&["get*"]), but(&["get"])], "get_all"),
            (vec![some(&["get"]), some(&["set"])], "get set"),
            (vec![some(&["get"]), allow(&["b"])], "get"),
            (vec![some(&[])], ""),
        ] {
            assert_eq!(seen(rules.clone()), expect, "{rules:?}");
        }
    }

    #[test]
    fn lists_that_a_rule_names_are_all_that_it_is_about() {
        let a = ServerName::parse("a").unwrap();
        let part = |rules| match rights(rules).of(&a) {
            ServerRights::Part(part) => part,
            other => panic!("{other:?}"),
        };
        let tools = part(vec![rule(true, &["a"], Some(&["*"]))]);
        assert!(tools.allow(EntryKind::Tool, &["x"]));
        assert!(!tools.allow(EntryKind::Prompt, &["x"]));
        assert!(!tools.allow_all(EntryKind::Resource) && !tools.allow_all(EntryKind::Tool));
        let but = part(vec![rule(true, &["a"], None), rule(false, &["a"], Some(&["x"]))]);
        assert!(but.allow(EntryKind::Prompt, &["x"]) && !but.allow(EntryKind::Tool, &["x"]));
        assert!(but.allow_all(EntryKind::Resource) && !but.allow_all(EntryKind::Tool));
    }

    #[test]
    fn a_group_stands_for_what_it_shows() {
        let shown = RuleEntries { tools: Some(texts(&["get"])), ..RuleEntries::default() };
        let target = RuleTarget { server: "a".into(), shown };
        let by_group = |allows| Rule { targets: vec![target.clone()], ..rule(allows, &[], None) };
        assert_eq!(seen(vec![by_group(true)]), "get");
        assert_eq!(seen(vec![rule(true, &["*"], None), by_group(false)]), "set get_all");
        let whole = RuleTarget { server: "a".into(), shown: RuleEntries::default() };
        let whole = |allows| Rule { targets: vec![whole.clone()], ..rule(allows, &[], None) };
        assert_eq!(seen(vec![whole(true)]), "whole");
        assert_eq!(seen(vec![rule(true, &["*"], None), whole(false)]), "nothing");
    }

    #[test]
    fn a_rule_is_for_those_whom_all_of_its_lists_fit() {
        let who =
            |principals: Option<&[&str]>, keys: Option<&[&str]>, groups: Option<&[&str]>| Who {
                principals: principals.map(texts),
                keys: keys.map(texts),
                groups: groups.map(texts),
            };
        let ann = RuleSubject { principal: "corp:ann", key: Some("corp"), groups: &["dev", "ops"] };
        let nobody = RuleSubject { principal: "anonymous", key: None, groups: &[] };
        for (who, of_ann, of_nobody) in [
            (who(None, None, None), true, true),
            (who(Some(&["corp:*"]), None, None), true, false),
            (who(Some(&["anonymous"]), None, None), false, true),
            (who(None, Some(&["corp"]), None), true, false),
            (who(None, Some(&["*"]), None), true, false),
            (who(None, None, Some(&["op*"])), true, false),
            (who(None, None, Some(&["staff"])), false, false),
            (who(Some(&["corp:ann"]), None, Some(&["staff"])), false, false),
            (who(Some(&[]), None, None), false, false),
        ] {
            assert_eq!((who.is(ann), who.is(nobody)), (of_ann, of_nobody), "{who:?}");
        }
    }

    #[test]
    fn a_ruling_names_the_rule_that_decides() {
        let named = |name: &str, rule: Rule| Rule { name: name.into(), ..rule };
        let table = rights(vec![
            named("some", rule(true, &["a"], Some(&["get*"]))),
            named("more", rule(true, &["a", "c"], None)),
            named("no sets", rule(false, &["*"], Some(&["set", "a-del"]))),
            named("none of c", rule(false, &["c"], None)),
            named("api", Rule { manages: true, ..rule(true, &[], None) }),
        ]);
        let [a, b, c] = ["a", "b", "c"].map(|name| ServerName::parse(name).unwrap());
        let tool = |server: &ServerName, name: &str| {
            let spellings = [name.to_owned(), format!("{server}-{name}")];
            let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
            table.ruling(server, Some((EntryKind::Tool, &spellings)))
        };
        for (ruling, allows, expect) in [
            (tool(&a, "get_all"), true, Some("some")),
            (tool(&a, "other"), true, Some("more")),
            (tool(&a, "set"), false, Some("no sets")),
            (tool(&a, "del"), false, Some("no sets")),
            (tool(&b, "get"), false, None),
            (tool(&c, "get"), false, Some("none of c")),
            (table.ruling(&a, None), true, Some("some")),
            (table.ruling(&b, None), false, None),
            (table.ruling(&c, None), false, Some("none of c")),
            (table.ruling_on_management(), true, Some("api")),
        ] {
            assert_eq!(ruling.rule(), expect, "{ruling:?}");
            assert_eq!(matches!(ruling, PolicyRuling::Allowed(_)), allows, "{ruling:?}");
        }
    }

    #[test]
    fn the_management_api_is_allowed_by_name() {
        let manage = |allows| Rule { manages: true, ..rule(allows, &[], None) };
        assert!(!rights(vec![rule(true, &["*"], None)]).manages());
        assert!(rights(vec![manage(true)]).manages());
        assert!(!rights(vec![manage(true), manage(false)]).manages());
        assert!(rights(vec![rule(true, &["*"], None), manage(false)]).are_all());
        assert!(!rights(vec![rule(true, &["*"], None), rule(false, &["b"], None)]).are_all());
        assert!(!rights(vec![rule(true, &["a"], None)]).are_all());
    }
}
