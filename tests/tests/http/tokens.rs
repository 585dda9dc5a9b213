//! Tokens of issuers: who comes in by one, and what keeps others out.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mooring_tests::issuer::{now, signed_part};
use mooring_tests::{
    Client, Cluster, Gateway, Issuer, OverSse, Request, Response, Scripted, Session, Setup, Signer,
    eventually, servers, settings,
};
use serde_json::{Value, json};
use sha2::Sha256;

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn client(gateway: &Gateway, path: &str, token: &str) -> Client {
    gateway.client(path).header("Authorization", &bearer(token))
}

fn counter() -> Value {
    settings::standalone(json!({"counter": servers::counter()}))
}

fn start(issuer: &Issuer, more: Value) -> Gateway {
    let settings = settings::merged(counter(), issuer.settings(more));
    let gateway = Gateway::start_with(&settings);
    // Until the keys are there, every answer is 503.
    eventually("the issuer's keys are there", || {
        let status = client(&gateway, "/mcp", "x.y.z").try_initialize().status;
        let ready = client(&gateway, "/mcp", &issuer.token("ready")).try_initialize().status;
        (status == 401 && ready != 503).then_some(())
    });
    gateway
}

fn challenge(response: &Response) -> String {
    response.header("www-authenticate").unwrap_or("").to_owned()
}

#[test]
fn a_token_of_every_algorithm_lets_its_subject_in() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let issuer = Issuer::with(Signer::new("k", algorithm));
        let gateway = start(&issuer, json!({}));
        let header = if algorithm == "PS256" { json!({"alg": "PS256"}) } else { json!({}) };
        let token = issuer.signer.token(header, &issuer.claims("ann", json!({})));
        let session = client(&gateway, "/mcp/counter", &token).initialize();
        assert_eq!(session.count("count"), 1, "{algorithm}");
        // Another token of the same subject goes on with the session, and another subject does not.
        let later = issuer.token_with("ann", json!({"exp": now() + 900}));
        let ann = Session::resumed(&client(&gateway, "/mcp/counter", &later), &session.id);
        assert_eq!(ann.count("count"), 2, "{algorithm}");
        let eve = client(&gateway, "/mcp/counter", &issuer.token("eve"));
        let stolen = Session::resumed(&eve, &session.id);
        stolen.try_request("tools/list", json!({})).expect(404);
        stolen.delete().expect(404);
        assert_eq!(ann.count("count"), 3, "{algorithm}");
    }
}

#[test]
fn a_token_works_over_a_coordinator_and_over_both_transports() {
    let issuer = Issuer::start();
    let coordinator =
        settings::merged(settings::coordinator(json!({})), issuer.settings(json!({})));
    let mut cluster = Cluster { coordinator: Gateway::start_with(&coordinator), nodes: Vec::new() };
    cluster.add("n1", json!({"counter": servers::counter()}));
    let gateway = &cluster.coordinator;
    let ann = client(gateway, "/mcp/counter", &issuer.token("ann"));
    eventually("the node's server is there", || (ann.try_initialize().status == 200).then_some(()));
    assert_eq!(ann.initialize().count("count"), 1);
    let token = bearer(&issuer.token("ann"));
    let mut sse =
        OverSse::open_with(gateway.address(), "/sse/counter", &[("Authorization", &token)]);
    sse.begin();
    assert_eq!(sse.call("count", json!({}))["value"], 1);
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    for (authorization, status) in [
        (String::new(), 401),
        (bearer(&issuer.token_with("ann", json!({"exp": 1}))), 401),
        (bearer(&issuer.token("eve")), 404),
        (token.clone(), 202),
    ] {
        let post = Request::post(&sse.endpoint).header("Authorization", &authorization).json(&ping);
        assert_eq!(post.send(gateway.address()).status, status, "{authorization}");
    }
}

