//! Signed tokens: JWT (RFC 7519) in the compact form of JWS (RFC 7515).
//!
//! A token is read before it is verified, since its issuer names the keys that it is verified with.
//! Nothing of it counts until [`SignedToken::is_signed_by`] has been asked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::jwk::{Algorithm, PublicKey};
use super::objects::object_only;

/// Longest token, in bytes. Those of common issuers have one to four thousand.
pub const MAX_TOKEN: usize = 16 * 1024;

/// Why a text is no token that could be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is too long.
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    Long,
    /// It is no JWT.
    #[error("the token is neither a key of the gateway nor a signed JWT")]
    Form,
    /// It is not signed, or in a way that is not accepted.
    #[error("the token is not signed with an algorithm that is accepted (RS, PS, ES or EdDSA)")]
    Algorithm,
    /// It is a JWT for something else.
    #[error("the token is of another type than at+jwt or JWT")]
    Type,
    /// It wants something to be understood that is not.
    #[error("the token has critical headers that are not understood")]
    Critical,
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}
object_only!(Header);

/// Whether a member is there, whatever it is.
fn present<'de, D: serde::Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(member).map(|_| true)
}

/// A token that was read.
#[derive(Debug)]
pub struct SignedToken<'t> {
    /// How it says that it is signed.
    pub algorithm: Algorithm,
    /// The name of its key, if it has one.
    pub key: Option<String>,
    /// What it says.
    pub claims: TokenClaims,
    signed: &'t [u8],
    signature: Vec<u8>,
}

impl<'t> SignedToken<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// If it is none that could be accepted.
    pub fn read(text: &'t str) -> Result<Self, Unreadable> {
        if text.len() > MAX_TOKEN {
            return Err(Unreadable::Long);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Unreadable::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Unreadable::Form)?;
        let part = |text: &str| BASE64.decode(text).map_err(|_| Unreadable::Form);
        let header: Header =
            serde_json::from_slice(&part(header)?).map_err(|_| Unreadable::Form)?;
        let algorithm = Algorithm::parse(&header.alg).ok_or(Unreadable::Algorithm)?;
        if !header.typ.as_deref().is_none_or(is_of_access) {
            return Err(Unreadable::Type);
        }
        if header.crit {
            return Err(Unreadable::Critical);
        }
        let claims: Map<String, Value> =
            serde_json::from_slice(&part(claims)?).map_err(|_| Unreadable::Form)?;
        let (key, claims, signature) = (header.kid, TokenClaims(claims), part(signature)?);
        Ok(Self { algorithm, key, claims, signed: signed.as_bytes(), signature })
    }

    /// Whether the token was signed with this key.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.algorithm, self.signed, &self.signature)
    }
}

/// Types of tokens that give access (RFC 9068 §2.1, RFC 7519 §5.1).
fn is_of_access(typ: &str) -> bool {
    let short = typ.to_ascii_lowercase();
    matches!(short.strip_prefix("application/").unwrap_or(&short), "jwt" | "at+jwt")
}

/// What a token says.
#[derive(Debug)]
pub struct TokenClaims(Map<String, Value>);

