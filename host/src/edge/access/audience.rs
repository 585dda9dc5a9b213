//! Whom an issuer's tokens are for: names that the operator gives, or resources below a URL (RFC 8707).

/// The audiences of one issuer that are the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audience {
    /// Names that mean the gateway as a whole, and URLs that mean it and its resources.
    names: Vec<String>,
}

impl Audience {
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// The paths for which a token with these audiences is; none if it is for the gateway as a whole.
    /// `None` if it is for somebody else. A URL below one of the operator's is a resource of the
    /// gateway, as its metadata names it.
    #[must_use]
    pub fn paths(&self, given: &[&str]) -> Option<Vec<String>> {
        let is_whole =
            |given: &&str| self.names.iter().any(|name| name == given || is_same_url(name, given));
        if given.iter().any(is_whole) {
            return Some(Vec::new());
        }
        let below = |given: &&str| self.names.iter().find_map(|name| path_below(name, given));
        let paths: Vec<String> = given.iter().filter_map(below).collect();
        (!paths.is_empty()).then_some(paths)
    }
}

fn is_url(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

/// Whether two URLs differ in a slash at the end only.
fn is_same_url(name: &str, given: &str) -> bool {
    is_url(name) && name.trim_end_matches('/') == given.trim_end_matches('/')
}

fn path_below(name: &str, given: &str) -> Option<String> {
    let rest = given.strip_prefix(name.trim_end_matches('/')).filter(|_| is_url(name))?;
    let is_path = rest.starts_with('/') && !rest.contains(['?', '#']);
    is_path.then(|| rest.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_the_resources_below_it() {
        let audience = Audience::new(vec!["mooring".into(), "https://gw.example/hub".into()]);
        for (given, expect) in [
            (&["mooring"][..], Some(&[][..])),
            (&["other", "mooring"], Some(&[])),
            (&["https://gw.example/hub"], Some(&[])),
            (&["https://gw.example/hub/"], Some(&[])),
            (&["https://gw.example/hub/mcp/a"], Some(&["/mcp/a"])),
            (
                &["x", "https://gw.example/hub/mcp/a", "https://gw.example/hub/sse"],
                Some(&["/mcp/a", "/sse"]),
            ),
            (&["https://gw.example/hubs"], None),
            (&["https://gw.example"], None),
            (&["https://gw.example.evil/hub/mcp"], None),
            (&["mooring/mcp"], None),
            (&["Mooring"], None),
            (&[""], None),
            (&[], None),
        ] {
            let expect = expect.map(|paths| paths.iter().map(ToString::to_string).collect());
            assert_eq!(audience.paths(given), expect, "{given:?}");
        }
    }
}
