use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::edge::access::audience::Audience;
use crate::model::{Policy, Rule, RuleEntries, Who};
use crate::protocol::jwk::{Algorithm, key_set};

use super::*;

struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn keys(&self) -> Vec<crate::protocol::jwk::PublicKey> {
        let x = BASE64.encode(self.0.public_key());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k"}]});
        key_set(set.to_string().as_bytes()).unwrap()
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": "k"});
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        format!("{signed}.{}", BASE64.encode(self.0.sign(signed.as_bytes())))
    }
}

fn settings() -> IssuerSettings {
    IssuerSettings {
        name: "corp".into(),
        issuer: "https://idp.example".into(),
        keys_url: None,
        audience: Audience::new(vec!["gw".into(), "https://gw.example".into()]),
        principal_claim: "sub".into(),
        groups_claim: "groups".into(),
        scopes: Vec::new(),
        algorithms: Algorithm::ALL.iter().map(|(_, algorithm)| *algorithm).collect(),
        skew: Duration::from_secs(60),
        refresh: Duration::from_secs(900),
    }
}

fn issuers(settings: IssuerSettings, signer: &Signer) -> Issuers {
    let dev = Rule {
        name: "dev".into(),
        allows: true,
        who: Who { groups: Some(vec!["dev".into()]), ..Who::default() },
        servers: vec!["a".into()],
        targets: Vec::new(),
        entries: RuleEntries::default(),
        manages: true,
    };
    let policy = PolicyTable::new(Some(Policy { rules: vec![Arc::new(dev)] }), None);
    let issuers = Issuers::new(vec![settings], Arc::new(policy), None);
    issuers.all[0].keys.tried(Ok(signer.keys()));
    issuers
}

