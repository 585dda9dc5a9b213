//! What an upstream says that it wants when it refuses credentials: `WWW-Authenticate` (RFC 9110
//! §11.6.1), by which MCP servers name the metadata of their authorization (RFC 9728 §5.1;
//! 2025-11-25, basic/authorization).

use http::{HeaderMap, Response, StatusCode, header};

use crate::net::Body;

/// Bytes of a metadata URL.
const MAX_URL: usize = 1024;
/// Bytes of all scopes.
const MAX_SCOPES: usize = 1024;

/// Whose token an upstream gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenGiven {
    /// One of its settings, or none.
    #[default]
    Set,
    /// One that the gateway fetches.
    Fetched,
    /// That of the client's user, who has logged in.
    OfUser,
}

/// An upstream's demand for a bearer token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantsToken {
    /// Where its authorization is described.
    pub metadata: Option<String>,
    /// What the token has to be good for; empty if it does not say.
    pub scopes: Vec<String>,
    /// Whether the token that it got does not suffice.
    pub is_refused: bool,
    /// Whether that is for what it is not good for (RFC 6750 §3.1).
    pub lacks_scope: bool,
    pub given: TokenGiven,
}

impl WantsToken {
    /// The demand in a response with status 401 or 403. `None` if it wants no bearer token: a 403 is
    /// one only if it says where to get another token, or that this one is not good for enough.
    #[must_use]
    pub fn of(response: &Response<Body>) -> Option<Self> {
        let wanted = Self::in_headers(response.headers())?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Some(wanted),
            StatusCode::FORBIDDEN if wanted.metadata.is_some() || wanted.lacks_scope => {
                Some(wanted)
            }
            _ => None,
        }
    }

    fn in_headers(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
        // A word outside ASCII, say in a description, takes nothing from the rest.
        let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut bearer: Option<Self> = None;
        for challenge in texts.flat_map(|text| challenges(&text)) {
            if !challenge.scheme.eq_ignore_ascii_case("bearer") {
                continue;
            }
            let param = |name: &str| {
                let mut params = challenge.params.iter();
                params.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            };
            let is_url = |url: &&String| {
                let is_web = url.starts_with("https://") || url.starts_with("http://");
                is_web && url.len() <= MAX_URL && url.bytes().all(|byte| byte.is_ascii_graphic())
            };
            let scopes = param("scope").filter(|scope| is_scope(scope)).map(String::as_str);
            let scopes = scopes.unwrap_or_default().split_ascii_whitespace();
            let found = Self {
                metadata: param("resource_metadata").filter(is_url).cloned(),
                scopes: scopes.map(str::to_owned).collect(),
                is_refused: param("error").is_some(),
                lacks_scope: param("error").is_some_and(|error| error == "insufficient_scope"),
                given: TokenGiven::default(),
            };
            // The one that says more.
            if bearer.as_ref().is_none_or(|known| known.metadata.is_none()) {
                bearer = Some(found);
            }
        }
        bearer
    }

    /// The scopes for which a token is refused that is good otherwise. `None` if it is for something else,
    /// or they are not named.
    #[must_use]
    pub fn lacking(&self) -> Option<&[String]> {
        (self.lacks_scope && !self.scopes.is_empty()).then_some(&*self.scopes)
    }

    /// What to tell of it, behind "needs OAuth".
    #[must_use]
    pub fn advice(&self) -> String {
        let refused = match self.is_refused {
            true => "the token that it got does not suffice; ",
            false => "",
        };
        let metadata = match &self.metadata {
            Some(url) => format!("its metadata is at {url}; "),
            None => String::new(),
        };
        let scopes = match self.scopes.as_slice() {
            [] => String::new(),
            scopes => format!("it wants the scopes \"{}\"; ", scopes.join(" ")),
        };
        let advice = match self.given {
            TokenGiven::Set => "put a token into its \"oauth.accessToken\" or \"headers\"",
            TokenGiven::Fetched => {
                "it refuses the access token that was fetched; check scope, resource and audience in \
                 its \"oauth\""
            }
            TokenGiven::OfUser => {
                "it refuses the token of this client's user, and does not say what would help: if \
                 \"scopes\" in its \"oauth\" ask for more, users are asked to log in again"
            }
        };
        format!("{refused}{scopes}{metadata}{advice}")
    }
}

