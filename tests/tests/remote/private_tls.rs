//! Remote servers whose certificate comes from a private authority, and those that want one of the
//! gateway's.

use mooring_tests::{Certificate, Front, Gateway, OddServer, Setup, Way, eventually, settings};
use serde_json::{Value, json};

use crate::remote::upstreams::{SCOPES, ask, text};

/// The transports behind a URL.
const WAYS: [Way; 2] = [Way::Http, Way::Sse];

/// A server at 127.0.0.1 with this certificate, which lets in these clients.
fn far(way: Way, own: &Certificate, clients: &[&Certificate]) -> OddServer {
    OddServer::guarded(way, Some(own.server(clients)), |_, out| Some(out))
}

fn own() -> Certificate {
    Certificate::of(&["127.0.0.1"])
}

fn entry(far: &OddServer, tls: &Value) -> Value {
    settings::merged(far.entry(), json!({"tls": tls}))
}

/// The error that a client gets instead of a session.
#[track_caller]
fn refused(gateway: &Gateway) -> String {
    let opened = gateway.client("/mcp/far").try_initialize().json();
    opened["error"]["message"].as_str().unwrap_or_else(|| panic!("{opened}")).to_owned()
}

#[test]
fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let (own, other) = (own(), own());
    for way in WAYS {
        let far = far(way, &own, &[]);
        Front::each(&json!({"far": entry(&far, &json!({"ca": own.cert}))}), &json!({}), |front| {
            for (path, tool) in SCOPES {
                assert_eq!(text(&ask(&front.client(path).initialize(), tool)), "as usual");
            }
        });
        for tls in [Value::Null, json!({"ca": other.cert})] {
            let servers = json!({"far": entry(&far, &tls)});
            let gateway = Gateway::start_with(&settings::standalone(servers));
            let error = refused(&gateway);
            assert!(error.contains("certificate"), "{}: {error}", way.name());
        }
    }
}

#[test]
fn a_name_that_the_certificate_does_not_have_is_not_trusted() {
    let elsewhere = Certificate::of(&["elsewhere.example"]);
    let far = far(Way::Http, &elsewhere, &[]);
    let servers = json!({"far": entry(&far, &json!({"ca": elsewhere.cert}))});
    let gateway = Gateway::start_with(&settings::standalone(servers));
    assert!(refused(&gateway).contains("not valid for name"), "{}", refused(&gateway));
}

#[test]
fn the_certificate_of_the_entry_is_shown_and_a_new_one_is_taken_up() {
    for way in WAYS {
        let (server, next) = (own(), Certificate::of(&["gateway"]));
        let mut client = Certificate::of(&["gateway"]);
        let far = far(way, &server, &[&client, &next]);
        let tls = json!({"ca": server.cert, "cert": client.cert, "key": client.key});
        let shown =
            |far: &OddServer| far.asked().last().and_then(|asked| asked.certificate.clone());
        Front::each(&json!({"far": entry(&far, &tls)}), &json!({}), |front| {
            for (path, tool) in SCOPES {
                assert_eq!(text(&ask(&front.client(path).initialize(), tool)), "as usual");
            }
            assert_eq!(shown(&far).as_deref(), Some(client.der()));
        });
        let without =
            settings::standalone(json!({"far": entry(&far, &json!({"ca": server.cert}))}));
        let before = far.asked().len();
        refused(&Gateway::start_with(&without));
        assert_eq!(far.asked().len(), before, "nothing passes without a certificate");

        let gateway = Gateway::start_with(&settings::standalone(json!({"far": entry(&far, &tls)})));
        let session = gateway.client("/mcp/far").initialize();
        assert_eq!(text(&ask(&session, "ask")), "as usual");
        client.become_like(&next);
        eventually("the new certificate is shown", || {
            assert_eq!(text(&ask(&session, "ask")), "as usual");
            (shown(&far).as_deref() == Some(next.der())).then_some(())
        });
    }
}

#[test]
fn a_file_that_cannot_be_used_stops_its_server_alone() {
    let (server, client) = (own(), Certificate::of(&["gateway"]));
    let far = far(Way::Http, &server, &[&client]);
    let missing = tempfile::tempdir().unwrap();
    let ca = missing.path().join("ca.pem");
    let tls = json!({"ca": ca, "cert": client.cert, "key": client.key});
    let near = OddServer::guarded(Way::Http, None, |_, out| Some(out));
    let servers = json!({"far": entry(&far, &tls), "near": near.entry()});
    let checked = Setup::new(&settings::standalone(servers.clone())).run(&["check"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        told.contains(&format!("mcpServers.far.tls.ca: {}: No such file", ca.display())),
        "{told}"
    );
    let gateway = Gateway::start_with(&settings::standalone(servers));
    assert_eq!(text(&ask(&gateway.client("/mcp/near").initialize(), "ask")), "as usual");
    let error = refused(&gateway);
    assert!(error.contains("misconfigured") && error.contains("ca.pem"), "{error}");
    // Once it is there, the server runs.
    std::fs::copy(&server.cert, &ca).unwrap();
    eventually("the server runs", || {
        gateway.client("/mcp/far").try_initialize().json()["result"].as_object().map(drop)
    });
    for text in [gateway.log(), gateway.get("/api/cluster/instances").text()] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}

#[test]
fn variables_name_authorities_for_all_servers() {
    let own = own();
    let far = far(Way::Http, &own, &[]);
    let servers = settings::standalone(json!({"far": far.entry()}));
    for variable in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        let gateway = Setup::new(&servers).env(variable, own.cert.to_str().unwrap()).start();
        let session = gateway.client("/mcp/far").initialize();
        assert_eq!(text(&ask(&session, "ask")), "as usual", "{variable}");
    }
    let gateway = Setup::new(&servers).env("NODE_EXTRA_CA_CERTS", "/nowhere.pem").start();
    gateway.wait_for_log("NODE_EXTRA_CA_CERTS is not used: /nowhere.pem: No such file");
    assert!(refused(&gateway).contains("certificate"));
}
