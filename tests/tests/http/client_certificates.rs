//! Clients that show a certificate: who they are by it, and which certificates are refused.

use std::io::{Read as _, Write as _};
use std::process::Command;

use mooring_tests::{
    Authority, Certificate, Client, Gateway, Identity, Names, Request, Setup, TlsRelay, binaries,
    client_of, client_showing, eventually, servers, settings, tls,
};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

const KEY: &str = "a-key-of-the-gateway";

fn settings_with(certificate: &Certificate, tls: Value) -> Value {
    let own = json!({"cert": certificate.cert, "key": certificate.key});
    settings::merged(
        settings::roomy(settings::standalone(
            json!({"counter": servers::counter(), "clock": servers::clock()}),
        )),
        json!({"systemConfig": {"listen": {"tls": settings::merged(own, tls)}}}),
    )
}

fn gateway_with(certificate: &Certificate, tls: Value) -> Gateway {
    Setup::new(&settings_with(certificate, tls)).start()
}

/// A client with this certificate, which speaks plain HTTP with a relay of its own.
fn client(gateway: &Gateway, identity: Option<&Identity>, path: &str) -> Client {
    let relay = TlsRelay::with(gateway.address(), client_showing(identity, &["http/1.1"]));
    Client::new(relay.address, path)
}

fn of(authority: &Authority, name: &str) -> Identity {
    let names = Names { common_name: Some(name.to_owned()), ..Names::default() };
    authority.made(&names, (-1, 30), &[])
}

/// What comes of a request on a connection with this certificate, in this version of TLS.
fn asked(
    gateway: &Gateway,
    identity: Option<&Identity>,
    version: &'static rustls::SupportedProtocolVersion,
) -> std::io::Result<String> {
    let config = client_of(identity, &["http/1.1"], &[version]);
    let mut stream = tls(gateway.address(), "localhost", config)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_certificate_makes_a_principal_of_its_holder() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let gateway = gateway_with(&certificate, json!({"clientCa": authority.ca}));
    let [ann, bob] = ["ann", "bob"].map(|name| of(&authority, name));
    for path in ["/mcp/counter", "/mcp"] {
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        let own = client(&gateway, Some(&ann), path).initialize();
        assert_eq!([own.count(tool), own.count(tool)], [1, 2]);
        // Her session goes on over another connection of hers, and is nobody else's.
        let again = mooring_tests::Session::resumed(&client(&gateway, Some(&ann), path), &own.id);
        assert_eq!(again.count(tool), 3);
        let other = mooring_tests::Session::resumed(&client(&gateway, Some(&bob), path), &own.id);
        let refused = other.try_request("tools/call", json!({"name": tool}));
        assert_eq!(refused.status, 404, "{}", refused.text());
        assert_eq!(own.count(tool), 4);
    }
    // A renewed certificate of hers is still hers.
    let own = client(&gateway, Some(&ann), "/mcp/counter").initialize();
    assert_eq!(own.count("count"), 1);
    let renewed = client(&gateway, Some(&of(&authority, "ann")), "/mcp/counter");
    assert_eq!(mooring_tests::Session::resumed(&renewed, &own.id).count("count"), 2);
}

#[test]
fn certificates_that_are_wrong_are_refused_in_the_handshake_by_either_version() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let (foreign, good) = (Authority::new(), of(&authority, "ann"));
    let revoked = of(&authority, "eve");
    let list = authority.revoked(&[&revoked]);
    let names = Names { common_name: Some("ann".to_owned()), ..Names::default() };
    let server = [ExtendedKeyUsagePurpose::ServerAuth];
    let wrong = [
        (authority.made(&names, (-9, -1), &[]), "has expired"),
        (authority.made(&names, (2, 9), &[]), "not valid before"),
        (of(&foreign, "ann"), "another authority"),
        (authority.made(&names, (-1, 30), &server), "not made for this use"),
        (revoked, "is revoked"),
        (authority.made(&Names::default(), (-1, 30), &[]), "nobody"),
    ];
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    for (identity, why) in &wrong {
        let tls = json!({"clientCa": authority.ca, "clientRevoked": list});
        let gateway = gateway_with(&certificate, tls);
        for version in versions {
            assert!(asked(&gateway, Some(&good), version).unwrap().contains(" 200 "), "{why}");
            assert!(asked(&gateway, Some(identity), version).is_err(), "{why}");
        }
        // Of several refusals in a minute the first has a line.
        let line = gateway.wait_for_log("a client at");
        assert!(line.contains(why), "{why}: {line}");
        assert!(versions.into_iter().all(|version| asked(&gateway, None, version).is_err()));
    }
}

