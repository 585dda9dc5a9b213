//! The keys that let clients in, and what each opens: of the file, or one that is made here.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{BearerKey, Config, KeyReach, Lock, Secret};
use crate::edge::{ClientKey, Group, KeyView, Member, PolicyTable};
use crate::model::{Principal, ServerName};
use crate::store::{DataFolder, GENERATED_KEY, SecretKept};

use super::translate;

/// Whom a generated key makes of its holder.
const HOLDER: &str = "generated";
/// How to do without a generated key.
const WAYS_OUT: &str = "put a key of yours into the file (bearerKeys, or routing.bearerAuthKey), or open the gateway with \
     \"enableBearerAuth\": false";

/// The keys; none if everybody is let in, or nobody because this is a node without a key. The table
/// says what each may use, if there is one.
#[must_use]
pub fn of(config: &Config, folder: &DataFolder, table: &PolicyTable) -> Vec<ClientKey> {
    let mut keys = without_rules(config, folder);
    if !table.is_empty() {
        for key in &mut keys {
            let (name, is_whole) = (key.principal.as_str().into(), key.view.is_none());
            let identity = table.identity(&key.principal, Some(&name), &[], is_whole);
            key.identity = Some(Arc::new(identity));
        }
    }
    keys
}

fn without_rules(config: &Config, folder: &DataFolder) -> Vec<ClientKey> {
    match &config.access.lock {
        Lock::Keys(keys) => {
            let (groups, places) = (translate::groups(config), places(config));
            keys.iter().map(|key| client_key(&places, &groups, key)).collect()
        }
        Lock::Generated if !config.is_closed() => vec![generated(config, folder)],
        Lock::Generated | Lock::Tokens | Lock::Open => Vec::new(),
    }
}

/// The places of servers in the file.
type Places<'c> = HashMap<&'c ServerName, usize>;

fn places(config: &Config) -> Places<'_> {
    config.servers.iter().enumerate().map(|(place, server)| (&server.name, place)).collect()
}

fn client_key(places: &Places<'_>, groups: &[Group], key: &BearerKey) -> ClientKey {
    let principal = Principal::named(&key.name);
    let view = match &key.reach {
        KeyReach::All => None,
        KeyReach::Only { groups: named, servers } => {
            Some(Arc::new(view(places, groups, named, servers, principal.clone())))
        }
    };
    ClientKey { token: key.token.clone(), principal, view, identity: None }
}

/// What a restricted key opens. A group that it does not name is open if the key names every
/// server of it: to name one of them must not open the others.
fn view(
    places: &Places<'_>,
    groups: &[Group],
    named: &[String],
    servers: &[ServerName],
    principal: Principal,
) -> KeyView {
    // As in URLs: a name goes before the id of another group.
    let has_name = |name: &String| groups.iter().any(|group| group.name.as_str() == name);
    let is_named = |group: &Group| {
        named.iter().any(|name| {
            group.name.as_str() == name || (group.id.as_ref() == Some(name) && !has_name(name))
        })
    };
    let is_contained = |group: &Group| {
        !group.members.is_empty()
            && group.members.iter().all(|member| servers.contains(&member.server))
    };
    let open = groups.iter().filter(|group| is_named(group) || is_contained(group));
    let whole = servers.iter().cloned().map(Member::whole);
    let of_groups = groups.iter().filter(|group| is_named(group));
    let mut members: Vec<Member> = Vec::new();
    let mut known: HashMap<ServerName, usize> = HashMap::new();
    for member in whole.chain(of_groups.flat_map(|group| group.members.iter().cloned())) {
        match known.get(&member.server).and_then(|place| members.get_mut(*place)) {
            Some(known) => join(known, member),
            None => {
                known.insert(member.server.clone(), members.len());
                members.push(member);
            }
        }
    }
    // As in the lists of all servers; those of other nodes come last.
    members.sort_by_key(|member| places.get(&member.server).copied().unwrap_or(usize::MAX));
    KeyView {
        principal,
        groups: open.map(|group| group.name.clone()).collect(),
        servers: servers.to_vec(),
        members,
    }
}