#[test]
fn what_is_no_good_token_is_refused_with_a_challenge() {
    let issuer = Issuer::with(Signer::new("k", "RS256"));
    let gateway = start(&issuer, json!({"clockSkew": 5000}));
    let good = issuer.claims("ann", json!({}));
    let with = |more: Value| settings::merged(good.clone(), more);
    let sign = |claims: &Value| issuer.signer.token(json!({}), claims);
    let header = |alg: &str| json!({"alg": alg, "kid": "k", "typ": "JWT"});
    let none = |alg: &str| format!("{}.", signed_part(&header(alg), &good));
    // What is public as the secret of an HMAC, in the forms that verifiers have taken for one.
    let public = issuer.signer.public();
    let modulus = public["n"].as_str().unwrap();
    let confused = |secret: &[u8]| {
        let signed = signed_part(&header("HS256"), &good);
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(mac.finalize().into_bytes()))
    };
    let stranger = Signer::new("k", "ES256");
    let token = sign(&good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let eve = signed_part(&header("RS256"), &with(json!({"sub": "eve"})));
    for (what, token) in [
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("alg HS256 and the modulus", confused(&BASE64.decode(modulus).unwrap())),
        ("alg HS256 and its text", confused(modulus.as_bytes())),
        ("alg HS256 and the key", confused(public.to_string().as_bytes())),
        ("another key under its name", stranger.token(json!({}), &good)),
        ("another algorithm", stranger.token(json!({"alg": "RS256"}), &good)),
        ("no signature", format!("{signed}.")),
        ("another subject", format!("{eve}.{signature}")),
        ("another audience", sign(&with(json!({"aud": "other"})))),
        ("no audience", sign(&with(json!({"aud": null})))),
        ("another issuer", sign(&with(json!({"iss": "https://other.example"})))),
        ("expired", sign(&with(json!({"exp": now() - 10})))),
        ("no expiry", sign(&with(json!({"exp": null})))),
        ("not yet", sign(&with(json!({"nbf": now() + 60})))),
        ("a time of issue that is none", sign(&with(json!({"iat": "now"})))),
        ("no subject", sign(&with(json!({"sub": null})))),
        ("another type", issuer.signer.token(json!({"typ": "logout+jwt"}), &good)),
        ("critical", issuer.signer.token(json!({"crit": ["x"]}), &good)),
        ("oversized", sign(&with(json!({"x": "a".repeat(20_000)})))),
        ("not three parts", "a.b".to_owned()),
        ("a key", "a-key-that-nobody-knows".to_owned()),
    ] {
        let refused = client(&gateway, "/mcp/counter", &token).try_initialize();
        assert_eq!(refused.status, 401, "{what}: {}", refused.text());
        let challenge = challenge(&refused);
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{what}: {challenge}");
        assert!(challenge.contains("resource_metadata=\"http://"), "{what}: {challenge}");
        assert!(!refused.text().contains(signature), "{what}");
    }
    for (what, request) in [
        ("no header", gateway.client("/mcp")),
        ("no token", gateway.client("/mcp").header("Authorization", "Bearer ")),
        (
            "another scheme",
            gateway.client("/mcp").header("Authorization", &format!("Basic {token}")),
        ),
    ] {
        let refused = request.try_initialize().expect(401);
        assert!(!challenge(&refused).contains("error="), "{what}: {}", challenge(&refused));
        assert!(challenge(&refused).contains("resource_metadata="), "{what}");
    }
    let skewed = sign(&with(json!({"exp": now() - 2, "nbf": now() + 2})));
    client(&gateway, "/mcp", &skewed).try_initialize().expect(200);
    let log = gateway.log();
    assert!(!log.contains(signature), "a token is in the log");
}