#[test]
fn where_certificates_are_optional_a_key_does_too_and_without_either_nobody_comes_in() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let ann = of(&authority, "ann");
    let optional = json!({"clientCa": authority.ca, "clientCertificates": "optional"});
    let gateway = gateway_with(&certificate, optional.clone());
    let refused = client(&gateway, None, "/mcp").try_initialize();
    assert_eq!(refused.status, 401);
    assert!(refused.error_message().contains("client certificate"), "{}", refused.text());
    assert_eq!(client(&gateway, Some(&ann), "/mcp").try_initialize().status, 200);
    assert!(gateway.get("/livez").status == 200, "health needs none");
    let with_key = settings::merged(
        settings_with(&certificate, optional),
        json!({"systemConfig": {"routing": {"enableBearerAuth": true, "bearerAuthKey": KEY}}}),
    );
    let gateway = Setup::new(&with_key).start();
    let right = format!("Bearer {KEY}");
    for (identity, key, status) in [
        (None, None, 401),
        (None, Some(&*right), 200),
        (None, Some("Bearer wrong"), 401),
        (Some(&ann), None, 200),
        (Some(&ann), Some(&*right), 200),
        // What is sent counts, and not what would have done.
        (Some(&ann), Some("Bearer wrong"), 401),
    ] {
        let mut client = client(&gateway, identity, "/mcp/counter");
        if let Some(key) = key {
            client = client.header("Authorization", key);
        }
        assert_eq!(client.try_initialize().status, status, "{} {key:?}", identity.is_some());
    }
    // By the key it is another principal.
    let by_key = client(&gateway, Some(&ann), "/mcp/counter").header("Authorization", &right);
    let own = client(&gateway, Some(&ann), "/mcp/counter").initialize();
    let other = mooring_tests::Session::resumed(&by_key, &own.id);
    assert_eq!(other.try_request("tools/call", json!({"name": "count"})).status, 404);
}

/// Rules and limits of requests are for holders of certificates as for others.
#[test]
fn rules_know_a_client_by_the_name_in_its_certificate() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let [ann, bob] = ["ann", "bob"].map(|name| of(&authority, name));
    let rules = json!([
        {"effect": "allow", "who": {"keys": "certificate"}, "servers": ["counter"]},
        {"effect": "allow", "who": {"principals": "certificate:ann"}, "servers": ["clock"]},
    ]);
    let rates = json!([
        {"name": "slow", "who": {"principals": "certificate:bob"}, "per": "principal",
         "requests": 1, "within": 1_000_000, "burst": 6},
    ]);
    let settings = settings::merged(
        settings_with(&certificate, json!({"clientCa": authority.ca})),
        json!({"systemConfig": {"policy": rules, "limits": {"rates": rates}}}),
    );
    let gateway = Setup::new(&settings).start();
    gateway.wait_until_discovered(&["counter", "clock"]);
    let tools = |identity: &Identity| client(&gateway, Some(identity), "/mcp").initialize().tools();
    assert!(tools(&ann).iter().any(|tool| tool.starts_with("clock-")));
    let of_bob = tools(&bob);
    assert!(of_bob.iter().all(|tool| tool.starts_with("counter-")), "{of_bob:?}");
    assert_eq!(client(&gateway, Some(&ann), "/mcp/clock").try_initialize().status, 200);
    // What he may not use does not exist; that was his fourth request.
    assert_eq!(client(&gateway, Some(&bob), "/mcp/clock").try_initialize().status, 404);
    let asked: Vec<u16> = (0..4)
        .map(|_| client(&gateway, Some(&bob), "/mcp/counter").try_initialize().status)
        .collect();
    assert_eq!(asked[3], 429, "{asked:?}");
    assert_eq!(client(&gateway, Some(&ann), "/mcp/counter").try_initialize().status, 200);
}

#[test]
fn this_machine_may_do_without_tls_and_needs_a_key_then() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let gateway = gateway_with(&certificate, json!({"clientCa": authority.ca}));
    assert_eq!(gateway.client("/mcp").try_initialize().status, 401);
    assert_eq!(gateway.get("/livez").status, 200);
    // The management API goes by keys: that of the local command line is one.
    let ps = Command::new(binaries::mooring())
        .args(["ps", "--url", &gateway.url()])
        .env("MOORING_DATA", gateway.data_folder())
        .current_dir(gateway.folder())
        .output()
        .unwrap();
    assert!(ps.status.success(), "{}", String::from_utf8_lossy(&ps.stderr));
    let ann = of(&authority, "ann");
    let relay = TlsRelay::with(gateway.address(), client_showing(Some(&ann), &["http/1.1"]));
    let nodes = Request::get("/api/cluster/instances").send(relay.address);
    assert_eq!(nodes.status, 401, "{}", nodes.text());
}

