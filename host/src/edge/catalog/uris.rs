//! Resources and templates of several servers. URIs stay as they are, unless two servers have the
//! same one. Where anything of a server's resources is hidden, its judge says what may be asked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{EntryKind, ServerName};
use crate::protocol::methods::List;
use crate::protocol::objects::object_only;
use crate::protocol::splice;
use crate::protocol::uri::resource_judge::ResourceJudge;

use super::app_links;
use super::part::{Owner, ServerPart};

/// Who owns which URI of a scope.
#[derive(Debug, Default)]
pub struct Uris {
    resources: HashMap<String, Owner>,
    templates: Vec<Template>,
    /// Own URI → shown URI, for each server whose URIs an earlier server has too.
    shared: HashMap<ServerName, Arc<HashMap<String, String>>>,
    /// Prefix (without `+`) → server, for these servers.
    aliases: HashMap<String, ServerName>,
    /// For servers of which anything is hidden.
    judges: HashMap<ServerName, Arc<ResourceJudge>>,
}

#[derive(Debug)]
struct Template {
    /// The whole template, as shown.
    text: String,
    /// The part before the first variable, as shown.
    fixed: String,
    /// Length of the prefix that the server's own template does not have; 0 if there is none.
    alias: usize,
    server: ServerName,
}

impl Uris {
    /// The owner of a URI, and its own URI for it: the server that lists it, or else the one with
    /// the longest template that begins like it, or else the only server with URIs of that scheme.
    #[must_use]
    pub fn resource(&self, uri: &str) -> Option<Owner> {
        self.listed(uri).or_else(|| self.likely(uri))
    }

    /// The server that lists a URI.
    #[must_use]
    pub fn listed(&self, uri: &str) -> Option<Owner> {
        self.resources.get(uri).cloned()
    }

    /// Whether a template may have a URI that no server lists.
    #[must_use]
    pub fn has_template_of(&self, uri: &str) -> bool {
        self.templates.iter().any(|t| uri.starts_with(&t.fixed))
    }

    /// The server that may have a URI which none lists.
    #[must_use]
    pub fn likely(&self, uri: &str) -> Option<Owner> {
        if let Some((server, own)) = self.of_alias(uri) {
            let owner = Owner { server: server.clone(), name: own.to_owned() };
            return self.allows(server, own).then_some(owner);
        }
        let owned = |server: &ServerName| Owner { server: server.clone(), name: uri.to_owned() };
        // Each server is judged once, however much it lists.
        let mut judged: HashMap<&ServerName, bool> = HashMap::new();
        let mut allows = |server| *judged.entry(server).or_insert_with(|| self.allows(server, uri));
        let begins = self.templates.iter().filter(|t| t.alias == 0 && uri.starts_with(&t.fixed));
        let begins = begins.filter(|t| allows(&t.server));
        if let Some(template) = begins.max_by_key(|template| template.fixed.len()) {
            return Some(owned(&template.server));
        }
        let (scheme, _) = uri.split_once(':')?;
        let same_scheme = |other: &str| other.split_once(':').is_some_and(|(s, _)| s == scheme);
        let listed = self.resources.iter().filter(|(uri, _)| same_scheme(uri));
        let listed = listed.map(|(_, owner)| &owner.server);
        let templates = self.templates.iter().filter(|t| same_scheme(&t.fixed)).map(|t| &t.server);
        let mut owners = listed.chain(templates).filter(|server| allows(server));
        let first = owners.next()?;
        owners.all(|owner| owner == first).then(|| owned(first))
    }

    /// Whether a URI has the prefix of a server that must not be asked for it: no other has it either.
    #[must_use]
    pub fn leads_nowhere(&self, uri: &str) -> bool {
        self.of_alias(uri).is_some_and(|(server, own)| !self.allows(server, own))
    }

