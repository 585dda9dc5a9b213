//! Why a token does not let its bearer in, and how the client learns where to get one (RFC 6750 §3,
//! RFC 9728 §5.1).

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenFault {
    /// There is none.
    Missing,
    /// It is not accepted, for this reason.
    Invalid(String),
    /// It is accepted, and does not open this: it lacks one of the scopes.
    Insufficient,
    /// The key that it is signed with is not known, since its issuer does not answer, for this reason.
    Unknown(String),
}

/// The refusal of a request for its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefusal {
    pub fault: TokenFault,
    /// Scopes that a token needs.
    pub scopes: Vec<String>,
    /// Where the metadata of the resource is.
    pub metadata: Option<String>,
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            TokenFault::Missing => f.write_str(
                "Unauthorized: send \"Authorization: Bearer …\" with a token of an issuer that the \
                 gateway accepts (systemConfig.auth.jwt), or with a key of the gateway",
            ),
            TokenFault::Invalid(why) => write!(f, "Unauthorized: {why}"),
            TokenFault::Insufficient => {
                write!(f, "Forbidden: the token needs the scopes {}", self.scopes.join(" "))
            }
            // Why is for the operator's log alone: whoever asks is a stranger yet.
            TokenFault::Unknown(_) => f.write_str(
                "Service Unavailable: the key that the token is signed with is not known, and its \
                 issuer does not answer; try again",
            ),
        }
    }
}

impl TokenRefusal {
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.fault {
            TokenFault::Missing | TokenFault::Invalid(_) => StatusCode::UNAUTHORIZED,
            TokenFault::Insufficient => StatusCode::FORBIDDEN,
            TokenFault::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When it may be tried again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self.fault, TokenFault::Unknown(_)).then(|| Duration::from_secs(2))
    }

    /// The value of `WWW-Authenticate`. A request without a token is told of no error.
    #[must_use]
    pub fn challenge(&self) -> Option<HeaderValue> {
        let mut parameters = Vec::new();
        match &self.fault {
            TokenFault::Missing => {}
            TokenFault::Invalid(why) => {
                parameters.push("error=\"invalid_token\"".to_owned());
                parameters.push(format!("error_description=\"{}\"", quotable(why)));
            }
            TokenFault::Insufficient => {
                parameters.push("error=\"insufficient_scope\"".to_owned());
            }
            TokenFault::Unknown(_) => return None,
        }
        if !self.scopes.is_empty() {
            parameters.push(format!("scope=\"{}\"", quotable(&self.scopes.join(" "))));
        }
        if let Some(url) = &self.metadata {
            parameters.push(format!("resource_metadata=\"{}\"", quotable(url)));
        }
        let value = match parameters.is_empty() {
            true => "Bearer".to_owned(),
            false => format!("Bearer {}", parameters.join(", ")),
        };
        HeaderValue::from_str(&value).ok()
    }
}

/// The text without what ends a quoted string or is not in one here (RFC 6750 §3).
fn quotable(text: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    text.chars().filter(|c| is_plain(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(fault: TokenFault, scopes: &[&str], metadata: Option<&str>) -> Option<String> {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let refusal = TokenRefusal { fault, scopes, metadata: metadata.map(str::to_owned) };
        Some(refusal.challenge()?.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_challenge_names_error_scopes_and_metadata() {
        let url = Some("https://gw/.well-known/x");
        let invalid = |why: &str| TokenFault::Invalid(why.to_owned());
        for (fault, scopes, metadata, expect) in [
            (TokenFault::Missing, &[][..], None, Some("Bearer")),
            (
                TokenFault::Missing,
                &["a", "b"],
                url,
                Some(r#"Bearer scope="a b", resource_metadata="https://gw/.well-known/x""#),
            ),
            (
                invalid("it \"is\\\u{e4}\r\nover"),
                &[],
                None,
                Some(r#"Bearer error="invalid_token", error_description="it isover""#),
            ),
            (
                TokenFault::Insufficient,
                &["a"],
                None,
                Some(r#"Bearer error="insufficient_scope", scope="a""#),
            ),
            (TokenFault::Unknown("down".into()), &["a"], url, None),
        ] {
            assert_eq!(challenge(fault, scopes, metadata).as_deref(), expect);
        }
    }
}