fn claims(more: Value) -> Value {
    let now = now();
    let mut claims = json!({
        "iss": "https://idp.example", "aud": "gw", "sub": "ann", "exp": now + 300.0,
    });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn why(issuers: &Issuers, token: &str) -> String {
    match issuers.admit(token, "/mcp").await {
        Ok(holder) => holder.principal.as_str().to_owned(),
        Err(TokenFault::Invalid(why)) => why,
        Err(other) => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_counts_within_its_times_and_for_its_audience() {
    let signer = Signer::new();
    let issuers = issuers(settings(), &signer);
    let time = now();
    for (more, expect) in [
        (json!({}), "corp:ann"),
        (json!({"exp": time - 30.0}), "corp:ann"),
        (json!({"exp": time - 90.0}), "expired"),
        (json!({"exp": -1}), "expired"),
        (json!({"exp": 1e300}), "corp:ann"),
        (json!({"exp": null}), "not numbers"),
        (json!({"exp": "2099"}), "not numbers"),
        (json!({"nbf": time + 30.0}), "corp:ann"),
        (json!({"nbf": time + 90.0}), "not count yet"),
        (json!({"nbf": "now"}), "not numbers"),
        (json!({"iat": time}), "corp:ann"),
        (json!({"iat": "now"}), "not numbers"),
        (json!({"groups": null}), "corp:ann"),
        (json!({"groups": ["a", 7]}), "claim groups"),
        (json!({"groups": {"a": true}}), "claim groups"),
        (json!({"aud": "other"}), "another audience"),
        (json!({"aud": []}), "another audience"),
        (json!({"aud": ["other", "gw"]}), "corp:ann"),
        (json!({"aud": "https://gw.example/mcp"}), "corp:ann"),
        (json!({"aud": "https://gw.example/mcp/a"}), "another resource"),
        (json!({"iss": "https://idp.example/"}), "issuer"),
        (json!({"iss": ["https://idp.example"]}), "issuer"),
        (json!({"sub": ""}), "claim sub"),
        (json!({"sub": 7}), "claim sub"),
        (json!({"sub": "x".repeat(MAX_SUBJECT + 1)}), "claim sub"),
        (json!({"groups": vec!["g"; MAX_GROUPS + 1]}), "groups"),
    ] {
        let told = why(&issuers, &signer.token(&claims(more.clone()))).await;
        assert!(told.contains(expect), "{more}: {told}");
    }
    let mut without = claims(json!({}));
    without.as_object_mut().unwrap().remove("exp");
    assert!(why(&issuers, &signer.token(&without)).await.contains("when it expires"));
}

#[tokio::test(start_paused = true)]
async fn a_signature_counts_for_the_very_token_and_key() {
    let (signer, other) = (Signer::new(), Signer::new());
    let issuers = issuers(settings(), &signer);
    let good = signer.token(&claims(json!({})));
    assert_eq!(why(&issuers, &good).await, "corp:ann");
    assert!(why(&issuers, &other.token(&claims(json!({})))).await.contains("signature"));
    let (rest, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = rest.split_once('.').unwrap();
    let eve = BASE64.encode(claims(json!({"sub": "eve"})).to_string());
    assert!(why(&issuers, &format!("{header}.{eve}.{signature}")).await.contains("signature"));
    assert!(why(&issuers, &format!("{rest}.")).await.contains("signature"));
    // The public key as a shared secret: the token says another algorithm than the key is for.
    let hs = BASE64.encode(r#"{"alg":"HS256","kid":"k"}"#);
    let (_, body) = rest.split_once('.').unwrap();
    assert!(why(&issuers, &format!("{hs}.{body}.{signature}")).await.contains("algorithm"));
    let es = BASE64.encode(r#"{"alg":"ES256","kid":"k"}"#);
    // No key is for it, and the issuer does not say whether it has one by now.
    assert!(why(&issuers, &format!("{es}.{body}.{signature}")).await.starts_with("Unknown"));
}

#[tokio::test]
async fn a_remembered_token_goes_with_its_key_and_with_its_time() {
    let (signer, next) = (Signer::new(), Signer::new());
    let issuers = issuers(settings(), &signer);
    let token = signer.token(&claims(json!({})));
    assert_eq!(why(&issuers, &token).await, "corp:ann");
    issuers.all[0].keys.tried(Err("down".into()));
    assert_eq!(why(&issuers, &token).await, "corp:ann");
    issuers.all[0].keys.tried(Ok(next.keys()));
    let (keys, published) = (Arc::clone(&issuers.all[0].keys), next.keys());
    tokio::spawn(async move {
        keys.wanted().await;
        keys.tried(Ok(published));
    });
    assert!(why(&issuers, &token).await.contains("signature"));
    let brief = next.token(&claims(json!({"exp": now() - 59.0})));
    assert_eq!(why(&issuers, &brief).await, "corp:ann");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(why(&issuers, &brief).await.contains("expired"));
}

#[tokio::test]
async fn groups_and_scopes_are_what_the_claims_say() {
    let signer = Signer::new();
    let mut wanted = settings();
    (wanted.groups_claim, wanted.scopes) = ("realm.roles".into(), vec!["mcp".into()]);
    let issuers = issuers(wanted, &signer);
    let with = |scope: &str, roles: Value| {
        signer.token(&claims(json!({"scope": scope, "realm": {"roles": roles}})))
    };
    let dev = issuers.admit(&with("x mcp", json!(["dev"])), "/mcp").await.unwrap();
    assert!(dev.identity.manages && dev.identity.rights.is_some());
    let other = issuers.admit(&with("mcp", json!("ops")), "/mcp").await.unwrap();
    assert!(!other.identity.manages);
    let lacks = issuers.admit(&with("mcpx", json!([])), "/mcp").await.unwrap_err();
    assert_eq!(lacks, TokenFault::Insufficient);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_was_never_reached_is_told_apart_from_a_wrong_token() {
    let signer = Signer::new();
    let issuers = Issuers::new(vec![settings()], Arc::default(), None);
    issuers.all[0].keys.tried(Err("it is down".into()));
    let fault = issuers.admit(&signer.token(&claims(json!({}))), "/mcp").await.unwrap_err();
    assert_eq!(fault, TokenFault::Unknown("it is down".into()));
}

#[tokio::test]
async fn tokens_that_are_remembered_are_bounded() {
    let signer = Signer::new();
    let issuers = issuers(settings(), &signer);
    for number in 0..=MOST_REMEMBERED {
        let token = signer.token(&claims(json!({"jti": number})));
        assert!(issuers.admit(&token, "/mcp").await.is_ok());
        assert!(issuers.remembered.lock().len() <= MOST_REMEMBERED);
    }
    assert_eq!(issuers.remembered.lock().len(), 1, "all others were forgotten");
}