#[test]
fn the_metadata_of_each_resource_names_the_issuer_and_the_challenge_names_the_metadata() {
    let issuer = Issuer::start();
    let gateway = start(&issuer, json!({"requiredScopes": ["mcp:use"]}));
    for path in ["/mcp", "/mcp/counter", "/mcp/nobody-knows-whether-this-exists", "/sse/counter"] {
        let asked = if path.starts_with("/sse") {
            Request::get(path).header("Accept", "text/event-stream").send(gateway.address())
        } else {
            gateway.client(path).try_initialize()
        };
        let challenge = challenge(&asked.expect(401));
        let (_, url) = challenge.split_once("resource_metadata=\"").unwrap();
        let url = url.trim_end_matches('"');
        let expected = format!("{}/.well-known/oauth-protected-resource{path}", gateway.url());
        assert_eq!(url, expected);
        let metadata = gateway.get(&expected[gateway.url().len()..]).expect(200);
        assert_eq!(metadata.header("content-type"), Some("application/json"));
        let metadata = metadata.json();
        assert_eq!(metadata["resource"], format!("{}{path}", gateway.url()));
        assert_eq!(metadata["authorization_servers"], json!([issuer.name()]));
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
        assert_eq!(metadata["scopes_supported"], json!(["mcp:use"]));
    }
    let root = gateway.get("/.well-known/oauth-protected-resource").expect(200).json();
    assert_eq!(root["resource"], gateway.url());
    for path in ["/api/logs", "/other"] {
        gateway.get(&format!("/.well-known/oauth-protected-resource{path}")).expect(404);
    }
    Request::post("/.well-known/oauth-protected-resource").send(gateway.address()).expect(405);
    let head = Request::new("HEAD", "/.well-known/oauth-protected-resource/mcp");
    assert_eq!(head.open(gateway.address()).status, 200);
    // A page of an allowed origin reads it, and the challenge.
    let page = Request::get("/.well-known/oauth-protected-resource/mcp")
        .header("Origin", "http://localhost:6274")
        .send(gateway.address())
        .expect(200);
    assert_eq!(page.header("access-control-allow-origin"), Some("http://localhost:6274"));
    let lacks = client(&gateway, "/mcp", &issuer.token("ann")).try_initialize().expect(403);
    let lacking = challenge(&lacks);
    assert!(
        lacking.starts_with("Bearer error=\"insufficient_scope\", scope=\"mcp:use\""),
        "{lacking}"
    );
    let token = issuer.token_with("ann", json!({"scope": "openid mcp:use"}));
    client(&gateway, "/mcp", &token).try_initialize().expect(200);
}

#[test]
fn the_gateways_own_url_is_the_operators_word_or_that_of_a_trusted_proxy() {
    let issuer = Issuer::start();
    let settings = settings::merged(counter(), issuer.settings(json!({})));
    let forwarded = |gateway: &Gateway| {
        let asked = Request::get("/.well-known/oauth-protected-resource/mcp")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "mcp.example.com");
        asked.send(gateway.address()).expect(200).json()["resource"].clone()
    };
    let plain = Gateway::start_with(&settings);
    assert_eq!(forwarded(&plain), format!("{}/mcp", plain.url()));
    let behind = json!({"systemConfig": {"trustedProxies": ["127.0.0.1"]}});
    let behind = Gateway::start_with(&settings::merged(settings.clone(), behind));
    assert_eq!(forwarded(&behind), "https://mcp.example.com/mcp");
    // Proxies in a row each add to a list: the one that has seen the client counts.
    let chain = [
        ("X-Forwarded-For", "203.0.113.7, 127.0.0.1"),
        ("X-Forwarded-Proto", "https, http"),
        ("X-Forwarded-Host", "mcp.example.com, inner"),
    ];
    let forwarded = [("Forwarded", "for=203.0.113.7;proto=https;host=mcp.example.com")];
    for headers in [&chain[..], &forwarded] {
        let metadata = Request::get("/.well-known/oauth-protected-resource/mcp");
        let with = |request: Request| {
            headers.iter().fold(request, |request, (name, value)| request.header(name, value))
        };
        let resource = |gateway: &Gateway, request: Request| {
            with(request).send(gateway.address()).expect(200).json()["resource"].clone()
        };
        assert_eq!(resource(&behind, metadata.clone()), "https://mcp.example.com/mcp");
        assert_eq!(resource(&plain, metadata), format!("{}/mcp", plain.url()));
        let refused = with(Request::post("/mcp")).send(behind.address()).expect(401);
        assert!(challenge(&refused).contains("\"https://mcp.example.com/"), "{headers:?}");
    }
    // What is no host is not said.
    let odd = Request::get("/.well-known/oauth-protected-resource/mcp")
        .header("X-Forwarded-Host", "u@evil.example")
        .send(behind.address());
    assert_eq!(odd.expect(200).json()["resource"], format!("{}/mcp", behind.url()));
    let told = json!({"systemConfig": {"publicUrl": "https://hub.example.com/"}});
    let told = Setup::new(&settings::merged(settings, told)).env("BASE_PATH", "/tools").start();
    let at =
        |path: &str| Request::get(path).send(told.address()).expect(200).json()["resource"].clone();
    let resource = "https://hub.example.com/tools/mcp/counter";
    assert_eq!(at("/.well-known/oauth-protected-resource/tools/mcp/counter"), resource);
    assert_eq!(at("/tools/.well-known/oauth-protected-resource/mcp/counter"), resource);
}