/// Shows of a server also what another group shows of it.
fn join(known: &mut Member, other: Member) {
    let join =
        |known: &mut Option<Vec<String>>, other: Option<Vec<String>>| match (&mut *known, other) {
            (Some(names), Some(more)) => {
                for name in more {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            _ => *known = None,
        };
    join(&mut known.tools, other.tools);
    join(&mut known.prompts, other.prompts);
    join(&mut known.resources, other.resources);
}

/// The key of a gateway whose file tells of a lock and names no key. It is told when it is made,
/// and at every start if it cannot be kept.
fn generated(config: &Config, folder: &DataFolder) -> ClientKey {
    let (token, kept) = folder.text_secret(GENERATED_KEY);
    let path = config.data_dir.join(GENERATED_KEY);
    let path = path.display();
    let header = match config.access.key_header.as_str() {
        "authorization" => "Authorization",
        other => other,
    };
    match kept {
        SecretKept::Before => tracing::info!(
            "locked with the generated key in {path}, which clients send as \"{header}: Bearer …\"; \
             {WAYS_OUT}"
        ),
        SecretKept::Now => tracing::warn!(
            "locked with a generated key: clients send \"{header}: Bearer {token}\"; it is kept in \
             {path} and not told again; {WAYS_OUT}"
        ),
        SecretKept::Not => tracing::warn!(
            "locked with a generated key: clients send \"{header}: Bearer {token}\"; it ends with \
             this process, since the data folder cannot keep it; {WAYS_OUT}"
        ),
    }
    let principal = Principal::named(HOLDER);
    ClientKey { token: Secret::new(token), principal, view: None, identity: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupName;

    fn server(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    fn group(name: &str, id: &str, members: &[(&str, Option<&[&str]>)]) -> Group {
        let member = |(name, tools): &(&str, Option<&[&str]>)| Member {
            server: server(name),
            alias: None,
            tools: tools.map(|tools| tools.iter().map(|tool| (*tool).to_owned()).collect()),
            prompts: None,
            resources: None,
            rights: None,
        };
        Group {
            by_name: true,
            name: GroupName::parse(name).unwrap(),
            id: Some(id.to_owned()),
            members: members.iter().map(member).collect(),
        }
    }

    /// The names of the groups that are open, and the servers of `/mcp` with their tools.
    fn seen(named: &[&str], servers: &[&str]) -> (Vec<String>, Vec<String>) {
        let groups = [
            group("both", "1", &[("a", Some(&["x"])), ("b", None)]),
            group("one", "2", &[("a", Some(&["y"]))]),
            group("empty", "3", &[]),
        ];
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let servers: Vec<ServerName> = servers.iter().map(|name| server(name)).collect();
        let view = view(&Places::new(), &groups, &named, &servers, Principal::named("k"));
        let member = |member: &Member| match &member.tools {
            None => member.server.to_string(),
            Some(tools) => format!("{}:{}", member.server, tools.join("+")),
        };
        let groups = view.groups.iter().map(|group| group.as_str().to_owned()).collect();
        (groups, view.members.iter().map(member).collect())
    }

    #[test]
    fn a_key_opens_what_it_names_and_nothing_beside_it() {
        for (named, servers, groups, members) in [
            (&["both"][..], &[][..], &["both"][..], &["a:x", "b"][..]),
            (&["2"], &[], &["one"], &["a:y"]),
            (&["both", "one"], &[], &["both", "one"], &["a:x+y", "b"]),
            (&[], &["a"], &["one"], &["a"]),
            (&[], &["b"], &[], &["b"]),
            (&[], &["b", "a"], &["both", "one"], &["b", "a"]),
            (&["both"], &["a"], &["both", "one"], &["a", "b"]),
            (&["none"], &[], &[], &[]),
        ] {
            let expected = (
                groups.iter().map(ToString::to_string).collect(),
                members.iter().map(ToString::to_string).collect(),
            );
            assert_eq!(seen(named, servers), expected, "{named:?} {servers:?}");
        }
    }
}
