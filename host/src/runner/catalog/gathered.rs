//! What has been read of a server so far, list by list.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::model::visible::visible;
use crate::protocol::catalog::Catalog;
use crate::protocol::era::discovered;
use crate::protocol::initialize::InitializeResult;
use crate::protocol::methods::List;

use super::read_list::ListRead;

/// Flaws that are told of one server.
const MAX_FLAWS: usize = 16;
/// Bytes of each.
const MAX_FLAW: usize = 300;

/// The lists of a server, each by itself.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The `InitializeResult`, once a session has been opened.
    initialize: Option<Box<RawValue>>,
    /// Lists that are still to be read, in this order.
    wanted: Vec<List>,
    read: BTreeMap<List, ListRead>,
    /// Flaws of no list.
    general: Vec<String>,
    /// Whether the server serves requests without a session, too.
    is_both: bool,
    /// Whether the server announces nothing, so that a refusal of its lists is as it should be.
    is_unannounced: bool,
}

impl Gathered {
    /// Nothing yet, of a server that serves requests without a session, too, or not.
    #[must_use]
    pub fn of(is_both: bool) -> Self {
        Self { is_both, ..Self::default() }
    }

    /// Takes what the server says of itself, and with it which lists are to be read. Only the first
    /// time: another session continues.
    pub fn begin(&mut self, result: &[u8]) {
        if self.initialize.is_some() {
            return;
        }
        let mut text = String::from_utf8_lossy(result).into_owned();
        if self.is_both {
            text = discovered::marked(text);
        }
        self.initialize = RawValue::from_string(text).ok();
        let said = InitializeResult::of(result);
        if said.protocol_version.is_none() {
            self.general.push("its answer to initialize names no protocolVersion".to_owned());
        }
        if said.announces("tools").is_none() {
            let text = "its answer to initialize has no capabilities that can be read: it is asked \
                        for all lists";
            self.general.push(text.to_owned());
        }
        // Of capabilities that cannot be read any may be there.
        let is_offered = |list: &List| said.announces(list.capability()).unwrap_or(true);
        self.wanted = List::ALL.into_iter().filter(is_offered).collect();
        if said.announces_nothing() {
            // On the server's own endpoint its tools work all the same.
            self.is_unannounced = true;
            self.wanted = vec![List::Tools];
        }
    }

    /// Notes a flaw that concerns no list, or several.
    pub fn note(&mut self, flaw: String) {
        self.general.push(flaw);
    }

    /// The lists that the server offers.
    #[must_use]
    pub fn began_with(&self) -> Vec<List> {
        List::ALL.into_iter().filter(|list| self.read.contains_key(list)).collect()
    }

    /// The lists that are still to be read.
    #[must_use]
    pub fn wanted(&self) -> Vec<List> {
        self.wanted.clone()
    }

    /// Keeps what was read of a list.
    pub fn take(&mut self, list: List, read: ListRead) {
        self.wanted.retain(|wanted| *wanted != list);
        if self.is_unannounced && read.items.is_empty() {
            self.read.remove(&list);
            return;
        }
        self.read.insert(list, read);
    }

    /// Has a list read again, after the others.
    pub fn put_off(&mut self, list: List) {
        self.read.remove(&list);
        self.wanted.retain(|wanted| *wanted != list);
        self.wanted.push(list);
    }