#[test]
fn a_token_for_one_resource_opens_no_other() {
    let issuer = Issuer::start();
    let names = json!(["mooring", "https://mcp.example.com"]);
    let gateway = start(&issuer, json!({"audience": names}));
    let of = |aud: &str| issuer.token_with("ann", json!({"aud": aud}));
    let status = |path: &str, token: &str| client(&gateway, path, token).try_initialize().status;
    let of_counter = of("https://mcp.example.com/mcp/counter");
    assert_eq!([status("/mcp/counter", &of_counter), status("/mcp", &of_counter)], [200, 401]);
    let of_all = of("https://mcp.example.com/");
    assert_eq!([status("/mcp/counter", &of_all), status("/mcp", &of_all)], [200, 200]);
    for other in [
        "https://mcp.example.com.evil.example/mcp",
        "https://mcp.example.co",
        "http://mcp.example.com",
    ] {
        assert_eq!(status("/mcp", &of(other)), 401, "{other}");
    }
    // What is posted to a stream is for the URL of the stream, whoever has opened that.
    let of_sse = of("https://mcp.example.com/sse/counter");
    for (path, expect) in [("/sse/counter", 202), ("/sse", 404)] {
        let bearer = bearer(&of_all);
        let mut sse = OverSse::open_with(gateway.address(), path, &[("Authorization", &bearer)]);
        sse.begin();
        let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
        let post = Request::post(&sse.endpoint).header("Authorization", &self::bearer(&of_sse));
        assert_eq!(post.json(&ping).send(gateway.address()).status, expect, "{path}");
    }
}

#[test]
fn keys_change_while_the_gateway_runs_and_known_ones_outlive_an_outage() {
    let mut issuer = Issuer::start();
    let data = tempfile::tempdir().unwrap();
    let settings = settings::merged(counter(), issuer.settings(json!({})));
    let gateway = Setup::new(&settings).data(data.path()).start();
    let status =
        |gateway: &Gateway, token: &str| client(gateway, "/mcp", token).try_initialize().status;
    let old = issuer.token("ann");
    eventually("the keys are there", || (status(&gateway, &old) == 200).then_some(()));
    // The next key is published before it is used, and fetched when it is.
    let next = Signer::new("second", "ES256");
    issuer.publish(&[&issuer.signer, &next]);
    issuer.change_key(next);
    let new = issuer.token("ann");
    assert_eq!([status(&gateway, &new), status(&gateway, &old)], [200, 200]);
    // Then the old one goes, and with it the tokens that it has signed.
    let third = Signer::new("third", "EdDSA");
    issuer.publish(&[&issuer.signer, &third]);
    let latest = third.token(json!({}), &issuer.claims("ann", json!({})));
    assert_eq!([status(&gateway, &latest), status(&gateway, &old)], [200, 401]);
    assert_eq!(status(&gateway, &new), 200);
    // Made-up names do not have the keys fetched again and again.
    let before = issuer.fetches();
    for number in 0..20 {
        let made_up = Signer::new(&format!("made-up-{number}"), "EdDSA");
        let token = made_up.token(json!({}), &issuer.claims("ann", json!({})));
        assert_eq!(status(&gateway, &token), 401);
    }
    assert!(issuer.fetches() <= before + 3, "{} {before}", issuer.fetches());
    // An outage keeps nobody out whose key is known, and a restart in it does not either.
    issuer.is_down(true);
    assert_eq!([status(&gateway, &new), status(&gateway, &issuer.token("bob"))], [200, 200]);
    drop(gateway);
    let again = Setup::new(&settings).data(data.path()).start();
    eventually("the kept keys are there", || (status(&again, &new) == 200).then_some(()));
    again.wait_for_log("the issuer's keys cannot be fetched");
}

