//! URI templates (RFC 6570): whether a URI is one of a template's, segment by segment.

use crate::protocol::uri;

use super::positions::{Positions, or};
use super::{is_allowed, is_unreserved};

/// Most parts of a template that is judged; one with more has no URIs.
pub(super) const MAX_PARTS: usize = 64;
/// A parsed template.
#[derive(Debug, Clone)]
pub struct UriTemplate {
    fixed: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Variables(Variables),
}

/// One `{…}`.
#[derive(Debug, Clone)]
struct Variables {
    /// `+ # . / ; ? &`, or a blank if there is none.
    operator: u8,
    names: Vec<String>,
    explodes: bool,
    place: Place,
}

/// The component of the URI that a variable stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Authority,
    Path,
    Query,
}

impl UriTemplate {
    /// `None` if the text is not a template, or too long a one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut place = Place::Path;
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let (expression, after) = behind.split_once('}')?;
            if literal.contains('}') || parts.len() > MAX_PARTS {
                return None;
            }
            place = place_after(place, literal);
            if !literal.is_empty() {
                parts.push(Part::Literal(literal_of(literal)));
            }
            let variables = Variables::parse(expression, place)?;
            place = match variables.operator {
                b'/' if place == Place::Authority => Place::Path,
                b'?' | b'#' => Place::Query,
                _ => place,
            };
            parts.push(Part::Variables(variables));
            rest = after;
        }
        if rest.contains('}') || text.len() > uri::MAX_LENGTH {
            return None;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(literal_of(rest)));
        }
        let fixed = text.split('{').next().unwrap_or("").to_owned();
        Some(Self { fixed, parts })
    }

    /// Whether a URI is one of this template's, and normalising does not make it another.
    #[must_use]
    pub fn has(&self, uri: &str) -> bool {
        uri.len() <= uri::MAX_LENGTH && self.fits(uri) && uri::is_settled(uri, &self.fixed)
    }

    fn fits(&self, uri: &str) -> bool {
        let positions = Positions { text: uri.as_bytes() };
        let mut at = vec![false; uri.len() + 1];
        if let Some(first) = at.first_mut() {
            *first = true;
        }
        for part in &self.parts {
            at = match part {
                Part::Literal(literal) => positions.behind(&at, literal.as_bytes()),
                Part::Variables(variables) => variables.behind(&positions, &at),
            };
        }
        at.last() == Some(&true)
    }
}

fn place_after(place: Place, literal: &str) -> Place {
    let (place, rest) = match literal.split_once("://") {
        Some((_, rest)) => (Place::Authority, rest),
        None => (place, literal),
    };
    if rest.contains(['?', '#']) {
        Place::Query
    } else if rest.contains('/') && place == Place::Authority {
        Place::Path
    } else {
        place
    }
}

/// Literals are encoded where a URI cannot hold them (section 3.1).
fn literal_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_allowed(byte) || byte == b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

impl Variables {
    fn parse(expression: &str, place: Place) -> Option<Self> {
        let operator = expression.bytes().next()?;
        let (operator, names) = match operator {
            b'+' | b'#' | b'.' | b'/' | b';' | b'?' | b'&' => (operator, expression.get(1..)?),
            // Reserved for extensions (section 2.2).
            b'=' | b',' | b'!' | b'@' | b'|' => return None,
            _ => (b' ', expression),
        };
        let plain = |name: &str| name.split([':', '*']).next().unwrap_or("").to_owned();
        let all: Vec<String> = names.split(',').map(plain).collect();
        if all.iter().any(String::is_empty) || all.len() > MAX_PARTS {
            return None;
        }
        Some(Self { operator, names: all, explodes: names.contains('*'), place })
    }

    /// The positions behind the expansion, from those before it.
    fn behind(&self, text: &Positions<'_>, from: &[bool]) -> Vec<bool> {
        let place = self.place;
        match self.operator {
            b'+' => text.run(from, |byte| byte == b'%' || is_allowed(byte)),
            b'#' => {
                let inside = text.run(&text.behind(from, b"#"), |b| b == b'%' || is_allowed(b));
                or(from, &inside)
            }
            b'.' => {
                let inside = text.run(&text.behind(from, b"."), |b| is_value(b, place));
                or(from, &inside)
            }
            b'/' => self.repeated(from, self.names.len(), |at| {
                text.run(&text.behind(at, b"/"), |byte| is_value(byte, Place::Path))
            }),
            b';' => {
                let one = |at: &[bool]| self.named(text, &text.behind(at, b";"), true);
                self.repeated(from, self.names.len(), one)
            }
            b'?' => {
                let first = self.named(text, &text.behind(from, b"?"), false);
                let more = |at: &[bool]| self.named(text, &text.behind(at, b"&"), false);
                or(from, &self.repeated(&first, self.names.len() - 1, more))
            }
            b'&' => {
                let one = |at: &[bool]| self.named(text, &text.behind(at, b"&"), false);
                self.repeated(from, self.names.len(), one)
            }
            _ => text.run(from, |byte| is_value(byte, place)),
        }
    }

    /// A step so many times at most, or as many as there may be items in a list.
    fn repeated(
        &self,
        from: &[bool],
        times: usize,
        step: impl Fn(&[bool]) -> Vec<bool>,
    ) -> Vec<bool> {
        let times = if self.explodes { MAX_PARTS } else { times };
        let mut all = from.to_vec();
        let mut at = from.to_vec();
        for _ in 0..times {
            at = step(&at);
            if !at.contains(&true) {
                break;
            }
            all = or(&all, &at);
        }
        all
    }