    /// The server whose prefix a URI has, and its own URI.
    fn of_alias<'u>(&self, uri: &'u str) -> Option<(&ServerName, &'u str)> {
        let (alias, own) = uri.split_once('+')?;
        Some((self.aliases.get(alias)?, own))
    }

    /// Whether a server may be asked for a URI that it does not list.
    #[must_use]
    pub fn allows(&self, server: &ServerName, own: &str) -> bool {
        self.judges.get(server).is_none_or(|judge| judge.allows(own))
    }

    /// The judge of a server's resources, if anything of them is hidden.
    #[must_use]
    pub fn judge(&self, server: &ServerName) -> Option<Arc<ResourceJudge>> {
        self.judges.get(server).cloned()
    }

    /// The owner of the template or resource that values are completed for. A template that is not
    /// listed belongs to the server whose URIs begin like it, unless anything is hidden there.
    #[must_use]
    pub fn completed(&self, text: &str) -> Option<Owner> {
        let listed = self.templates.iter().find(|template| template.text == text);
        if let Some(template) = listed {
            let name = text.get(template.alias..)?.to_owned();
            return Some(Owner { server: template.server.clone(), name });
        }
        self.resource(text).or_else(|| {
            let (fixed, _) = text.split_once('{')?;
            let owner = self.resource(fixed)?;
            // The owner's URI lacks the prefix that tells two servers apart, if there is one.
            let own = text.get(fixed.len().checked_sub(owner.name.len())?..)?.to_owned();
            (!self.judges.contains_key(&owner.server)).then_some(Owner { name: own, ..owner })
        })
    }

    /// Own URI → shown URI, for the URIs of a server that an earlier server of the scope has too.
    #[must_use]
    pub fn shared(&self, server: &ServerName) -> Arc<HashMap<String, String>> {
        self.shared.get(server).cloned().unwrap_or_default()
    }

    /// Adds the resources or templates of the parts, in their order. Returns the items as shown.
    pub fn place(&mut self, parts: &[ServerPart<'_>], list: List) -> Vec<Bytes> {
        let mut items = Vec::new();
        for part in parts {
            self.judge_of(part);
            for raw in part.catalog.items(list) {
                items.extend(self.place_one(part, list, raw));
            }
        }
        items
    }

    /// Adds the resources that tools name as their user interface: they need not be listed. Where
    /// anything of a server is hidden, its judge decides as of any that is not listed: one that is hidden
    /// leads nowhere, and to no other server that has the same URI.
    pub fn link(&mut self, parts: &[ServerPart<'_>]) {
        for is_hidden in [false, true] {
            for part in parts {
                let tools = part.catalog.items(List::Tools).iter();
                for (_, own) in tools.flat_map(|tool| app_links::of_tool(tool)) {
                    if self.allows(&part.member.server, &own) != is_hidden {
                        self.link_one(part, own, is_hidden);
                    }
                }
            }
        }
    }

    fn link_one(&mut self, part: &ServerPart<'_>, own: String, is_hidden: bool) {
        let server = &part.member.server;
        let is_known = self.shared.get(server).is_some_and(|shared| shared.contains_key(&own));
        let owner = self.resources.get(&own).map(|owner| &owner.server);
        if is_known || owner == Some(server) || (is_hidden && owner.is_none()) {
            return;
        }
        let shown = match owner {
            None => own.clone(),
            Some(_) => {
                let shown = format!("{}+{own}", self.alias(server));
                let shared = self.shared.entry(server.clone()).or_default();
                Arc::make_mut(shared).insert(own.clone(), shown.clone());
                shown
            }
        };
        if !is_hidden {
            self.resources.insert(shown, Owner { server: server.clone(), name: own });
        }
    }

    fn judge_of(&mut self, part: &ServerPart<'_>) {
        let server = &part.member.server;
        if !self.judges.contains_key(server)
            && let Some(judge) = ResourceJudge::of(named(part).as_deref(), part.selection)
        {
            self.judges.insert(server.clone(), Arc::new(judge));
        }
    }

    /// Adds one resource or template. `None` if it is hidden, or its server has it twice.
    fn place_one(&mut self, part: &ServerPart<'_>, list: List, raw: &RawValue) -> Option<Bytes> {
        let text = Bytes::copy_from_slice(raw.get().as_bytes());
        let value = listed_value(list, &text)?;
        let own = splice::string(value)?;
        let server = &part.member.server;
        if let Some(judge) = self.judges.get_mut(server)
            && !Arc::make_mut(judge).lists(list, &own)
        {
            return None;
        }
        let taken = match list {
            List::Resources => self.resources.get(&own).map(|owner| &owner.server),
            _ => self.templates.iter().find(|t| t.text == own).map(|t| &t.server),
        };
        let (alias, mut edits) = match taken {
            None => (String::new(), Vec::new()),
            Some(owner) if owner == server => return None,
            Some(_) => {
                let alias = format!("{}+", self.alias(server));
                let shown = splice::quoted(&format!("{alias}{own}"));
                (alias, splice::span(&text, value).map(|span| (span, shown)).into_iter().collect())
            }
        };
        edits.extend(part.described_resource(raw, &own));
        let shown = format!("{alias}{own}");
        if list == List::Resources {
            if !alias.is_empty() {
                let shared = self.shared.entry(server.clone()).or_default();
                Arc::make_mut(shared).insert(own.clone(), shown.clone());
            }
            self.resources.insert(shown, Owner { server: server.clone(), name: own });
        } else {
            let fixed = shown.split('{').next().unwrap_or("").to_owned();
            let (alias, server) = (alias.len(), server.clone());
            self.templates.push(Template { text: shown, fixed, alias, server });
        }
        Some(splice::edit(&text, edits))
    }

    /// The prefix of a server's URIs. It has only the characters that a scheme may have (RFC 3986
    /// §3.1), since clients check URIs.
    fn alias(&mut self, server: &ServerName) -> String {
        if let Some((alias, _)) = self.aliases.iter().find(|(_, owner)| *owner == server) {
            return alias.clone();
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let mut alias: String = server
            .as_str()
            .chars()
            .map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' })
            .collect();
        if !alias.starts_with(|c: char| c.is_ascii_alphabetic()) {
            alias.insert(0, 's');
        }
        let free = std::iter::once(alias.clone()).chain((2..).map(|n| format!("{alias}-{n}")));
        let alias =
            free.into_iter().find(|alias| !self.aliases.contains_key(alias)).unwrap_or(alias);
        tracing::warn!(
            "URI collision: {server} has resources that an earlier server has too; their URIs are shown with {alias}+ in front"
        );
        self.aliases.insert(alias.clone(), server.clone());
        alias
    }
}

/// The resources that the scope names of a server. Where the operator's rules leave only some, these
/// are named one by one: whatever is not listed is judged as if a group named them.
fn named<'p>(part: &ServerPart<'p>) -> Option<Cow<'p, [String]>> {
    let of_scope = part.member.resources.as_deref();
    let rights = part.member.rights.as_ref();
    let Some(rights) = rights.filter(|rights| !rights.allow_all(EntryKind::Resource)) else {
        return of_scope.map(Cow::Borrowed);
    };
    let items = [List::Resources, List::Templates].into_iter().flat_map(|list| {
        part.catalog.items(list).iter().filter_map(move |item| listed(list, item))
    });
    let left = items.filter(|uri| {
        of_scope.is_none_or(|named| named.contains(uri))
            && rights.allow(EntryKind::Resource, &[uri.as_str()])
    });
    Some(Cow::Owned(left.collect()))
}

