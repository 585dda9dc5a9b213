//! TLS on the listening port: the same calls, certificates by name, and files that change.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mooring_tests::{
    Certificate, Client, Gateway, Setup, TlsRelay, binaries, borrowed, eventually, servers,
    settings, tls,
};
use rustls::{ALL_VERSIONS, ProtocolVersion};
use serde_json::{Value, json};

/// A gateway with a counter, and this in `listen`.
fn gateway_with(listen: &Value) -> Gateway {
    Setup::new(&settings_with(listen)).start()
}

fn settings_with(listen: &Value) -> Value {
    settings::merged(
        settings::roomy(settings::standalone(
            json!({"counter": servers::counter(), "clock": servers::clock()}),
        )),
        json!({"systemConfig": {"listen": listen}}),
    )
}

fn files(certificate: &Certificate) -> Value {
    json!({"cert": certificate.cert, "key": certificate.key})
}

/// The certificate that a client gets who asks for this name.
fn shown(gateway: &Gateway, name: &str, trusted: &[&Certificate]) -> Vec<u8> {
    let config = Certificate::client(trusted, ALL_VERSIONS);
    let stream =
        tls(gateway.address(), name, config).unwrap_or_else(|error| panic!("{name}: {error}"));
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn sessions_calls_and_streams_are_the_same_over_tls() {
    let certificate = Certificate::of(&["localhost"]);
    let gateway = gateway_with(&json!({"tls": files(&certificate)}));
    let log = gateway.log();
    assert!(log.contains(&format!("https://127.0.0.1:{}/mcp", gateway.port())), "{log}");
    let relay = TlsRelay::start(gateway.address());
    let session = Client::new(relay.address, "/mcp").initialize();
    assert_eq!([session.count("counter-count"), session.count("counter-count")], [1, 2]);
    let (mut stream, id) = session.start(
        "clock-wait_with_progress",
        json!({"steps": 3, "ms": 20}),
        json!({"progressToken": "p"}),
    );
    assert_eq!(
        stream.message(|message| message["method"] == "notifications/progress")["params"]["progress"],
        1
    );
    assert!(stream.message(|message| message["id"] == id)["result"].is_object());
    // More than any buffer on the way.
    let long = "x".repeat(3_000_000);
    let refused = session.try_request("tools/call", json!({"name": long}));
    assert!(refused.error_message().len() < 10_000, "the body has come whole");
    assert_eq!(session.delete().status, 200);
}

#[test]
fn only_tls_1_2_and_1_3_with_forward_secrecy_are_spoken() {
    let certificate = Certificate::of(&["localhost"]);
    let gateway = gateway_with(&json!({"tls": files(&certificate)}));
    for (version, expect) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let config = Certificate::client(&[&certificate], &[version]);
        let stream = tls(gateway.address(), "localhost", config).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(expect));
        let suite = format!("{:?}", stream.conn.negotiated_cipher_suite().unwrap().suite());
        let is_good = suite.starts_with("TLS13_") || suite.starts_with("TLS_ECDHE_");
        assert!(is_good && (suite.contains("GCM") || suite.contains("CHACHA20")), "{suite}");
    }
    let strict = gateway_with(
        &json!({"tls": settings::merged(files(&certificate), json!({"minVersion": "1.3"}))}),
    );
    let config = Certificate::client(&[&certificate], &[&rustls::version::TLS12]);
    assert!(tls(strict.address(), "localhost", config).is_err());
    shown(&strict, "localhost", &[&certificate]);

    // What rustls cannot even offer.
    let Some(openssl) = borrowed::on_the_path("openssl") else {
        return borrowed::skip("old versions of TLS", "openssl is not installed");
    };
    let handshake = |words: &[&str]| {
        let output = Command::new(&openssl)
            .args(["s_client", "-connect", &gateway.address().to_string()])
            .args(words)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(handshake(&[]), "openssl does not reach it at all");
    for words in [
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        // Without forward secrecy, or without authenticated encryption.
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA"],
        &["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
    ] {
        assert!(!handshake(words), "{words:?}");
    }
}

/// What a scanner of the port finds, with a key of each kind: of all suites that there are, those with
/// forward secrecy and authenticated encryption, and nothing that was ever broken.
#[test]
fn of_all_suites_only_the_good_ones_are_accepted() {
    let ecdsa = Certificate::of(&["localhost"]);
    let gateway = gateway_with(&json!({"tls": files(&ecdsa)}));
    // Each suite that rustls has, alone.
    let known = rustls::crypto::ring::ALL_CIPHER_SUITES;
    let accepted = known.iter().filter(|suite| {
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: vec![**suite],
            ..rustls::crypto::ring::default_provider()
        };
        let config = Certificate::client_by(provider, &[&ecdsa]);
        tls(gateway.address(), "localhost", config).is_ok()
    });
    let mut accepted: Vec<String> = accepted.map(|suite| format!("{:?}", suite.suite())).collect();
    accepted.sort();
    assert_eq!(
        accepted,
        [
            "TLS13_AES_128_GCM_SHA256",
            "TLS13_AES_256_GCM_SHA384",
            "TLS13_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ]
    );
    let Some(openssl) = borrowed::on_the_path("openssl") else {
        return borrowed::skip("suites that rustls does not have", "openssl is not installed");
    };
    let run = |words: &[&str]| {
        let output =
            Command::new(&openssl).args(words).stdin(std::process::Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (file("rsa.pem"), file("rsa.key"));
    let made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        &key,
        "-out",
        &cert,
    ];
    assert!(run(&made).0);
    let rsa = gateway_with(&json!({"tls": {"cert": cert, "key": key}}));
    let all = run(&["ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]).1;
    let all: Vec<&str> = all.trim().split(':').filter(|suite| !suite.starts_with("TLS_")).collect();
    assert!(all.len() > 30, "{all:?}");
    for (gateway, kind) in [(&gateway, "ECDSA"), (&rsa, "RSA")] {
        let address = gateway.address().to_string();
        let speaks = |words: &[&str]| run(&[&["s_client", "-connect", &address], words].concat()).0;
        let accepted: Vec<&str> = all
            .iter()
            .filter(|suite| speaks(&["-tls1_2", "-cipher", &format!("{suite}:@SECLEVEL=0")]))
            .copied()
            .collect();
        let good = |suite: &&str| {
            let end = ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"];
            suite.strip_prefix(&*format!("ECDHE-{kind}-")).is_some_and(|rest| end.contains(&rest))
        };
        assert_eq!(accepted.len(), 3, "{accepted:?}");
        assert!(accepted.iter().all(good), "{accepted:?}");
        for (words, expect) in [
            (&["-tls1_3"][..], true),
            (&["-tls1_2"], true),
            (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], false),
            (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], false),
            // Groups and signatures: only those of today.
            (&["-groups", "X25519"], true),
            (&["-groups", "P-256"], true),
            (&["-groups", "P-224", "-tls1_2"], false),
            (&["-sigalgs", "RSA+SHA1:ECDSA+SHA1", "-cipher", "ALL:@SECLEVEL=0", "-tls1_2"], false),
        ] {
            assert_eq!(speaks(words), expect, "{kind} {words:?}");
        }
        let said = run(&["s_client", "-connect", &address, "-tls1_2"]).1;
        assert!(said.contains("Compression: NONE"), "{said}");
        assert!(said.contains("Extended master secret: yes"), "{said}");
    }
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let one = Certificate::of(&["one.example", "localhost"]);
    let two = Certificate::of(&["two.example", "*.two.example"]);
    let gateway = gateway_with(&json!({"tls": {"certificates": [files(&one), files(&two)]}}));
    let all = [&one, &two];
    assert_eq!(shown(&gateway, "one.example", &all), one.der());
    assert_eq!(shown(&gateway, "two.example", &all), two.der());
    assert_eq!(shown(&gateway, "a.two.example", &all), two.der());
    // Another name, and none: the first.
    let config = Certificate::client(&all, ALL_VERSIONS);
    let error = tls(gateway.address(), "other.example", config).unwrap_err().to_string();
    assert!(error.contains("not valid for name") || error.contains("NotValidForName"), "{error}");
}

#[test]
fn when_certificates_end_is_measured_and_said_before() {
    let (soon, late) =
        (Certificate::until(&["soon.example"], (2001, 2, 3)), Certificate::of(&["localhost"]));
    let gateway = gateway_with(&json!({"tls": {"certificates": [files(&late), files(&soon)]}}));
    let ends = |gateway: &Gateway, certificate: &Certificate| {
        let page = gateway.get("/metrics").expect(200).text();
        let file = certificate.cert.display().to_string();
        let sample = "mooring_certificate_not_after_timestamp_seconds{";
        let own = |line: &&str| line.starts_with(sample) && line.contains(&file);
        let line = page.lines().find(own).unwrap_or_else(|| panic!("{file}: {page}"));
        assert!(line.contains("use=\"listen\""), "{line}");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!((ends(&gateway, &soon) - 981_158_400.0).abs() < 1.0);
    assert!(ends(&gateway, &late) > 4_000_000_000.0);
    gateway.wait_for_log(&format!(
        "the certificate in {} is valid until 2001-02-03",
        soon.cert.display()
    ));
    assert!(!gateway.log().contains(&format!("in {} is valid", late.cert.display())));
    // Both are taken up anew.
    let mut soon = soon;
    soon.renew(&["soon.example"]);
    eventually("the new end is shown", || (ends(&gateway, &soon) > 4e9).then_some(()));
}

/// Both kinds of clients go on while the certificate is renewed again and again: those that connect
/// anew for each call, and one whose connection stays.
#[test]
fn a_renewed_certificate_is_taken_up_and_no_call_fails() {
    let mut certificate = Certificate::of(&["localhost"]);
    let first = certificate.der().to_vec();
    let gateway = gateway_with(&json!({"tls": files(&certificate)}));
    let relay = TlsRelay::start(gateway.address());
    let session = Client::new(relay.address, "/mcp").initialize();
    // On a connection that stays.
    let (mut long, id) = session.start(
        "clock-wait_with_progress",
        json!({"steps": 200, "ms": 50}),
        json!({"progressToken": "p"}),
    );
    let (is_over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // Each request is a connection of its own, with a handshake; any certificate.
                    let stream = insecure(&gateway);
                    let answer = asked(
                        stream,
                        "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                    );
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut counted = 0;
        for _ in 0..3 {
            let before = certificate.der().to_vec();
            certificate.renew(&["localhost"]);
            let now = certificate.der().to_vec();
            eventually("the new certificate is shown", || {
                counted += 1;
                assert_eq!(session.count("counter-count"), counted, "the session goes on");
                let found = insecure(&gateway).conn.peer_certificates().unwrap()[0].to_vec();
                assert!(found == before || found == now);
                (found == now).then_some(())
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(calls.load(Ordering::Relaxed) > 10);
    let last = long.message(|message| message["id"] == id);
    assert!(last["result"].is_object(), "{last}");
    assert_ne!(certificate.der(), first);
    assert_eq!(gateway.log().matches("certificates read anew: localhost").count(), 3);
}

/// A connection whose client takes any certificate.
fn insecure(
    gateway: &Gateway,
) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    tls(gateway.address(), "localhost", Certificate::client_of_all()).unwrap()
}

fn asked(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn files_that_do_not_fit_leave_the_certificate_of_before() {
    let certificate = Certificate::of(&["localhost"]);
    let gateway = gateway_with(&json!({"tls": files(&certificate)}));
    let before = certificate.der().to_vec();
    let key = std::fs::read(&certificate.key).unwrap();
    std::fs::write(&certificate.key, "no key").unwrap();
    let log = gateway.wait_for_log("the certificates of before stay in use");
    assert!(log.contains("has no private key") && !log.contains("no key\n"), "{log}");
    assert_eq!(shown(&gateway, "localhost", &[&certificate]), before);
    std::fs::write(&certificate.key, key).unwrap();
    gateway.wait_for_log("certificates read anew");
    assert_eq!(shown(&gateway, "localhost", &[&certificate]), before);
}

/// The local command line and health checks have no certificate to trust.
#[test]
fn this_machine_may_do_without_tls() {
    let certificate = Certificate::of(&["gateway.example"]);
    let gateway = gateway_with(&json!({"tls": files(&certificate)}));
    assert_eq!(gateway.get("/livez").status, 200);
    let health = Command::new(binaries::mooring())
        .args(["health", "--url", &gateway.url()])
        .output()
        .unwrap();
    assert!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));
    assert_eq!(gateway.client("/mcp").initialize().count("counter-count"), 1);
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_cut_off() {
    let certificate = Certificate::of(&["localhost"]);
    let settings = settings::merged(
        settings_with(&json!({"tls": files(&certificate)})),
        json!({"systemConfig": {"limits": {"headTimeout": 1000}}}),
    );
    let gateway = Setup::new(&settings).start();
    for words in [&b""[..], &[0x16], &[0x16, 3, 1, 2, 0, 1]] {
        let mut stream = std::net::TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(words).unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(20), "{took:?}");
    }
    // What is no handshake ends at once, with an alert.
    let mut stream = std::net::TcpStream::connect(gateway.address()).unwrap();
    stream.write_all(&[0x16, 3, 3, 0, 5, 1, 2, 3, 4, 5]).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    shown(&gateway, "localhost", &[&certificate]);
}

/// What is under way ends, and idle connections do not hold the end up.
#[test]
fn the_planned_end_waits_for_calls_over_tls_and_not_for_the_idle() {
    let certificate = Certificate::of(&["localhost"]);
    let mut gateway = gateway_with(&json!({"tls": files(&certificate)}));
    let relay = TlsRelay::start(gateway.address());
    let session = Client::new(relay.address, "/mcp").initialize();
    let _idle = insecure(&gateway);
    let _silent = std::net::TcpStream::connect(gateway.address()).unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| session.call("clock-sleep", json!({"ms": 1500})));
        eventually("the call is under way", || {
            let metrics = gateway.get("/metrics").text();
            metrics.lines().any(|line| line == "mooring_requests_in_flight 1").then_some(())
        });
        let began = Instant::now();
        assert!(gateway.terminate().success());
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert_eq!(call.join().unwrap()["structuredContent"]["ms"], 1500);
    });
}

#[test]
fn certificates_that_cannot_be_used_refuse_the_start_by_name() {
    let (good, other) = (Certificate::of(&["localhost"]), Certificate::of(&["localhost"]));
    for (listen, word) in [
        (json!({"tls": {"cert": "none.pem", "key": good.key}}), "none.pem"),
        (
            json!({"tls": {"cert": good.cert, "key": other.key}}),
            "is not the key of the certificate",
        ),
        (json!({"tls": {"cert": good.cert}}), "listen.tls.key: is missing"),
        (json!({"tls": {}}), "names no certificate"),
        (json!({"tls": {"certificates": [{"key": good.key}]}}), "cert: is missing"),
        (
            json!({"tls": settings::merged(files(&good), json!({"minVersion": "1.1"}))}),
            "minVersion",
        ),
        (
            json!({"tls": settings::merged(files(&good), json!({"plainFrom": ["0.0.0.0/0"]}))}),
            "without TLS",
        ),
        (
            json!({"tls": settings::merged(files(&good), json!({"plainFrom": ["here"]}))}),
            "plainFrom[0]",
        ),
    ] {
        let settings = settings_with(&listen);
        let refused = Setup::new(&settings).refused();
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        let errors = errors + &String::from_utf8_lossy(&refused.stdout);
        assert!(errors.contains(word), "{listen}: {errors}");
        let checked = Setup::new(&settings).run(&["check"]);
        assert_eq!(checked.status.code(), Some(2), "{listen}");
        assert!(String::from_utf8_lossy(&checked.stderr).contains(word), "{listen}");
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&good.key, open).unwrap();
    let checked = Setup::new(&settings_with(&json!({"tls": files(&good)}))).run(&["check"]);
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stderr).contains("every user can read the key"));
    assert!(
        String::from_utf8_lossy(&checked.stdout).contains("with TLS 1.2 or 1.3, 1 certificate")
    );
}

/// What an operator's own tools make of the files, and what is said of it.
#[test]
fn files_in_other_forms_are_read_or_named_with_what_is_wrong() {
    let certificate = Certificate::of(&["localhost"]);
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (cert, key) = (read(&certificate.cert), read(&certificate.key));
    let other = read(&Certificate::of(&["other"]).cert);
    let with_password = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let of_before = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                     DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (chain, key, expect) in [
        (format!("\u{feff}{cert}"), format!("\u{feff}{key}"), None),
        (cert.replace('\n', "\r\n"), key.replace('\n', "\r\n"), None),
        (format!("{key}{cert}{other}"), format!("{cert}{key}"), None),
        (format!("{other}{cert}"), key.clone(), Some("of a later one; write that one first")),
        (cert.clone(), with_password, Some("a private key with a password")),
        (cert.clone(), of_before.to_owned(), Some("a private key with a password")),
        (cert.clone(), cert.clone(), Some("has no private key")),
        (cert[..200].to_owned(), key.clone(), Some("a block has no line END CERTIFICATE")),
        (cert.replacen("MII", "M!I", 1), key.clone(), Some("not base64")),
    ] {
        let paths = [("chain.pem", &chain), ("own.key", &key)].map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        });
        let files = json!({"cert": paths[0], "key": paths[1]});
        let checked = Setup::new(&settings_with(&json!({"tls": files}))).run(&["check"]);
        let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.success(), expect.is_none(), "{expect:?}: {errors}");
        assert!(errors.contains(expect.unwrap_or("")), "{expect:?}: {errors}");
    }
}

