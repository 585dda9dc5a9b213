//! Which revisions clients may speak, those with sessions and the one without, and what tells the
//! conversations of clients apart that have no session: `systemConfig.eras` and `conversations`.

use http::HeaderName;

use crate::config::reader::item::Item;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;
use crate::config::reader::words::nearest::suggestion;

/// Bytes of the longest name of a member of `_meta` or of the arguments.
const MAX_MEMBER: usize = 200;

/// The eras that are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eras {
    /// Whether requests without a session are served, beside sessions.
    pub modern: bool,
    /// What names a conversation of such requests, in the order in which it is looked for.
    pub conversations: Vec<ConversationBy>,
}

impl Default for Eras {
    fn default() -> Self {
        let conversations = vec![
            ConversationBy::Plugin,
            ConversationBy::Handle,
            ConversationBy::Cookie,
            ConversationBy::Principal,
        ];
        Self { modern: false, conversations }
    }
}

/// Something that names a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationBy {
    /// What the strategy's plugin says, if it tells conversations apart.
    Plugin,
    /// What the gateway has put into the `_meta` of a result, and the client returns.
    Handle,
    /// A cookie of the gateway.
    Cookie,
    /// A header of the client.
    Header(HeaderName),
    /// A member of the request's `_meta`.
    Meta(String),
    /// An argument of a call or prompt.
    Argument(String),
    /// The client's key, with the name that it gives itself.
    Principal,
    /// The client's address or key, with the name that it gives itself.
    Address,
    /// The connection, for proxies that keep clients apart.
    Connection,
}

impl std::fmt::Display for ConversationBy {
    /// As the file has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Meta(name) => write!(f, "meta:{name}"),
            Self::Argument(name) => write!(f, "argument:{name}"),
            plain => {
                let word = PLAIN.iter().find(|(_, by)| by == plain);
                f.write_str(word.map_or("", |(word, _)| word))
            }
        }
    }
}

/// The words for what needs no name behind it.
static PLAIN: [(&str, ConversationBy); 6] = [
    ("plugin", ConversationBy::Plugin),
    ("handle", ConversationBy::Handle),
    ("cookie", ConversationBy::Cookie),
    ("principal", ConversationBy::Principal),
    ("address", ConversationBy::Address),
    ("connection", ConversationBy::Connection),
];

pub(in crate::config) fn read(system: &Section<'_>) -> Eras {
    let default = Eras::default();
    let modern = system.get("eras").is_some_and(|item| serves_modern(&item));
    let conversations = match system.get("conversations") {
        Some(item) => item.items().iter().filter_map(named).collect(),
        None => default.conversations,
    };
    Eras { modern, conversations }
}

fn serves_modern(item: &Item<'_>) -> bool {
    let (mut legacy, mut modern) = (false, false);
    for era in item.items() {
        match era.text().as_deref() {
            Some("legacy") => legacy = true,
            Some("modern") => modern = true,
            Some(other) => {
                let advice =
                    format!("use legacy or modern{}", suggestion(other, &["legacy", "modern"]));
                era.refuse(format!("{} is not an era", quote(other)), advice);
            }
            None => {}
        }
    }
    if modern && !legacy {
        item.refuse(
            "leaves out legacy: clients with sessions are always served",
            "write [\"legacy\", \"modern\"]",
        );
    }
    modern
}

fn named(item: &Item<'_>) -> Option<ConversationBy> {
    let text = item.text()?;
    if let Some((_, by)) = PLAIN.iter().find(|(word, _)| *word == text) {
        return Some(by.clone());
    }
    match text.split_once(':') {
        Some(("header", name)) => {
            let header = HeaderName::try_from(name.trim()).ok();
            if header.is_none() {
                item.refuse("names no header", "write it like header:X-Conversation-Id");
            }
            header.map(ConversationBy::Header)
        }
        Some(("meta", name)) => {
            if !is_member(name) {
                item.refuse("names no member of _meta", "write it like meta:com.example/thread");
            }
            is_member(name).then(|| ConversationBy::Meta(name.to_owned()))
        }
        Some(("argument", name)) => {
            if !is_member(name) {
                item.refuse("names no argument", "write it like argument:thread_id");
            }
            is_member(name).then(|| ConversationBy::Argument(name.to_owned()))
        }
        _ => {
            let words: Vec<&str> = PLAIN.iter().map(|(word, _)| *word).collect();
            let advice = format!(
                "use {}, header:NAME, meta:NAME or argument:NAME{}",
                words.join(", "),
                suggestion(&text, &words)
            );
            item.refuse(format!("{} does not name a conversation", quote(&text)), advice);
            None
        }
    }
}

fn is_member(name: &str) -> bool {
    (1..=MAX_MEMBER).contains(&name.len())
}