impl TokenClaims {
    /// A claim by its name; or, if there is none of that name, by the path of names with dots
    /// between them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(name) {
            return Some(value);
        }
        let (first, rest) = name.split_once('.')?;
        let first = self.0.get(first)?;
        rest.split('.').try_fold(first, |value, name| value.get(name))
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// A claim that is a time, in seconds since 1970. `Err` if it is something else.
    #[allow(clippy::result_unit_err)]
    pub fn time(&self, name: &str) -> Result<Option<f64>, ()> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().filter(|time| time.is_finite()).map(Some).ok_or(()),
        }
    }

    /// A claim that is a text or a list of texts, as `aud` is. What is no text is left out.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// The same as [`Self::words`], none if the claim is absent or null. `None` if it is anything
    /// else, or has something else in it.
    #[must_use]
    pub fn words_alone(&self, name: &str) -> Option<Vec<&str>> {
        match self.get(name) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(texts)) => texts.iter().map(Value::as_str).collect(),
            Some(Value::String(_)) => Some(self.words(name)),
            Some(_) => None,
        }
    }

    /// A claim that is a list of texts, or one text of words with spaces between them, as `scope`
    /// is.
    #[must_use]
    pub fn words(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            _ => self.texts(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.{}", BASE64.encode(header), BASE64.encode(claims), BASE64.encode("x"))
    }

    fn fault(header: &str) -> Unreadable {
        SignedToken::read(&token(header, "{}")).unwrap_err()
    }

    #[test]
    fn only_signatures_with_private_keys_are_read() {
        for alg in ["none", "None", "", "HS256", "HS512", "ES256K", "RSA-OAEP", "rs256"] {
            assert_eq!(fault(&format!("{{\"alg\":\"{alg}\"}}")), Unreadable::Algorithm, "{alg}");
        }
        for header in ["{}", "[\"RS256\"]", "null", "{\"alg\":null}", "{\"alg\":\"RS256\""] {
            assert_eq!(fault(header), Unreadable::Form, "{header}");
        }
        // Readers differ in which one they take.
        assert_eq!(fault(r#"{"alg":"RS256","alg":"none"}"#), Unreadable::Form);
        assert_eq!(fault(r#"{"alg":"RS256","typ":"logout+jwt"}"#), Unreadable::Type);
        assert_eq!(fault(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#), Unreadable::Critical);
        assert_eq!(fault(r#"{"alg":"RS256","crit":null}"#), Unreadable::Critical);
        for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
            let token = token(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#), "{}");
            assert!(SignedToken::read(&token).is_ok(), "{typ}");
        }
    }

    #[test]
    fn what_has_not_three_parts_is_no_token() {
        for text in ["", "a", "a.b", "..", "a.b.c.d.e", "e30.e30.e30=", "ey J.e30.e30"] {
            assert_eq!(SignedToken::read(text).unwrap_err(), Unreadable::Form, "{text}");
        }
        assert_eq!(SignedToken::read(&"a".repeat(MAX_TOKEN + 1)).unwrap_err(), Unreadable::Long);
    }

    #[test]
    fn claims_are_found_by_name_and_by_path() {
        let text = r#"{"sub":"s","aud":["a",7,"b"],"one":"a","exp":1.5,"nbf":"soon","scope":"x  y",
            "realm":{"roles":["r"]},"realm.roles":["whole"],"deep":{"er":{"x":"y"}}}"#;
        let text = token(r#"{"alg":"ES256","kid":"k"}"#, text);
        let token = SignedToken::read(&text).unwrap();
        let claims = &token.claims;
        assert_eq!(token.key.as_deref(), Some("k"));
        assert_eq!(claims.text("sub"), Some("s"));
        assert_eq!(claims.texts("aud"), ["a", "b"]);
        assert_eq!(claims.texts("one"), ["a"]);
        assert_eq!((claims.time("exp"), claims.time("nbf")), (Ok(Some(1.5)), Err(())));
        assert_eq!(claims.time("none"), Ok(None));
        assert_eq!(claims.words("scope"), ["x", "y"]);
        assert_eq!(claims.words("realm.roles"), ["whole"]);
        assert_eq!(claims.text("deep.er.x"), Some("y"));
        assert_eq!(claims.text("deep.none.x"), None);
        assert!(claims.words("sub.x").is_empty());
        assert_eq!(claims.words_alone("scope"), Some(vec!["x", "y"]));
        assert_eq!(claims.words_alone("realm.roles"), Some(vec!["whole"]));
        assert_eq!(claims.words_alone("none"), Some(Vec::new()));
        for other in ["aud", "exp", "deep"] {
            assert_eq!(claims.words_alone(other), None, "{other}");
        }
    }
}