    /// `name=value`; in a list of pairs any name.
    fn named(&self, text: &Positions<'_>, from: &[bool], may_be_bare: bool) -> Vec<bool> {
        let value = |byte: u8| byte != b';' && is_value(byte, Place::Query);
        let mut named = vec![false; from.len()];
        for name in &self.names {
            named = or(&named, &text.behind(from, literal_of(name).as_bytes()));
        }
        if self.explodes {
            named = or(&named, &text.run(from, |byte| is_unreserved(byte) || byte == b'%'));
        }
        let equals = text.behind(&named, b"=");
        let with = or(&equals, &text.run(&equals, value));
        if may_be_bare { or(&named, &with) } else { with }
    }
}

/// Whether a byte may stand in a value. Clients do not encode all that RFC 6570 says, so whatever
/// ends no component is taken.
fn is_value(byte: u8, place: Place) -> bool {
    let plain = is_unreserved(byte) || byte == b'%';
    plain
        || match place {
            Place::Authority => b"!$&'()*+,;=".contains(&byte),
            Place::Path => b"!$&'()*+,;=:@".contains(&byte),
            Place::Query => b"!$'()*+,;:@=".contains(&byte),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(template: &str, uri: &str) -> bool {
        UriTemplate::parse(template).is_some_and(|template| template.has(uri))
    }

    #[test]
    fn a_template_has_its_uris_segment_by_segment() {
        for (template, uris) in [
            (
                "tpl://shown/{x}",
                vec![
                    "tpl://shown/1",
                    "tpl://shown/a%20b",
                    "tpl://shown/a%2Fb",
                    "tpl://shown/a@b:c",
                    "tpl://shown/..a",
                ],
            ),
            ("note://{id}", vec!["note://1", "note://a.b,c"]),
            ("a://b/{x}/c/{y}", vec!["a://b/1/c/2"]),
            ("a://b/{x}-{y}", vec!["a://b/1-2", "a://b/1-2-3"]),
            ("a://b/{x,y}", vec!["a://b/1,2"]),
            ("a://b/{x:3}", vec!["a://b/abc"]),
            ("file:///{+path}", vec!["file:///etc/hosts", "file:///a"]),
            ("a://b{/x,y}", vec!["a://b", "a://b/1", "a://b/1/2"]),
            ("a://b{/x*}", vec!["a://b/1/2/3"]),
            ("a://b/c{.x}", vec!["a://b/c", "a://b/c.md"]),
            ("a://b/c{;x,y}", vec!["a://b/c;x=1;y", "a://b/c;x"]),
            ("a://b/c{?x,y}", vec!["a://b/c", "a://b/c?x=1", "a://b/c?y=2&x=", "a://b/c?x=1&y=2"]),
            ("a://b/c?z=0{&x}", vec!["a://b/c?z=0", "a://b/c?z=0&x=1"]),
            ("a://b/c{?x*}", vec!["a://b/c?any=1&other=2"]),
            ("a://b/c{#x}", vec!["a://b/c", "a://b/c#x/y"]),
            ("search://q?text={x}", vec!["search://q?text=a%20b"]),
            ("a://größe/{x}", vec!["a://gr%C3%B6%C3%9Fe/1"]),
            ("demo://Users/{id}", vec!["demo://Users/1"]),
            ("{+uri}", vec!["a://b/c"]),
        ] {
            for uri in uris {
                assert!(has(template, uri), "{template} has {uri}");
            }
        }
    }

    #[test]
    fn a_template_has_nothing_else() {
        for (template, uris) in [
            (
                "tpl://shown/{x}",
                vec![
                    "tpl://shown/../hidden/1",
                    "tpl://shown/a/b",
                    "tpl://shown/",
                    "tpl://shown",
                    "tpl://shown/a?b",
                    "tpl://shown/a#b",
                    "tpl://shown/a/",
                    "tpl://shown//a",
                    "tpl://shown/.",
                    "tpl://shown/..",
                    "tpl://shown/%2e%2e",
                    "tpl://shown/%61",
                    "tpl://shown/a ",
                    "tpl://shown/a\\b",
                    "tpl://shown/ä",
                    "tpl://shown/%2",
                    "Tpl://shown/a",
                    "tpl://SHOWN/a",
                    "tpl://shown:80/a",
                    "tpl://hidden/a",
                    "xtpl://shown/a",
                ],
            ),
            ("note://{id}", vec!["note://a@1", "note://1:80", "note://1/2", "note://", "note://A"]),
            ("a://b{/x}", vec!["a://b/1/2", "a://b/", "a://b//"]),
            ("file:///{+path}", vec!["file:///a/../b", "file:///", "file:///a%2e"]),
            ("a://b/c{?x}", vec!["a://b/c?y=1", "a://b/c?x", "a://b/c?x=1&x=2", "a://b/c?x=1#y"]),
            ("a://b/c{.x}", vec!["a://b/c.", "a://b/c.x/y", "a://b/cx"]),
            ("a://b/{x}0", vec!["a://b/%20"]),
            ("a://b/{x", vec!["a://b/1", "a://b/{x"]),
            ("a://b/{}", vec!["a://b/", "a://b/1"]),
            ("a://b/{=x}", vec!["a://b/1"]),
            ("a://b/x}", vec!["a://b/x}"]),
        ] {
            for uri in uris {
                assert!(!has(template, uri), "{template} has {uri}");
            }
        }
    }
}
