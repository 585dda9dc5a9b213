//! Which resources of a server a client may ask for, where the operator hides any of them or a
//! group names those that it has.
//!
//! Then only what is listed and shown, or is of a shown template segment by segment, reaches the
//! server. Whatever the server might take for something that is hidden does not: servers normalise
//! what they are asked for, so that bytes alone decide nothing (see `uri`).

use std::collections::{BTreeSet, HashSet};

use crate::model::Selection;
use crate::protocol::methods::List;
use crate::protocol::uri;

use super::loose_template::{self, LooseTemplate};
use super::template::UriTemplate;

/// The judge of one server's resources in one scope.
#[derive(Debug, Clone, Default)]
pub struct ResourceJudge {
    /// URIs that are listed and shown, and all spellings of them.
    listed: HashSet<String>,
    listed_spellings: HashSet<String>,
    /// Templates that are listed and shown: exactly, and as the most tolerant server reads them.
    templates: Vec<UriTemplate>,
    loose: Vec<LooseTemplate>,
    /// Spellings of what the operator hides.
    off: HashSet<String>,
    hidden: Withheld,
    /// What the server lists and the group does not name. A template that the group names counts
    /// more: the operator has named all that it yields.
    unnamed: Withheld,
    /// The entries that the group names, if it does.
    named: Option<Vec<String>>,
    /// Whether the server's lists are unknown: then whatever the group does not name may be of it.
    is_unlisted: bool,
}

/// Resources and templates that are kept from clients.
#[derive(Debug, Clone, Default)]
struct Withheld {
    /// See [`uri::keys`].
    keys: HashSet<String>,
    templates: Vec<LooseTemplate>,
}

impl Withheld {
    fn add(&mut self, text: &str) {
        self.keys.extend(uri::keys(text));
        if text.contains('{') {
            self.templates.push(LooseTemplate::of(text));
        }
    }

    fn has(&self, readings: &BTreeSet<String>) -> bool {
        readings.iter().any(|reading| {
            self.keys.contains(reading) || self.templates.iter().any(|t| t.may_have(reading))
        })
    }
}

impl ResourceJudge {
    /// By what a group names, if it does, and what the operator hides. `None` if all of the server's
    /// resources are shown: then nothing is judged.
    #[must_use]
    pub fn of(named: Option<&[String]>, selection: Option<&Selection>) -> Option<Self> {
        let judge = selection.and_then(Self::hiding);
        match named {
            Some(named) => Some(Self { named: Some(named.to_vec()), ..judge.unwrap_or_default() }),
            None => judge,
        }
    }

    /// The same while the server's lists are unknown: what a group names counts as listed.
    #[must_use]
    pub fn unlisted(named: Option<&[String]>, selection: Option<&Selection>) -> Option<Self> {
        let mut judge = Self::of(named, selection)?;
        for name in named.unwrap_or_default() {
            let list = if name.contains('{') { List::Templates } else { List::Resources };
            judge.lists(list, name);
        }
        judge.is_unlisted = true;
        Some(judge)
    }

    /// The judge before anything is listed. `None` if the selection hides no resource.
    #[must_use]
    pub fn hiding(selection: &Selection) -> Option<Self> {
        let mut judge = Self::default();
        let off = selection.resources.iter().filter(|(_, choice)| !choice.enabled);
        for (text, _) in off {
            judge.off.extend(spellings(text));
            judge.hidden.add(text);
        }
        (!judge.off.is_empty()).then_some(judge)
    }

    /// Takes an entry of the server's lists into account. False if it is not to be shown.
    pub fn lists(&mut self, list: List, own: &str) -> bool {
        if spellings(own).iter().any(|spelling| self.off.contains(spelling)) {
            return false;
        }
        if self.named.as_ref().is_some_and(|named| named.iter().all(|name| name != own)) {
            self.unnamed.add(own);
            return false;
        }
        if list == List::Resources {
            self.listed.insert(own.to_owned());
            self.listed_spellings.extend(uri::spellings(own));
        } else {
            self.templates.extend(UriTemplate::parse(own));
            self.loose.push(LooseTemplate::of(own));
        }
        true
    }

    /// Whether the server may be asked for this URI of its own.
    #[must_use]
    pub fn allows(&self, own: &str) -> bool {
        if self.listed.contains(own) {
            return true;
        }
        if !self.templates.iter().any(|template| template.has(own)) {
            return false;
        }
        uri::readings(own).is_some_and(|readings| !self.withholds(&readings))
    }