#[test]
fn a_key_that_is_replaced_under_its_name_or_without_one_is_fetched() {
    for name in [json!("k"), Value::Null] {
        let named = |signer: &Signer| settings::merged(signer.public(), json!({"kid": name}));
        let (first, next) = (Signer::new("k", "ES256"), Signer::new("k", "ES256"));
        let issuer = Issuer::with(Signer::new("k", "ES256"));
        issuer.publish_set(vec![named(&first)]);
        let gateway = Gateway::start_with(&settings::merged(counter(), issuer.settings(json!({}))));
        let token =
            |signer: &Signer| signer.token(json!({"kid": name}), &issuer.claims("ann", json!({})));
        let status = |token: &str| client(&gateway, "/mcp", token).try_initialize().status;
        eventually("the keys are there", || (status(&token(&first)) == 200).then_some(()));
        issuer.publish_set(vec![named(&next)]);
        assert_eq!([status(&token(&next)), status(&token(&first))], [200, 401], "{name}");
        // Wrong signatures do not have the keys fetched again and again.
        let before = issuer.fetches();
        for _ in 0..20 {
            assert_eq!(status(&token(&Signer::new("k", "ES256"))), 401, "{name}");
        }
        assert!(issuer.fetches() <= before + 3, "{name}: {} {before}", issuer.fetches());
    }
}

#[test]
fn a_key_is_found_among_many_of_no_name_and_beside_kinds_that_nobody_knows() {
    let nameless = |signer: &Signer| settings::merged(signer.public(), json!({"kid": null}));
    let many: Vec<Signer> = (0..20).map(|_| Signer::new("k", "ES256")).collect();
    let issuer = Issuer::with(Signer::new("last", "EdDSA"));
    let ed = settings::merged(issuer.signer.public(), json!({"alg": "Ed25519"}));
    let mut keys: Vec<Value> = many.iter().map(nameless).collect();
    keys.extend([
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "last"}),
        json!({"kty": "oct", "k": "AAAA", "kid": "last"}),
        json!({"kty": 7}),
        json!(null),
        ed,
        Signer::new("last", "ES256").public(),
    ]);
    issuer.publish_set(keys);
    let gateway = start(&issuer, json!({}));
    let claims = issuer.claims("ann", json!({}));
    for (header, signer) in [
        (json!({}), &issuer.signer),
        (json!({"alg": "Ed25519"}), &issuer.signer),
        (json!({"kid": null}), &issuer.signer),
        (json!({"kid": null}), &many[19]),
        (json!({"kid": null}), &many[0]),
    ] {
        let token = signer.token(header.clone(), &claims);
        client(&gateway, "/mcp", &token).try_initialize().expect(200);
    }
}

#[test]
fn an_issuer_that_withdraws_all_its_keys_lets_nobody_in() {
    let mut issuer = Issuer::start();
    let gateway = start(&issuer, json!({"refreshInterval": 1000}));
    let token = issuer.token("ann");
    let status = |token: &str| client(&gateway, "/mcp", token).try_initialize().status;
    assert_eq!(status(&token), 200);
    issuer.publish(&[]);
    eventually("its keys are withdrawn", || (status(&token) == 401).then_some(()));
    gateway.wait_for_log("publishes no key");
    issuer.change_key(Signer::new("next", "ES256"));
    issuer.publish(&[&issuer.signer]);
    let next = issuer.token("ann");
    eventually("its next key is there", || (status(&next) == 200).then_some(()));
    assert_eq!(status(&token), 401);
}

