//! URI templates as the most tolerant server reads them: whether some server might take a URI for one
//! of a template's.

use crate::protocol::uri;

use super::positions::{Positions, or};
use super::template::MAX_PARTS;

/// Stand for variables while a template's text is folded: characters for private use.
const MARKS: [(char, LoosePart); 6] = [
    ('\u{f8fa}', LoosePart::Segment),
    ('\u{f8fb}', LoosePart::Anything),
    ('\u{f8fc}', LoosePart::After("?")),
    ('\u{f8fd}', LoosePart::After("&")),
    ('\u{f8fe}', LoosePart::After("#")),
    ('\u{f8ff}', LoosePart::After(";")),
];

/// A template's text without the names of its variables, by which servers do not differ.
#[must_use]
pub fn shape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((literal, behind)) = rest.split_once('{') {
        let Some((expression, after)) = behind.split_once('}') else { break };
        let operator = expression.chars().next().filter(|c| "+#./;?&".contains(*c));
        let count = expression.split(',').count();
        out.push_str(literal);
        out.push_str(&format!("{{{}{count}}}", operator.unwrap_or(' ')));
        rest = after;
    }
    out.push_str(rest);
    let host = out.find("://").map_or(0, |at| at + 3);
    let end = out.get(host..).and_then(|rest| rest.find('/')).map_or(out.len(), |at| host + at);
    if let Some(start) = out.get_mut(..end) {
        start.make_ascii_lowercase();
    }
    out
}

/// A template as the most tolerant server reads it: for skeletons (see [`uri::skeleton`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseTemplate(Vec<LoosePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum LoosePart {
    Literal(String),
    /// May be empty.
    Segment,
    Anything,
    /// Nothing, or this with anything behind it.
    After(&'static str),
}

impl LoosePart {
    fn of(expression: &str) -> Self {
        match expression.bytes().next() {
            Some(b'?') => Self::After("?"),
            Some(b'&') => Self::After("&"),
            Some(b'#') => Self::After("#"),
            Some(b';') => Self::After(";"),
            Some(b'+' | b'/' | b'.') => Self::Anything,
            // `{x*}` is a path of several segments to some servers.
            _ if expression.contains('*') => Self::Anything,
            _ => Self::Segment,
        }
    }
}

impl LooseTemplate {
    /// Reads any text; what is no template is a URI.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mark_of = |part: &LoosePart| MARKS.iter().find(|(_, known)| known == part);
        let part_of = |c: char| MARKS.iter().find(|(mark, _)| *mark == c).map(|(_, part)| part);
        let mut marked = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let Some((expression, after)) = behind.split_once('}') else { break };
            marked.extend(literal.chars().filter(|c| part_of(*c).is_none()));
            marked.extend(mark_of(&LoosePart::of(expression)).map(|(mark, _)| *mark));
            rest = after;
        }
        marked.push_str(rest);
        let mut parts = Vec::new();
        let mut literal = String::new();
        for c in uri::skeleton(&marked).chars() {
            let Some(part) = part_of(c) else {
                literal.push(c);
                continue;
            };
            if !literal.is_empty() {
                parts.push(LoosePart::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part.clone());
            if parts.len() > MAX_PARTS {
                parts.push(LoosePart::Anything);
                return Self(parts);
            }
        }
        if !literal.is_empty() {
            parts.push(LoosePart::Literal(literal));
        }
        Self(parts)
    }

    /// Whether a skeleton may be one of this template's.
    #[must_use]
    pub fn may_have(&self, skeleton: &str) -> bool {
        let text = Positions { text: skeleton.as_bytes() };
        let mut at = vec![false; skeleton.len() + 1];
        if let Some(first) = at.first_mut() {
            *first = true;
        }
        for part in &self.0 {
            at = match part {
                LoosePart::Literal(literal) => text.behind(&at, literal.as_bytes()),
                LoosePart::Segment => or(&at, &text.through(&at, |byte| byte != b'/')),
                LoosePart::Anything => or(&at, &text.through(&at, |_| true)),
                LoosePart::After(mark) => {
                    let behind = text.behind(&at, mark.as_bytes());
                    or(&at, &or(&behind, &text.through(&behind, |_| true)))
                }
            };
        }
        at.last() == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::uri::template::UriTemplate;

    #[test]
    fn many_variables_take_no_time() {
        let template = "{+a}".repeat(40) + "!";
        let uri = format!("a://{}", "b".repeat(4_000));
        let begun = std::time::Instant::now();
        assert!(UriTemplate::parse(&template).is_none_or(|strict| !strict.has(&uri)));
        assert!(!LooseTemplate::of(&template).may_have(&uri));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
        assert!(UriTemplate::parse(&"{a}".repeat(100)).is_none());
    }

    #[test]
    fn a_loose_template_has_all_that_a_server_may_take_for_its_own() {
        for (template, uri, expect) in [
            ("tpl://hidden/{x}", "tpl:hidden/1", true),
            ("TPL://Hidden//{x}", "tpl:hidden/1?y", true),
            ("tpl://hidden/{x}", "tpl:hidden/1/2", false),
            ("tpl://hidden/{x*}", "tpl:hidden/1/2", true),
            ("tpl://hidden/{+x}", "tpl:hidden/1/2", true),
            ("tpl://hidden{/x}", "tpl:hidden/1", true),
            ("tpl://hidden{?x}", "tpl:hidden?x=1", true),
            ("tpl://hidden{?x}", "tpl:hidden", true),
            ("tpl://hidden{?x}", "tpl:hiddenly", false),
            ("tpl://hidden/{x}", "tpl:shown/1", false),
        ] {
            assert_eq!(LooseTemplate::of(template).may_have(uri), expect, "{template} {uri}");
        }
        assert_eq!(shape("Tpl://Hidden/A{x}"), shape("tpl://hidden/A{other}"));
        assert_ne!(shape("tpl://hidden/A{x}"), shape("tpl://hidden/a{x}"));
        assert_ne!(shape("tpl://hidden/{x}"), shape("tpl://hidden/{+x}"));
    }
}
