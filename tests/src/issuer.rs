//! An issuer of tokens: publishes its metadata and keys over HTTP, and signs what a test wants.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use crate::scripted::Scripted;
use crate::settings;

const RSA: &[u8] = include_bytes!("../fixtures/issuer/rsa.pk8");
/// The audience of its tokens, unless a test says otherwise.
pub const AUDIENCE: &str = "mooring";

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A private key with its name.
pub struct Signer {
    name: String,
    pair: Pair,
}

impl Signer {
    /// A new key for an algorithm; of RSA it is always the same.
    #[must_use]
    pub fn new(name: &str, algorithm: &str) -> Self {
        let random = SystemRandom::new();
        let ecdsa = |with| {
            let key = EcdsaKeyPair::generate_pkcs8(with, &random).expect("a key");
            EcdsaKeyPair::from_pkcs8(with, key.as_ref(), &random).expect("its key")
        };
        let pair = match algorithm {
            "ES256" => Pair::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            "ES384" => Pair::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            "RS256" | "PS256" => Pair::Rsa(RsaKeyPair::from_pkcs8(RSA).expect("the fixture")),
            _ => {
                let key = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("its key"))
            }
        };
        Self { name: name.to_owned(), pair }
    }

    /// Its public half, as a set of keys has it.
    #[must_use]
    pub fn public(&self) -> Value {
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        let point = |key: &EcdsaKeyPair, curve: &str| {
            let key = &key.public_key().as_ref()[1..];
            let (x, y) = key.split_at(key.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
        };
        let key = match &self.pair {
            Pair::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(key.public_key().as_ref())})
            }
            Pair::P256(key) => point(key, "P-256"),
            Pair::P384(key) => point(key, "P-384"),
            Pair::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
        };
        settings::merged(key, json!({"kid": self.name, "use": "sig"}))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Pair::P256(key) | Pair::P384(key) => {
                key.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Pair::Rsa(key) => {
                let padding: &dyn ring::signature::RsaEncoding =
                    if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut signature).expect("a signature");
                signature
            }
        }
    }

    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ed25519(_) => "EdDSA",
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// A token with these claims; `header` is merged into its header.
    #[must_use]
    pub fn token(&self, header: Value, claims: &Value) -> String {
        let base = json!({"alg": self.algorithm(), "kid": self.name, "typ": "at+jwt"});
        let header = settings::merged(base, header);
        let signed = signed_part(&header, claims);
        let algorithm = header["alg"].as_str().unwrap_or("").to_owned();
        let signature = self.sign(&algorithm, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// The part of a token that is signed.
#[must_use]
pub fn signed_part(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

#[derive(Default)]
struct Published {
    keys: Vec<Value>,
    is_down: bool,
    /// Named in its metadata instead of its own.
    other_name: Option<String>,
}

/// The issuer.
pub struct Issuer {
    http: Scripted,
    published: Arc<Mutex<Published>>,
    pub signer: Signer,
}

impl Default for Issuer {
    fn default() -> Self {
        Self::start()
    }
}

impl Issuer {
    /// An issuer with one key.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Signer::new("first", "EdDSA"))
    }

    #[must_use]
    pub fn with(signer: Signer) -> Self {
        let published = Published { keys: vec![signer.public()], ..Published::default() };
        let published = Arc::new(Mutex::new(published));
        let shared = Arc::clone(&published);
        let http = Scripted::start(move |asked, out| {
            let published = locked(&shared);
            if published.is_down {
                out.reply("503 Service Unavailable", &[], b"down");
                return None;
            }
            let host = asked.header("host").unwrap_or("").to_owned();
            match asked.path.as_str() {
                "/.well-known/openid-configuration" => {
                    let own = format!("http://{host}");
                    let issuer = published.other_name.clone().unwrap_or_else(|| own.clone());
                    out.json(&json!({"issuer": issuer, "jwks_uri": format!("{own}/keys")}));
                }
                "/keys" => out.json(&json!({"keys": published.keys})),
                _ => out.reply("404 Not Found", &[], b""),
            }
            None
        });
        Self { http, published, signer }
    }

    /// Its name, which is where it is.
    #[must_use]
    pub fn name(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// Settings that accept its tokens; `more` is merged into its entry.
    #[must_use]
    pub fn settings(&self, more: Value) -> Value {
        let entry = json!({"name": "corp", "issuer": self.name(), "audience": AUDIENCE});
        json!({"systemConfig": {"auth": {"jwt": settings::merged(entry, more)}}})
    }

    /// Signs with another key from now on. Its public half is published with `publish`.
    pub fn change_key(&mut self, signer: Signer) {
        self.signer = signer;
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, signers: &[&Signer]) {
        locked(&self.published).keys = signers.iter().map(|signer| signer.public()).collect();
    }

    /// Publishes this set of keys, as it stands here.
    pub fn publish_set(&self, keys: Vec<Value>) {
        locked(&self.published).keys = keys;
    }

    /// Answers nothing useful, or does again.
    pub fn is_down(&self, is_down: bool) {
        locked(&self.published).is_down = is_down;
    }

    /// Calls itself like this in its metadata.
    pub fn calls_itself(&self, name: &str) {
        locked(&self.published).other_name = Some(name.to_owned());
    }

    /// How often its keys were fetched.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.http.all().iter().filter(|asked| asked.path == "/keys").count()
    }

    /// Claims of a good token for this subject; `more` is merged into them.
    #[must_use]
    pub fn claims(&self, subject: &str, more: Value) -> Value {
        let claims = json!({
            "iss": self.name(),
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now(),
            "exp": now() + 600,
        });
        settings::merged(claims, more)
    }

    /// A good token for this subject.
    #[must_use]
    pub fn token(&self, subject: &str) -> String {
        self.token_with(subject, json!({}))
    }

    #[must_use]
    pub fn token_with(&self, subject: &str, more: Value) -> String {
        self.signer.token(json!({}), &self.claims(subject, more))
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

fn locked(published: &Mutex<Published>) -> MutexGuard<'_, Published> {
    published.lock().unwrap_or_else(PoisonError::into_inner)
}