#[test]
fn groups_that_cannot_be_read_let_nobody_around_a_rule_that_denies() {
    let issuer = Issuer::start();
    let rules = json!({"systemConfig": {"policy": [
        {"effect": "allow"},
        {"effect": "deny", "who": {"groups": "guests"}, "servers": "counter"},
    ]}});
    let settings = settings::merged(counter(), issuer.settings(json!({"groupsClaim": "r.g"})));
    let gateway = Gateway::start_with(&settings::merged(settings, rules));
    let status = |groups: Value| {
        let token = issuer.token_with("ann", json!({"r": {"g": groups}}));
        client(&gateway, "/mcp/counter", &token).try_initialize().status
    };
    eventually("the keys are there", || (status(json!([])) == 200).then_some(()));
    for (groups, expect) in [
        (json!("staff guests"), 404),
        (json!(["guests"]), 404),
        (json!("staff"), 200),
        (json!(null), 200),
        (json!([["guests"]]), 401),
        (json!([{"name": "guests"}]), 401),
        (json!({"guests": true}), 401),
        (json!(7), 401),
    ] {
        assert_eq!(status(groups.clone()), expect, "{groups}");
    }
}

#[test]
fn an_issuer_that_was_never_reached_is_an_outage_and_no_wrong_token() {
    let issuer = Issuer::start();
    issuer.is_down(true);
    let gateway = Gateway::start_with(&settings::merged(counter(), issuer.settings(json!({}))));
    let ann = client(&gateway, "/mcp", &issuer.token("ann"));
    let refused = ann.try_initialize().expect(503);
    assert!(refused.header("retry-after").is_some() && challenge(&refused).is_empty());
    issuer.is_down(false);
    eventually("the issuer is there", || (ann.try_initialize().status == 200).then_some(()));
}

/// A client that is told that its token is wrong throws it away, and its user logs in again: the issuer
/// may have changed its key meanwhile.
#[test]
fn a_key_that_nobody_knows_is_an_outage_while_its_issuer_does_not_answer() {
    let mut issuer = Issuer::start();
    let gateway = start(&issuer, json!({}));
    let known = issuer.token("ann");
    let tried = |token: &str| client(&gateway, "/mcp/counter", token).try_initialize();
    tried(&known).expect(200);
    let next = Signer::new("next", "ES256");
    issuer.publish(&[&issuer.signer, &next]);
    issuer.is_down(true);
    issuer.change_key(next);
    let new = issuer.token("bob");
    for _ in 0..5 {
        let refused = tried(&new).expect(503);
        assert!(refused.header("retry-after").is_some() && challenge(&refused).is_empty());
        let words = refused.json()["error"]["message"].to_string();
        assert!(words.contains("issuer does not answer"), "{words}");
    }
    // What needs no other key is decided as ever.
    tried(&known).expect(200);
    let claims = issuer.claims("eve", json!({}));
    tried(&Signer::new("first", "EdDSA").token(json!({}), &claims)).expect(401);
    issuer.is_down(false);
    eventually("the issuer is there", || (tried(&new).status == 200).then_some(()));
    // An issuer that answers shows that a key is nobody's.
    let made_up = Signer::new("made-up", "ES256").token(json!({}), &claims);
    let refused = eventually("the outage is over", || {
        let refused = tried(&made_up);
        (refused.status == 401).then_some(refused)
    });
    assert!(challenge(&refused).contains("invalid_token"), "{}", challenge(&refused));
}

#[test]
fn metadata_of_another_issuer_is_not_believed() {
    let issuer = Issuer::start();
    issuer.calls_itself("https://other.example");
    let gateway = Gateway::start_with(&settings::merged(counter(), issuer.settings(json!({}))));
    gateway.wait_for_log("metadata of another issuer");
    client(&gateway, "/mcp", &issuer.token("ann")).try_initialize().expect(503);
    assert_eq!(issuer.fetches(), 0);
    // Where the file says where the keys are, nothing else is asked.
    let named = json!({"jwksUri": format!("{}/keys", issuer.name())});
    let gateway = start(&issuer, named);
    client(&gateway, "/mcp", &issuer.token("ann")).try_initialize().expect(200);
}