#[test]
fn what_is_revoked_ends_at_once_and_what_is_good_goes_on() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let [ann, eve] = ["ann", "eve"].map(|name| of(&authority, name));
    let list = authority.revoked(&[]);
    let gateway =
        gateway_with(&certificate, json!({"clientCa": authority.ca, "clientRevoked": list}));
    let sessions = [&ann, &eve].map(|own| client(&gateway, Some(own), "/mcp/clock").initialize());
    let mut streams = sessions.each_ref().map(|session| {
        session.start(
            "wait_with_progress",
            json!({"steps": 160, "ms": 50}),
            json!({"progressToken": "p"}),
        )
    });
    for (stream, _) in &mut streams {
        stream.message(|message| message["method"] == "notifications/progress");
    }
    authority.revoked(&[&eve]);
    let line = gateway.wait_for_log("a client at");
    assert!(line.contains("the certificate of eve is revoked"), "{line}");
    let [(mut of_ann, id), (mut of_eve, _)] = streams;
    assert!(of_ann.message(|message| message["id"] == id)["result"].is_object());
    while let Ok(Some(event)) = of_eve.try_event() {
        assert!(!event.data.contains("\"result\""), "{}", event.data);
    }
    assert!(asked(&gateway, Some(&eve), &rustls::version::TLS13).is_err());
    assert!(asked(&gateway, Some(&ann), &rustls::version::TLS13).is_ok());
}

/// A handshake has no request that could be audited.
#[test]
fn every_certificate_that_is_refused_is_in_the_audit_log() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    let [ann, eve] = ["ann", "eve"].map(|name| of(&authority, name));
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let list = authority.revoked(&[]);
    let tls = json!({"clientCa": authority.ca, "clientRevoked": list});
    let settings = settings::merged(
        settings_with(&certificate, tls),
        json!({"systemConfig": {"telemetry": {"auditLog": {"to": audit}}}}),
    );
    let gateway = Setup::new(&settings).start();
    let refusals = |why: &str| {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).expect(line));
        let is_meant = |line: &Value| {
            line["action"] == "connection" && line["why"].as_str().unwrap_or("").contains(why)
        };
        lines.filter(is_meant).collect::<Vec<Value>>()
    };
    let names = Names { common_name: Some("ann".to_owned()), ..Names::default() };
    let blank = Names { common_name: Some(" ".to_owned()), ..Names::default() };
    let wrong = [
        (Some(authority.made(&names, (-9, -1), &[])), "has expired"),
        (Some(of(&Authority::new(), "ann")), "another authority"),
        (Some(authority.made(&blank, (-1, 30), &[])), "does not name who its holder is"),
        (None, "has shown no certificate"),
    ];
    for (identity, why) in &wrong {
        for times in 1..=2 {
            let refused = asked(&gateway, identity.as_ref(), &rustls::version::TLS13);
            assert!(refused.is_err(), "{why}");
            let found = eventually(&format!("{why} in the audit log"), || {
                Some(refusals(why)).filter(|found| found.len() == times)
            });
            assert_eq!(found[0]["decision"], "refused", "{}", found[0]);
            assert_eq!(found[0]["address"], "127.0.0.1", "{}", found[0]);
            assert!(found[0].get("principal").is_none(), "{}", found[0]);
        }
    }
    // One that is revoked while it is used has a principal already.
    let _stream = client(&gateway, Some(&eve), "/mcp/clock").initialize().listen();
    authority.revoked(&[&eve]);
    let ended = eventually("eve in the audit log", || refusals("is revoked").into_iter().next());
    assert_eq!(ended["principal"], "certificate:eve", "{ended}");
    // Who has only gone away is none of these.
    let before = refusals("").len();
    drop(std::net::TcpStream::connect(gateway.address()).unwrap());
    assert!(asked(&gateway, Some(&ann), &rustls::version::TLS13).is_ok());
    assert_eq!(refusals("").len(), before);
}

#[test]
fn settings_of_client_certificates_are_judged() {
    let (certificate, authority) = (Certificate::of(&["localhost"]), Authority::new());
    for (tls, words) in [
        (json!({"clientCa": "none.pem"}), "none.pem"),
        (json!({"clientCa": certificate.key}), "has no certificate"),
        (json!({"clientRevoked": "x.pem"}), "without clientCa"),
        (json!({"clientCertificates": "optional"}), "without clientCa"),
        (json!({"clientCa": authority.ca, "clientCertificates": "often"}), "clientCertificates"),
        (json!({"clientCa": authority.ca, "clientRevoked": authority.ca}), "has no list"),
    ] {
        let checked = Setup::new(&settings_with(&certificate, tls.clone())).run(&["check"]);
        let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(2), "{tls}: {errors}");
        assert!(errors.contains(words), "{tls}: {errors}");
    }
    let good = settings_with(&certificate, json!({"clientCa": authority.ca}));
    // A key of such a name would open the sessions of a certificate's holder.
    for name in ["certificate", "certificate:ann"] {
        let key = json!({"name": name, "token": "0123456789abcdef", "accessType": "all"});
        let alike = settings::merged(good.clone(), json!({"bearerKeys": [key]}));
        let checked = Setup::new(&alike).run(&["check"]);
        let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(2), "{name}: {errors}");
        assert!(errors.contains("the holder of a client certificate"), "{name}: {errors}");
    }
    let checked = Setup::new(&good).run(&["check"]);
    let page = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(page.contains("client certificates"), "{page}");
    assert!(!page.contains("open to every client"), "{page}");
}