/// The URI or template of an entry of a server's lists.
#[must_use]
pub fn listed(list: List, item: &RawValue) -> Option<String> {
    listed_value(list, item.get().as_bytes()).and_then(splice::string)
}

fn listed_value(list: List, item: &[u8]) -> Option<&RawValue> {
    #[derive(Deserialize)]
    #[serde(remote = "Self")]
    #[serde(rename_all = "camelCase")]
    struct ListedUri<'a> {
        #[serde(borrow)]
        uri: Option<&'a RawValue>,
        #[serde(borrow)]
        uri_template: Option<&'a RawValue>,
    }
    object_only!(ListedUri<'de>);
    let item: ListedUri<'_> = serde_json::from_slice(item).ok()?;
    if list == List::Resources { item.uri } else { item.uri_template }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::config::Member;
    use crate::model::{Choice, Selection};
    use crate::protocol::catalog::Catalog;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn catalog(resources: &[&str], templates: &[&str]) -> Catalog {
        let mut catalog = Catalog::new(raw("{\"protocolVersion\":\"2025-11-25\"}"));
        catalog.resources = resources.iter().map(|text| raw(text)).collect();
        catalog.templates = templates.iter().map(|text| raw(text)).collect();
        catalog
    }

    /// The servers' lists merged, and the resources as shown.
    fn place(servers: &[(&str, &Catalog)]) -> (Uris, Vec<Bytes>) {
        let members: Vec<Member> = servers
            .iter()
            .map(|(name, _)| Member::whole(ServerName::parse(name).unwrap()))
            .collect();
        let parts: Vec<ServerPart<'_>> = members
            .iter()
            .zip(servers)
            .map(|(member, (_, catalog))| ServerPart { member, selection: None, catalog })
            .collect();
        let mut uris = Uris::default();
        let shown = uris.place(&parts, List::Resources);
        uris.place(&parts, List::Templates);
        (uris, shown)
    }

    #[test]
    fn a_uri_is_found_by_list_by_template_and_by_scheme() {
        let one = catalog(&[r#"{"uri":"note://1"}"#], &[]);
        let two = catalog(&[], &[r#"{"uriTemplate":"file:///tmp/{path}"}"#]);
        let (uris, _) = place(&[("a", &one), ("b", &two)]);
        let owner = |uri| uris.resource(uri).map(|owner| owner.server.to_string());
        assert_eq!(owner("note://1").as_deref(), Some("a"));
        assert_eq!(owner("note://2").as_deref(), Some("a"));
        assert_eq!(owner("file:///tmp/x").as_deref(), Some("b"));
        assert_eq!(owner("http://x"), None);
    }

    #[test]
    fn a_uri_that_two_servers_have_is_shown_twice_and_each_is_found() {
        let both =
            catalog(&[r#"{"uri":"note://1","x":1e400}"#], &[r#"{"uriTemplate":"note://{id}"}"#]);
        let (uris, shown) = place(&[("a", &both), ("B c", &both)]);
        assert_eq!(
            shown,
            [r#"{"uri":"note://1","x":1e400}"#, r#"{"uri":"b-c+note://1","x":1e400}"#]
        );
        let owner = |uri| uris.resource(uri).map(|o| format!("{} {}", o.server, o.name));
        assert_eq!(owner("note://1").as_deref(), Some("a note://1"));
        assert_eq!(owner("b-c+note://1").as_deref(), Some("B c note://1"));
        assert_eq!(owner("b-c+note://7").as_deref(), Some("B c note://7"));
        assert_eq!(owner("note://7").as_deref(), Some("a note://7"));
        let template = uris.completed("b-c+note://{id}").unwrap();
        assert_eq!((template.server.as_str(), template.name.as_str()), ("B c", "note://{id}"));
        let shared = |name: &str| uris.shared(&ServerName::parse(name).unwrap());
        assert_eq!(shared("B c")["note://1"], "b-c+note://1");
        assert!(shared("a").is_empty());
    }

    #[test]
    fn what_is_hidden_is_not_found_by_template_or_scheme_either() {
        let catalog = catalog(
            &[
                r#"{"uri":"note://1"}"#,
                r#"{"uri":"note://2","name":"two"}"#,
                r#"{"uri":"log://1"}"#,
            ],
            &[r#"{"uriTemplate":"note://{id}"}"#, r#"{"uriTemplate":"log://{id}"}"#],
        );
        let choice = |uri: &str, enabled, description: Option<&str>| {
            let description = description.map(str::to_owned);
            (uri.to_owned(), Choice { enabled, description })
        };
        let resources = [
            choice("note://1", false, None),
            choice("note://2", true, Some("the second")),
            choice("note://3", false, None),
            choice("log://{id}", false, None),
        ];
        let selection = Selection { resources: resources.into(), ..Selection::default() };
        let member = Member::whole(ServerName::parse("a").unwrap());
        let part = ServerPart { member: &member, selection: Some(&selection), catalog: &catalog };
        let mut uris = Uris::default();
        let shown = uris.place(&[part], List::Resources);
        assert_eq!(
            shown,
            [
                r#"{"description":"the second","uri":"note://2","name":"two"}"#,
                r#"{"uri":"log://1"}"#
            ]
        );
        let part = ServerPart { member: &member, selection: Some(&selection), catalog: &catalog };
        assert_eq!(uris.place(&[part], List::Templates), [r#"{"uriTemplate":"note://{id}"}"#]);
        for (uri, found) in [
            ("note://1", false),
            ("note://2", true),
            ("note://3", false),
            ("note://4", true),
            ("log://1", true),
            ("log://2", false),
        ] {
            assert_eq!(uris.resource(uri).is_some(), found, "{uri}");
        }
        assert_eq!(uris.completed("log://{id}"), None);
    }

    #[test]
    fn a_group_has_of_a_server_what_it_names() {
        let catalog = catalog(
            &[r#"{"uri":"note://1"}"#, r#"{"uri":"file:///x"}"#],
            &[r#"{"uriTemplate":"file:///{path}"}"#, r#"{"uriTemplate":"log://{id}"}"#],
        );
        let member = Member {
            resources: Some(vec!["note://1".into(), "log://{id}".into()]),
            ..Member::whole(ServerName::parse("a").unwrap())
        };
        let part = || ServerPart { member: &member, selection: None, catalog: &catalog };
        let mut uris = Uris::default();
        assert_eq!(uris.place(&[part()], List::Resources), [r#"{"uri":"note://1"}"#]);
        assert_eq!(uris.place(&[part()], List::Templates), [r#"{"uriTemplate":"log://{id}"}"#]);
        for (uri, found) in
            [("note://1", true), ("note://2", false), ("log://7", true), ("file:///x", false)]
        {
            assert_eq!(uris.resource(uri).is_some(), found, "{uri}");
        }
    }
}