#[test]
fn check_says_which_certificates_have_ended() {
    let (past, late) =
        (Certificate::until(&["past.example"], (2001, 2, 3)), Certificate::of(&["localhost"]));
    let tls = json!({"tls": {"certificates": [files(&late), files(&past)]}});
    let checked = Setup::new(&settings_with(&tls)).run(&["check"]);
    let warnings = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{warnings}");
    let line = format!("the certificate in {} is valid until 2001-02-03", past.cert.display());
    assert!(warnings.contains(&line), "{warnings}");
    assert!(!warnings.contains(&format!("in {} is valid", late.cert.display())), "{warnings}");
}

/// A node with TLS would be called by http otherwise.
#[test]
fn a_node_with_tls_says_how_its_coordinator_reaches_it() {
    let certificate = Certificate::of(&["localhost"]);
    let node = |node: Value, tls: Value| {
        let tls = settings::merged(files(&certificate), tls);
        settings::merged(
            settings::node(1, node, json!({})),
            json!({"systemConfig": {"listen": {"tls": tls}}}),
        )
    };
    let checked = |settings: &Value| Setup::new(settings).run(&["check"]);
    let alone = checked(&node(json!({}), json!({})));
    let errors = String::from_utf8_lossy(&alone.stderr);
    assert!(!alone.status.success() && errors.contains("advertiseUrl"), "{errors}");
    for (own, tls) in [
        (json!({"advertiseUrl": "https://node.example:3000"}), json!({})),
        (json!({}), json!({"plainFrom": ["10.0.0.1"]})),
    ] {
        assert!(checked(&node(own, tls)).status.success());
    }
}
