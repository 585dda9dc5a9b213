//! Where coordinators keep what they share: `systemConfig.cluster.store`.

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::reading::{braced, expanded};
use crate::config::reader::secret_file::{self, Given};
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::redis_url::{self, RedisUrl};

/// The variable with the URL; overrides the file.
const URL: &str = "MOORING_REDIS_URL";
/// What keys begin with.
const PREFIX: &str = "mooring:";
/// Bytes of a prefix.
const MAX_PREFIX: usize = 64;
const ADVICE: &str = "write {\"type\": \"redis\", \"url\": \"redis://host:6379\"}, or leave it out \
                      to keep what one coordinator knows in its memory";

/// Where a coordinator keeps what others have to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// There is one coordinator, or each is by itself.
    Memory,
    Redis {
        url: RedisUrl,
        /// What all keys begin with.
        prefix: String,
    },
}

/// For pages and the summary: without the password.
impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redis { url, .. } => url.fmt(f),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Redis,
}

/// Reads the store of a coordinator; other processes have none.
pub(in crate::config) fn read(
    cluster: &Section<'_>,
    sources: &Sources<'_>,
    is_coordinator: bool,
) -> Store {
    let section = cluster.clone().lenient_unless(is_coordinator);
    let given = match is_coordinator {
        true => secret_file::given(URL, sources, section.notes).unwrap_or_default(),
        false => None,
    };
    let store = match section.get("store") {
        Some(item) if item.is_text() => of_text(&item, &section, sources, given.as_ref()),
        Some(item) => of_object(&item.section(), sources, given.as_ref()),
        None => of_variable(given.as_ref(), &section, PREFIX.to_owned()),
    };
    store.filter(|_| is_coordinator).unwrap_or(Store::Memory)
}

/// Refuses a shared store where this coordinator runs servers of its own: the other coordinators
/// could not reach them, and a session would have one of its servers at each.
pub(in crate::config) fn refuse_servers(section: &Section<'_>, store: &Store, names: &[&str]) {
    if *store == Store::Memory || names.is_empty() {
        return;
    }
    let message = format!(
        "is shared, and this coordinator runs servers of its own ({}), which no other coordinator \
         reaches",
        names.join(", ")
    );
    match section.get("store") {
        Some(item) => item.refuse(message, "run them on a node"),
        None => section.notes.refuse_variable(URL, message, "run them on a node"),
    }
}

fn of_text(
    item: &Item<'_>,
    section: &Section<'_>,
    sources: &Sources<'_>,
    given: Option<&Given>,
) -> Option<Store> {
    let text = item.text()?;
    if text == "memory" {
        return Some(Store::Memory);
    }
    if text == "redis" {
        let store = of_variable(given, section, PREFIX.to_owned());
        if given.is_none() {
            item.refuse(format!("names no URL, and {URL} is not set"), ADVICE);
        }
        return store;
    }
    let text = if text.starts_with("${") { expanded(section, "store", sources)? } else { text };
    if !redis_url::is_redis(&text) {
        item.refuse(format!("{} is not a store", quote(&text)), ADVICE);
        return None;
    }
    match given {
        Some(_) => of_variable(given, section, PREFIX.to_owned()),
        None => of_url(item, &braced(item, &text, sources)?, PREFIX.to_owned()),
    }
}

fn of_object(section: &Section<'_>, sources: &Sources<'_>, given: Option<&Given>) -> Option<Store> {
    section.object?;
    let kinds = [("memory", Kind::Memory), ("redis", Kind::Redis), ("valkey", Kind::Redis)];
    let kind = section.choice("type", "store", &kinds);
    if section.get("type").is_none() {
        section.refuse_key("type", "is missing", "use memory or redis");
    }
    let prefix = prefix(section)?;
    let url = section.get("url");
    let text = url.as_ref().and_then(|item| braced(item, &item.text()?, sources));
    match kind? {
        Kind::Memory => Some(Store::Memory),
        Kind::Redis if given.is_some() => of_variable(given, section, prefix),
        Kind::Redis => match url {
            Some(item) => of_url(&item, &text?, prefix),
            None => {
                let advice = format!("add \"url\": \"redis://host:6379\", or set {URL}");
                section.refuse_key("url", "is required", &advice);
                None
            }
        },
    }
}

fn of_url(item: &Item<'_>, text: &str, prefix: String) -> Option<Store> {
    let url = redis_url::parse(text);
    let url = url.map_err(|problem| item.refuse(problem, "write it like redis://host:6379/0"));
    Some(Store::Redis { url: url.ok()?, prefix })
}

fn of_variable(given: Option<&Given>, section: &Section<'_>, prefix: String) -> Option<Store> {
    let Given { text, variable } = given?;
    let url = redis_url::parse(text).map_err(|problem| {
        section.notes.refuse_variable(variable, problem, "write it like redis://host:6379/0");
    });
    Some(Store::Redis { url: url.ok()?, prefix })
}

fn prefix(section: &Section<'_>) -> Option<String> {
    let Some(item) = section.get("prefix") else { return Some(PREFIX.to_owned()) };
    let text = item.text()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._-{}".contains(&byte);
    if text.is_empty() || text.len() > MAX_PREFIX || !text.bytes().all(is_plain) {
        let advice = format!("use 1 to {MAX_PREFIX} of letters, digits and : . _ - {{ }}");
        item.refuse("is not a prefix of keys", advice);
        return None;
    }
    Some(text)
}
