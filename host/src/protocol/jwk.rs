//! Public keys of an issuer (RFC 7517, RFC 7518 §6), and what is signed with them.
//!
//! A key says by its type which algorithms it is for, so that a token cannot have it used for another
//! one: neither as the secret of an HMAC, nor not at all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::objects::object_only;

/// Most keys of one set. Issuers have two or three at a time.
pub const MAX_KEYS: usize = 100;

/// How a token may be signed: with a private key. Algorithms with a shared secret are none of these,
/// nor is `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// The same with SHA-384.
    Ps384,
    /// The same with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All, under their names.
    pub const ALL: [(&str, Self); 9] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// The name of RFC 9864 for what most issuers call `EdDSA`, with the only curve that is read here.
    const ED25519: &str = "Ed25519";

    /// `None` for every algorithm that is not accepted.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == Self::ED25519 {
            return Some(Self::EdDsa);
        }
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::EdDsa => None,
        }
    }
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The name by which tokens refer to it.
    pub id: Option<String>,
    /// The only algorithm that it is for, if its issuer says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// Whether tokens of this algorithm may be signed with it.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        let of_type = match &self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::P256(_) => algorithm == Algorithm::Es256,
            Material::P384(_) => algorithm == Algorithm::Es384,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        of_type && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Whether the signature is that of the message, made with this key and algorithm.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let point = |with: &'static dyn signature::VerificationAlgorithm, key: &Vec<u8>| {
            UnparsedPublicKey::new(with, key).verify(message, signature)
        };
        let verified = match (&self.material, algorithm.rsa()) {
            (Material::Rsa { modulus, exponent }, Some(parameters)) => {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature)
            }
            (Material::P256(key), _) => point(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Material::P384(key), _) => point(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Material::Ed25519(key), _) => point(&signature::ED25519, key),
            (Material::Rsa { .. }, None) => return false,
        };
        verified.is_ok()
    }
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(remote = "Self")]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}
object_only!(KeySet<'de>);
object_only!(Jwk);

/// The keys of a JWK Set that tokens may be signed with. Others are left out, as are those of which
/// something is missing (RFC 7517 §5).
///
/// # Errors
/// If it is no set of keys, or has too many.
pub fn key_set(text: &[u8]) -> Result<Vec<PublicKey>, String> {
    let set: KeySet<'_> = serde_json::from_slice(text)
        .map_err(|_| "is not a JSON object with \"keys\"".to_owned())?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("has more than {MAX_KEYS} keys"));
    }
    let read = |raw: &&RawValue| key(serde_json::from_str(raw.get()).ok()?);
    Ok(set.keys.iter().filter_map(read).collect())
}

fn key(jwk: Jwk) -> Option<PublicKey> {
    let is_for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let algorithm = match jwk.alg.as_deref() {
        None => None,
        Some(name) => Some(Algorithm::parse(name)?),
    };
    let part = |text: &Option<String>| BASE64.decode(text.as_deref()?).ok();
    let number = |text| Some(without_zeros(part(text)?));
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Material::Rsa { modulus: number(&jwk.n)?, exponent: number(&jwk.e)? },
        ("EC", Some("P-256")) => Material::P256(point(&part(&jwk.x)?, &part(&jwk.y)?, 32)?),
        ("EC", Some("P-384")) => Material::P384(point(&part(&jwk.x)?, &part(&jwk.y)?, 48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(part(&jwk.x).filter(|key| key.len() == 32)?),
        _ => return None,
    };
    let key = PublicKey { id: jwk.kid, algorithm, material };
    is_for_signatures.then_some(key)
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.into_iter().skip(zeros).collect()
}

/// A point whose coordinates have this many bytes, uncompressed (SEC 1, 2.3.3).
fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    (x.len() == size && y.len() == size).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &str) -> Vec<PublicKey> {
        key_set(format!("{{\"keys\":[{keys}]}}").as_bytes()).unwrap()
    }

    #[test]
    fn keys_that_sign_are_taken_and_others_are_left_out() {
        let zeros = |size: usize| BASE64.encode(vec![1; size]);
        let okp = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}","kid":"a"}}"#, zeros(32));
        let ec = format!(
            r#"{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}","use":"sig","alg":"ES256"}}"#,
            zeros(32)
        );
        let both = set(&format!("{okp},{ec}"));
        assert_eq!(both.len(), 2);
        assert!(both[0].fits(Algorithm::EdDsa) && both[1].fits(Algorithm::Es256));
        assert!(!both[0].fits(Algorithm::Es256) && !both[1].fits(Algorithm::Es384));
        let fully_named = set(&okp.replace("\"kid\"", "\"alg\":\"Ed25519\",\"kid\""));
        assert!(fully_named[0].fits(Algorithm::EdDsa));
        for other in [
            r#"{"kty":"oct","k":"AAAA","alg":"HS256"}"#.to_owned(),
            okp.replace("\"kid\"", "\"use\":\"enc\",\"kid\""),
            okp.replace("\"kid\"", "\"key_ops\":[\"sign\"],\"kid\""),
            okp.replace("\"kid\"", "\"alg\":\"HS256\",\"kid\""),
            ec.replace(&zeros(32), &zeros(31)),
            ec.replace("P-256", "secp256k1"),
            r#"{"kty":"RSA","n":"!","e":"AQAB"}"#.to_owned(),
            "7".to_owned(),
            "[]".to_owned(),
        ] {
            assert_eq!(set(&other), [], "{other}");
        }
    }

    #[test]
    fn what_is_no_set_is_an_error() {
        for text in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[", "[[]]"] {
            assert!(key_set(text.as_bytes()).is_err(), "{text}");
        }
        let many = vec!["{}"; MAX_KEYS + 1].join(",");
        assert!(key_set(format!("{{\"keys\":[{many}]}}").as_bytes()).is_err());
        assert_eq!(set(""), []);
    }
}