    /// Whether the client may learn what the server says of this URI by itself. Servers say it in
    /// their own spelling.
    #[must_use]
    pub fn may_mention(&self, own: &str) -> bool {
        if self.is_unlisted {
            return !self.is_withheld(own);
        }
        if self.is_listed(own) {
            return true;
        }
        let readings = uri::readings(own).unwrap_or_else(|| uri::keys(own));
        let is_of_template = readings.iter().any(|r| self.loose.iter().any(|t| t.may_have(r)));
        is_of_template && !self.withholds(&readings)
    }

    /// Whether a URI in a result is one that the client is kept from. What nobody lists is none of
    /// these: many tools make up URIs for what they return.
    #[must_use]
    pub fn is_withheld(&self, own: &str) -> bool {
        let readings = || uri::readings(own).unwrap_or_else(|| uri::keys(own));
        !self.is_listed(own) && self.withholds(&readings())
    }

    /// Whether a server might take the URI for one that is hidden, whatever it lists: as it stands,
    /// or in a normal form. A listed one may look like none that is settled.
    #[must_use]
    pub fn may_be_hidden(&self, own: &str) -> bool {
        let is_withheld = |uri: &str| uri::readings(uri).is_none_or(|all| self.withholds(&all));
        if own.len() > uri::MAX_LENGTH {
            return true;
        }
        let forms = uri::spellings(own);
        let mut normal = forms.iter().filter(|form| *form != own).peekable();
        // A normal form goes nowhere; what even that leaves unclear, such as `..%2F`, is refused.
        if uri::readings(own).is_none() && normal.peek().is_none() {
            return true;
        }
        uri::readings(own).is_some_and(|all| self.withholds(&all))
            || normal.any(|form| is_withheld(form))
    }

    fn is_listed(&self, own: &str) -> bool {
        let spelled = || uri::spellings(own);
        self.listed.contains(own)
            || (own.len() <= uri::MAX_LENGTH
                && spelled().iter().any(|spelling| self.listed_spellings.contains(spelling)))
    }

    fn withholds(&self, readings: &BTreeSet<String>) -> bool {
        let is_shown = |reading: &String| self.loose.iter().any(|t| t.may_have(reading));
        self.hidden.has(readings) || {
            let others = readings.iter().filter(|reading| !is_shown(reading));
            if self.is_unlisted && self.named.is_some() {
                return others.count() > 0;
            }
            self.unnamed.has(&others.cloned().collect())
        }
    }
}