#[test]
fn keys_and_tokens_go_together_and_no_server_gets_a_token() {
    let issuer = Issuer::start();
    let far = Scripted::start(|_, out| Some(out));
    let names = json!(["Authorization", "X-Api-Key"]);
    let entry = settings::merged(far.entry(), json!({"passthroughHeaders": names}));
    let key = "a-key-of-the-file-0123456789";
    let settings = settings::merged(
        settings::standalone(json!({"far": entry})),
        json!({"bearerKeys": [{"name": "laptop", "token": key, "accessType": "all"}]}),
    );
    let settings = settings::merged(settings, issuer.settings(json!({})));
    let gateway = Gateway::start_with(&settings);
    let token = issuer.token("ann");
    for credential in [key, &token] {
        let far = client(&gateway, "/mcp/far", credential).header("X-Api-Key", "of-the-client");
        let session = eventually("it is let in", || {
            (far.try_initialize().status == 200).then(|| far.initialize())
        });
        session.call("ask", json!({}));
    }
    for asked in far.all() {
        let line = format!("{asked:?}");
        assert!(!line.contains(&token) && !line.contains(key), "{line}");
    }
    assert!(far.seen().iter().any(|asked| asked.header("x-api-key") == Some("of-the-client")));
    // The management API wants a key, or a rule that says otherwise.
    let api = |credential: &str| {
        let asked = Request::get("/api/cluster/instances");
        asked.header("Authorization", &bearer(credential)).send(gateway.address()).status
    };
    assert_eq!([api(key), api(&token), api("x.y.z"), api("")], [200, 403, 401, 401]);
}

#[test]
fn settings_of_issuers_that_could_not_be_obeyed_refuse_the_start() {
    let good = json!({"issuer": "https://idp.example", "audience": "gw"});
    for (more, says) in [
        (json!({"issuer": "http://idp.example"}), "not encrypted"),
        (json!({"issuer": null}), "is missing"),
        (json!({"audience": null}), "whom its tokens are for"),
        (json!({"audience": []}), "whom its tokens are for"),
        (json!({"jwksUri": "file:///keys"}), "is not a URL"),
        (json!({"jwksUri": "ftp://idp.example/keys"}), "must begin with http"),
        (json!({"jwksUri": "https://user:word@idp.example/keys"}), "user name or password"),
        (json!({"algorithms": ["HS256"]}), "HS256"),
        (json!({"algorithms": ["none"]}), "none"),
        (json!({"clockSkew": 86_400_000}), "too large"),
        (json!({"aud": "gw"}), "not a known key"),
        (json!({"name": "a:b"}), "cannot stand in front"),
        (json!({"name": "certificate"}), "holders of client certificates"),
    ] {
        let entry = settings::merged(good.clone(), more.clone());
        let jwt = json!({"systemConfig": {"auth": {"jwt": entry}}});
        let output = Setup::new(&settings::merged(counter(), jwt)).run(&["check"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more}: {told}");
        assert!(told.contains(says), "{more}: {told}");
    }
    let open = json!({"systemConfig": {
        "auth": {"jwt": good.clone()}, "routing": {"enableBearerAuth": false},
    }});
    let output = Setup::new(&settings::merged(counter(), open)).run(&["check"]);
    assert_eq!(output.status.code(), Some(2));
    for (name, expect) in [("corp:ann", 2), ("corp", 2), ("corporate", 0), ("certificate:x", 0)] {
        let entry = settings::merged(good.clone(), json!({"name": "corp"}));
        let alike = json!({
            "systemConfig": {"auth": {"jwt": entry}},
            "bearerKeys": [{"name": name, "token": "0123456789abcdef", "accessType": "all"}],
        });
        let output = Setup::new(&settings::merged(counter(), alike)).run(&["check"]);
        assert_eq!(output.status.code(), Some(expect), "{name}");
    }
}