    /// Whether anything is known of what the server offers.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.read.values().any(|read| !read.items.is_empty())
    }

    /// Whether a list broke off.
    #[must_use]
    pub fn is_cut(&self, list: List) -> bool {
        self.read.get(&list).is_some_and(|read| read.is_cut)
    }

    /// Whether a list has yet to be read, or broke off.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        !self.wanted.is_empty() || self.read.values().any(|read| read.is_cut)
    }

    /// What is wrong with the server's answers, for the operator.
    #[must_use]
    pub fn flaws(&self) -> Vec<String> {
        let of_lists = self.read.values().flat_map(|read| &read.flaws);
        let all = self.general.iter().chain(of_lists).take(MAX_FLAWS);
        all.map(|flaw| visible(flaw, MAX_FLAW).to_string()).collect()
    }

    /// The catalog of what was read. A list that broke off is that of `before`, if it had more.
    #[must_use]
    pub fn catalog(&self, before: Option<&Catalog>) -> Catalog {
        let initialize = self.initialize.clone();
        let mut catalog = Catalog::new(initialize.unwrap_or_else(|| RawValue::NULL.to_owned()));
        for list in List::ALL {
            let read = self.read.get(&list);
            let known = read.map_or(&[][..], |read| &read.items);
            let is_cut = read.map_or_else(|| self.wanted.contains(&list), |read| read.is_cut);
            let earlier = before.map_or(&[][..], |before| before.items(list));
            let items = if is_cut && earlier.len() > known.len() { earlier } else { known };
            *catalog.items_mut(list) = items.to_vec();
        }
        catalog
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(result: &str) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.begin(result.as_bytes());
        gathered
    }

    #[test]
    fn a_capability_that_cannot_be_read_is_not_an_absent_one() {
        let all = List::ALL.to_vec();
        for (capabilities, expect, flaws) in [
            (r#"{"tools":{}}"#, vec![List::Tools], 0),
            (r#"{"tools":[],"prompts":null}"#, vec![List::Tools], 0),
            (r#"{"tools":true,"x":"\ud83d"}"#, vec![List::Tools], 0),
            (r#"{"resources":{"\ud83d":1}}"#, vec![List::Resources, List::Templates], 0),
            (r#"{"logging":{}}"#, vec![], 0),
            (r#"{"tools":null,"logging":{}}"#, vec![], 0),
            ("{}", vec![List::Tools], 0),
            ("[]", vec![List::Tools], 0),
            (r#"{"tools":null}"#, vec![List::Tools], 0),
            (r#"{"Tools":{},"Prompts":{}}"#, vec![List::Tools], 0),
            (r#"["tools"]"#, all.clone(), 1),
            ("null", all.clone(), 1),
            ("7", all.clone(), 1),
        ] {
            let text = format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"instructions":"\ud83d"}}"#
            );
            let gathered = began(&text);
            assert_eq!(gathered.wanted(), expect, "{text}");
            assert_eq!(gathered.flaws().iter().filter(|f| f.contains("capab")).count(), flaws);
        }
        assert_eq!(began("7").wanted(), all);
    }

    #[test]
    fn who_announces_nothing_may_refuse_the_tools() {
        let cut = || ListRead { is_cut: true, flaws: vec!["why".into()], ..ListRead::default() };
        let mut silent = began(r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#);
        silent.take(List::Tools, cut());
        assert!(
            !silent.is_incomplete() && silent.flaws().is_empty() && silent.began_with().is_empty()
        );
        let tool = RawValue::from_string("{}".to_owned()).unwrap();
        silent.take(List::Tools, ListRead { items: vec![tool], ..ListRead::default() });
        assert_eq!(silent.catalog(None).tools.len(), 1);
    }

    #[test]
    fn a_list_that_broke_off_is_the_one_from_before() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let mut before = Catalog::new(raw("{}"));
        before.tools = vec![raw("1"), raw("2")];
        before.prompts = vec![raw("3")];
        let mut gathered = began(r#"{"capabilities":{"tools":{},"prompts":{}}}"#);
        let cut = ListRead { is_cut: true, flaws: vec!["why".into()], ..ListRead::default() };
        gathered.take(List::Tools, cut);
        gathered.take(List::Prompts, ListRead::default());
        let catalog = gathered.catalog(Some(&before));
        assert_eq!((catalog.tools.len(), catalog.prompts.len()), (2, 0));
        assert!(gathered.is_incomplete() && gathered.is_cut(List::Tools));
        assert!(gathered.flaws().contains(&"why".to_owned()));
    }
}