/// All spellings of a listed entry; of a template, whatever its variables are called.
fn spellings(text: &str) -> BTreeSet<String> {
    let mut spelled = uri::spellings(text);
    if text.contains('{') {
        spelled.insert(loose_template::shape(text));
    }
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Choice;

    /// A judge of a server that lists these, of which these are hidden and these are named.
    fn judge(listed: &[&str], hidden: &[&str], named: Option<&[&str]>) -> ResourceJudge {
        let off = |uri: &&str| ((*uri).to_owned(), Choice { enabled: false, description: None });
        let resources = hidden.iter().map(off).collect();
        let selection = Selection { resources, ..Selection::default() };
        let named: Option<Vec<String>> =
            named.map(|named| named.iter().map(|n| (*n).to_owned()).collect());
        let mut judge = ResourceJudge::of(named.as_deref(), Some(&selection)).unwrap();
        for text in listed {
            let list = if text.contains('{') { List::Templates } else { List::Resources };
            judge.lists(list, text);
        }
        judge
    }

    fn check(judge: &ResourceJudge, allowed: &[&str], refused: &[&str]) {
        for uri in allowed {
            assert!(judge.allows(uri), "{uri}");
        }
        for uri in refused {
            assert!(!judge.allows(uri), "{uri}");
        }
    }

    #[test]
    fn where_a_resource_is_hidden_only_what_is_listed_is_asked() {
        let listed = ["test://dir/open", "test://dir/secret", "Test://Odd/./spelled", "test://a#b"];
        let judge = judge(&listed, &["test://dir/secret"], None);
        check(
            &judge,
            &["test://dir/open", "Test://Odd/./spelled", "test://a#b"],
            &[
                "test://dir/secret",
                "test://dir/secret ",
                "test://dir/sec\tret",
                "test://dir/secret#x",
                "test://dir/x/../secret",
                "test://dir/open/",
                "TEST://dir/open",
                "test://odd/spelled",
                "test://dir/other",
                "test://a",
            ],
        );
    }

    #[test]
    fn what_is_listed_in_another_spelling_of_what_is_hidden_is_hidden() {
        for spelled in [
            "TEST://dir/secret",
            "test://dir/./secret",
            "test://dir/%73ecret",
            "test://DIR/secret",
            "test://dir/secret ",
        ] {
            check(&judge(&[spelled], &["test://dir/secret"], None), &[], &[spelled]);
            check(&judge(&["test://dir/secret"], &[spelled], None), &[], &["test://dir/secret"]);
        }
        let judge = judge(&["tpl://Hidden/{id}"], &["tpl://hidden/{x}"], None);
        check(&judge, &[], &["tpl://hidden/1", "tpl://Hidden/1"]);
    }

    #[test]
    fn what_is_hidden_wins_over_a_template_that_is_shown() {
        let listed = ["tpl://{+all}", "tpl://shown/{x}", "tpl://shown/listed"];
        let hidden = ["tpl://hidden/{x}", "tpl://shown/secret", "tpl://shown/a/{x}"];
        check(
            &judge(&listed, &hidden, None),
            &["tpl://shown/1", "tpl://other/1/2", "tpl://shown/listed", "tpl://shown/a%2520b"],
            &[
                "tpl://hidden/1",
                "tpl://hidden/1?x",
                "tpl://hidden//1",
                "tpl://hidden/1/",
                "tpl://hidden%2F1",
                "tpl://hidden%5C1",
                "tpl:///hidden/1",
                "tpl://x@hidden/1",
                "tpl://hidden:1/1",
                "tpl://shown/secret",
                "tpl://shown/secret/",
                "tpl://shown/SECRET",
                "tpl://shown/secret%20",
                "tpl://shown/secret#x",
                "tpl://shown/../hidden/1",
                "tpl://shown/..%2Fhidden%2F1",
                "tpl://shown/..;/hidden/1",
                "tpl://shown/a%2F1",
                "tpl://shown/a/1",
            ],
        );
    }

    #[test]
    fn a_group_has_what_it_names_and_what_its_templates_have() {
        let listed = [
            "note://1",
            "note://2",
            "tpl://dir/{x}",
            "tpl://dir/listed",
            "tpl://dir/a/b",
            "tpl://{+all}",
        ];
        let judge = judge(&listed, &[], Some(&["note://1", "tpl://dir/{x}", "note://absent"]));
        check(
            &judge,
            &["note://1", "tpl://dir/1", "tpl://dir/listed", "tpl://dir/a%20b"],
            &["note://2", "note://absent", "tpl://dir/a/b", "tpl://dir/a%2Fb", "tpl://x"],
        );
    }

    #[test]
    fn servers_may_mention_what_is_shown_in_their_own_spelling() {
        let listed = ["Test://Open", "test://secret", "tpl://{x}", "test://unnamed"];
        let hiding = judge(&listed, &["test://secret", "tpl://hidden"], None);
        for (uri, may) in [
            ("Test://Open", true),
            ("test://open", true),
            ("tpl://a", true),
            ("tpl://A", true),
            ("test://secret", false),
            ("TEST://secret/", false),
            ("tpl://hidden", false),
            ("other://x", false),
        ] {
            assert_eq!(hiding.may_mention(uri), may, "{uri}");
        }
        let naming = judge(&listed, &[], Some(&["Test://Open"]));
        for (uri, withheld) in [
            ("Test://Open", false),
            ("test://open", false),
            ("made://up/by/a/tool", false),
            ("test://secret", true),
            ("test://SECRET", true),
            ("tpl://1", true),
        ] {
            assert_eq!(naming.is_withheld(uri), withheld, "{uri}");
        }
    }

    #[test]
    fn before_the_lists_are_known_what_is_hidden_or_not_named_is_withheld() {
        let off = Choice { enabled: false, description: None };
        let resources = [("test://secret".to_owned(), off)].into();
        let selection = Selection { resources, ..Selection::default() };
        let hiding = ResourceJudge::unlisted(None, Some(&selection)).unwrap();
        let named = ["test://open".to_owned(), "tpl://a/{x}".to_owned()];
        let naming = ResourceJudge::unlisted(Some(&named), None).unwrap();
        for (judge, uri, withheld) in [
            (&hiding, "test://secret", true),
            (&hiding, "TEST://secret", true),
            (&hiding, "test://other", false),
            (&naming, "test://open", false),
            (&naming, "Test://open", false),
            (&naming, "tpl://a/1", false),
            (&naming, "test://other", true),
        ] {
            assert_eq!(judge.is_withheld(uri), withheld, "{uri}");
            assert_eq!(judge.may_mention(uri), !withheld, "{uri}");
        }
    }

    #[test]
    fn where_nothing_is_hidden_there_is_no_judge() {
        let described = Choice { enabled: true, description: Some("x".into()) };
        let resources = [("test://a".to_owned(), described)].into();
        let selection = Selection { resources, ..Selection::default() };
        assert!(ResourceJudge::of(None, Some(&selection)).is_none());
        assert!(ResourceJudge::of(Some(&[]), None).is_some());
    }
}