/// Whether a text is a list of scopes (RFC 6749 §3.3) that can be asked for.
fn is_scope(text: &str) -> bool {
    let is_its = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    text.len() <= MAX_SCOPES && text.bytes().all(is_its)
}

struct Challenge {
    scheme: String,
    params: Vec<(String, String)>,
}

/// The challenges of one header value. They are separated by commas, as their parameters are: a word
/// without `=` begins the next one.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',', ';']);
        let end = rest.find([' ', '\t', ',', ';', '=', '"']).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.is_empty() {
            // A stray `=` or quote: nothing after it can be trusted.
            return found;
        }
        let behind = behind.trim_start();
        match behind.strip_prefix('=') {
            None => {
                found.push(Challenge { scheme: word.to_owned(), params: Vec::new() });
                rest = behind;
            }
            Some(value) => {
                let (value, behind) = value_of(value.trim_start());
                if let Some(challenge) = found.last_mut() {
                    challenge.params.push((word.to_owned(), value));
                }
                rest = behind;
            }
        }
    }
}

/// A token or a quoted string, and what is behind it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',', ';']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(status: u16, values: &[&str]) -> Option<WantsToken> {
        let mut response = Response::builder().status(status);
        for value in values {
            response = response.header("www-authenticate", *value);
        }
        WantsToken::of(&response.body(Body::Empty).unwrap())
    }

    #[test]
    fn a_bearer_challenge_says_where_the_metadata_is() {
        let url = "https://mcp.example/.well-known/oauth-protected-resource/mcp";
        let some = |metadata: Option<&str>, is_refused| {
            let metadata = metadata.map(str::to_owned);
            Some(WantsToken { metadata, is_refused, ..WantsToken::default() })
        };
        for (values, expect) in [
            (&[&*format!("Bearer resource_metadata=\"{url}\"")][..], some(Some(url), false)),
            (
                &[&*format!("bearer realm=\"a, b\", Resource_Metadata={url}")],
                some(Some(url), false),
            ),
            (
                &[&*format!("Bearer error=\"invalid_token\", resource_metadata=\"{url}\"")],
                some(Some(url), true),
            ),
            (
                &[&*format!("Basic realm=\"x\", Bearer resource_metadata=\"{url}\"")],
                some(Some(url), false),
            ),
            (
                &["Basic realm=\"x\"", &*format!("Bearer resource_metadata=\"{url}\"")],
                some(Some(url), false),
            ),
            (&["Bearer"], some(None, false)),
            (&["Bearer resource_metadata=\"javascript:x\""], some(None, false)),
            (&["Bearer resource_metadata=\"https://a b\""], some(None, false)),
            (&["Basic realm=\"Bearer resource_metadata=x\""], None),
            (&["=\"", "\"\"\"", "Bearer=x"], None),
            (&[], None),
        ] {
            assert_eq!(wanted(401, values), expect, "{values:?}");
        }
        let scopes = |said: &str| wanted(401, &[&format!("Bearer scope={said}")]).unwrap().scopes;
        assert_eq!(scopes("\"a  b:c\""), ["a", "b:c"]);
        assert!(scopes("\"\"").is_empty() && scopes("\"\u{e4}\"").is_empty());
        assert!(scopes(&"x".repeat(MAX_SCOPES + 1)).is_empty());
        assert_eq!(wanted(403, &["Bearer"]), None);
        let scope = format!("Bearer error=\"insufficient_scope\", resource_metadata=\"{url}\"");
        let lacks = |metadata| {
            some(metadata, true).map(|wanted| WantsToken { lacks_scope: true, ..wanted })
        };
        assert_eq!(wanted(403, &[&scope]), lacks(Some(url)));
        assert_eq!(wanted(403, &["Bearer error=insufficient_scope"]), lacks(None));
        assert_eq!(wanted(200, &[&scope]), None);
    }

    #[test]
    fn the_advice_is_about_the_token_that_was_given() {
        let scope = "Bearer error=\"insufficient_scope\", scope=\"a b\"";
        let wanted = wanted(401, &[scope]).unwrap();
        for (given, part) in [
            (TokenGiven::Set, "oauth.accessToken"),
            (TokenGiven::Fetched, "the access token that was fetched"),
            (TokenGiven::OfUser, "asked to log in again"),
        ] {
            let advice = WantsToken { given, ..wanted.clone() }.advice();
            assert!(advice.contains(part) && advice.contains("the scopes \"a b\""), "{advice}");
        }
    }
}
