//! TLS between coordinator and nodes: certificates on both sides, which are judged in both directions.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mooring_tests::{
    Authority, Cluster, Gateway, Identity, Names, Request, Setup, binaries, client_showing,
    eventually, servers, settings, tls,
};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

const ALPN: &str = "mooring-cluster/1";

fn coordinator(tls: &Value) -> Value {
    settings::coordinator(json!({"tls": tls}))
}

/// A node with a counter that names it.
fn node(coordinator: &Gateway, id: &str, tls: &Value) -> Value {
    let url = format!("https://127.0.0.1:{}", coordinator.port());
    let own = json!({"id": id, "coordinatorUrl": url});
    let node = settings::node(0, own, json!({"counter": servers::counter_named(id)}));
    settings::roomy(settings::merged(node, json!({"systemConfig": {"cluster": {"tls": tls}}})))
}

/// A coordinator and nodes of these ids, with good certificates.
fn cluster_of(authority: &Authority, ids: &[&str]) -> Cluster {
    let own = authority.certify("mooring:coordinator");
    let coordinator = Gateway::start_with(&coordinator(&authority.settings(&own)));
    let start = |id: &&str| {
        let own = authority.certify(&format!("mooring:node:{id}"));
        Gateway::start_with(&node(&coordinator, id, &authority.settings(&own)))
    };
    let nodes = ids.iter().map(start).collect();
    let cluster = Cluster { coordinator, nodes };
    cluster.wait_for_active(ids.len());
    cluster
}

fn command(args: &[&str]) -> Output {
    Command::new(binaries::mooring()).arg("cluster").args(args).output().expect("mooring runs")
}

#[track_caller]
fn done(args: &[&str]) -> String {
    let output = command(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_command_makes_what_a_cluster_needs_and_every_scope_serves() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("certificates");
    let path = dir.to_str().unwrap();
    let said = done(&["init", path, "a", "b"]);
    assert!(said.contains("valid until") && said.contains("keep it here"), "{said}");
    for (file, mode) in
        [("ca.key", 0o600), ("coordinator.key", 0o600), ("node-a.key", 0o600), ("ca.pem", 0o644)]
    {
        let found = std::fs::metadata(dir.join(file)).unwrap();
        assert_eq!(found.mode() & 0o777, mode, "{file}");
    }
    assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    let files = |stem: &str| {
        let file = |name: String| dir.join(name);
        json!({
            "ca": file("ca.pem".into()), "revoked": file("revoked.pem".into()),
            "cert": file(format!("{stem}.pem")), "key": file(format!("{stem}.key")),
        })
    };
    let checked = Setup::new(&coordinator(&files("coordinator"))).run(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("cluster TLS"));
    let coordinator = Gateway::start_with(&coordinator(&files("coordinator")));
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    for id in ["a", "b"] {
        let settings = node(&cluster.coordinator, id, &files(&format!("node-{id}")));
        cluster.nodes.push(Gateway::start_with(&settings));
    }
    for node in cluster.wait_for_active(2) {
        assert!(node["url"].as_str().unwrap().starts_with("https://"), "{node}");
    }
    let session = cluster.client("/mcp").initialize();
    assert_eq!([session.count("counter-count"), session.count("counter-count")], [1, 2]);
    let session = cluster.session_at("b");
    assert_eq!(session.count("count"), 1);
    assert_eq!(session.delete().status, 200);
    // The log of a node's server comes over the same links.
    let logs = cluster.coordinator.get("/api/cluster/instances").expect(200).json();
    assert!(logs["data"]["instances"].is_array(), "{logs}");
}

#[test]
fn a_folder_has_one_authority_and_its_mistakes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    for (args, word) in [
        (&["certificate", "a", "--dir", dir][..], "mooring cluster init"),
        (&["revoke", "a", "--dir", dir], "mooring cluster init"),
        (&["init", dir, "a b"], "not allowed here"),
        (&["init", dir, "a", "b", "a"], "a would get two certificates"),
        (&["init", dir, "coordinator"], "coordinator would get two certificates"),
    ] {
        let output = command(args);
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(word), "{errors}");
    }
    done(&["init", dir]);
    let again = command(&["init", dir]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("there already"));
    let unknown = command(&["revoke", "a", "--dir", dir]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no certificate that is good"));
    let made = done(&["certificate", "a", "--dir", dir, "--days", "7"]);
    assert!(made.contains("node-a.pem") && made.contains("\"id\": \"a\""), "{made}");
    let more = done(&["certificate", "a", "--dir", dir]);
    assert!(more.contains("stay good until they expire"), "{more}");
    assert!(done(&["revoke", "a", "--dir", dir]).contains("revoked 2 of a"));
    let listed = done(&["certificates", "--dir", dir]);
    assert_eq!(listed.matches("mooring:node:a").count(), 2, "{listed}");
    assert_eq!(listed.matches("revoked 2").count(), 2, "{listed}");
    assert_eq!(listed.matches("good").count(), 1, "the coordinator's: {listed}");
    std::fs::write(folder.path().join("authority.json"), "{").unwrap();
    assert_eq!(command(&["certificates", "--dir", dir]).status.code(), Some(2));
}

/// Whose certificate is wrong, in which way.
fn wrong(authority: &Authority, foreign: &Authority, uri: &str) -> Vec<(Identity, &'static str)> {
    let names = Names::uri(uri);
    let client = [ExtendedKeyUsagePurpose::ServerAuth];
    vec![
        (authority.made(&names, (-9, -1), &[]), "has expired"),
        (authority.made(&names, (2, 9), &[]), "not valid before"),
        (foreign.certify(uri), "another authority"),
        (authority.made(&names, (-1, 30), &client), "not made for this use"),
    ]
}

#[test]
fn a_node_whose_certificate_is_wrong_stays_out_and_both_sides_say_why() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let own = authority.certify("mooring:coordinator");
    let revoked = authority.certify("mooring:node:n");
    let list = authority.revoked(&[&revoked]);
    let with_list = settings::merged(authority.settings(&own), json!({"revoked": list}));
    let mut all = wrong(&authority, &foreign, "mooring:node:n");
    all.push((revoked, "is revoked"));
    for (identity, why) in all {
        let coordinator = Gateway::start_with(&coordinator(&with_list));
        // It trusts the coordinator whatever its own certificate is.
        let tls = authority.settings(&identity);
        let node = Gateway::start_with(&node(&coordinator, "n", &tls));
        let line = coordinator.wait_for_log("a process of the cluster at");
        assert!(line.contains("the certificate of mooring:node:n"), "{line}");
        assert!(line.contains(why), "{why}: {line}");
        let line = node.wait_for_log("not registered with");
        assert!(line.contains("it refuses this process's certificate"), "{why}: {line}");
        assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]), "{why}");
    }
}

#[test]
fn a_coordinator_whose_certificate_is_wrong_is_not_registered_with() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let own = authority.certify("mooring:node:n");
    let revoked = authority.certify("mooring:coordinator");
    let list = authority.revoked(&[&revoked]);
    let with_list = settings::merged(authority.settings(&own), json!({"revoked": list}));
    let mut all = wrong(&authority, &foreign, "mooring:coordinator");
    all.push((revoked, "is revoked"));
    for (identity, why) in all {
        let coordinator = Gateway::start_with(&coordinator(&authority.settings(&identity)));
        let node = Gateway::start_with(&node(&coordinator, "n", &with_list));
        let line = node.wait_for_log("not registered with");
        assert!(line.contains("the certificate of the process there"), "{why}: {line}");
        assert!(line.contains(why), "{why}: {line}");
        assert_eq!(coordinator.data("/api/cluster/nodes"), json!([]), "{why}");
    }
}

/// Certificates that are good, and those of another process.
#[test]
fn a_process_is_what_its_certificate_names_and_nothing_else() {
    let authority = Authority::new();
    let cluster = cluster_of(&authority, &["a"]);
    let (b, stranger) = (
        authority.certify("mooring:node:b"),
        authority.made(
            &Names {
                hosts: vec!["a".into()],
                common_name: Some("mooring:node:a".into()),
                ..Names::default()
            },
            (-1, 30),
            &[],
        ),
    );
    // At the start: the certificate is not this process's.
    for settings in [
        coordinator(&authority.settings(&b)),
        node(&cluster.coordinator, "c", &authority.settings(&b)),
        node(&cluster.coordinator, "a", &authority.settings(&stranger)),
    ] {
        let refused = Setup::new(&settings).refused();
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(errors.contains("is the certificate of"), "{errors}");
        let checked = Setup::new(&settings).run(&["check"]);
        assert_eq!(checked.status.code(), Some(2));
    }
    // A node that registers as another.
    let registration = json!({
        "id": "a", "name": "A", "url": "https://127.0.0.1:1", "servers": [],
        "incarnation": "0123456789abcdef0123456789abcdef",
        "secret": "0123456789abcdef0123456789abcdef",
    });
    let answer = posted(cluster.coordinator.address(), &b, "/api/cluster/register", &registration);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("mooring:node:b") && answer.contains("node a"), "{answer}");
    // A node that calls another as its coordinator does.
    let link = "GET /cluster/link HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\n\
                Upgrade: mooring-cluster\r\n\r\n";
    let answer = said(cluster.nodes[0].address(), &b, link);
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("certificate"), "{answer}");
    cluster.nodes[0].wait_for_log("only a coordinator may call a node");
    // A certificate of the same authority without a name of the cluster.
    let refused =
        tls(cluster.nodes[0].address(), "localhost", client_showing(Some(&stranger), &[ALPN]))
            .and_then(|mut stream| {
                stream.write_all(link.as_bytes())?;
                stream.read(&mut [0; 16])
            });
    assert!(refused.is_err(), "{refused:?}");
    // The cluster goes on.
    assert_eq!(cluster.client("/mcp/counter").initialize().count("count"), 1);
}

fn said(to: SocketAddr, identity: &Identity, request: &str) -> String {
    let mut stream = tls(to, "localhost", client_showing(Some(identity), &[ALPN])).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
            });
            if length.is_none_or(|length| body.len() >= length) {
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn posted(to: SocketAddr, identity: &Identity, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    said(to, identity, &(head + &body))
}

/// Pods share a certificate, and make their ids up.
#[test]
fn nodes_may_share_a_certificate_and_be_none_but_nodes_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let path = dir.to_str().unwrap();
    done(&["init", path, "*", "pool-*"]);
    let files = |stem: &str| {
        json!({
            "ca": dir.join("ca.pem"), "revoked": dir.join("revoked.pem"),
            "cert": dir.join(format!("{stem}.pem")), "key": dir.join(format!("{stem}.key")),
        })
    };
    let coordinator = Gateway::start_with(&coordinator(&files("coordinator")));
    let url = format!("https://127.0.0.1:{}", coordinator.port());
    let unnamed = settings::merged(
        settings::node(
            0,
            json!({"coordinatorUrl": url}),
            json!({"counter": servers::counter_named("u")}),
        ),
        json!({"systemConfig": {"cluster": {"tls": files("nodes")}}}),
    );
    let nodes = vec![
        Gateway::start_with(&unnamed),
        Gateway::start_with(&node(&coordinator, "pool-1", &files("nodes-pool-"))),
    ];
    let cluster = Cluster { coordinator, nodes };
    cluster.wait_for_active(2);
    assert_eq!(cluster.session_at("pool-1").count("count"), 1);
    for settings in [
        node(&cluster.coordinator, "other", &files("nodes-pool-")),
        self::coordinator(&files("nodes")),
    ] {
        let refused = Setup::new(&settings).refused();
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(errors.contains("is the certificate of mooring:node:"), "{errors}");
    }
}

/// What answers is a process of the cluster, and not a coordinator.
#[test]
fn a_node_does_not_register_with_another_node() {
    let authority = Authority::new();
    let (own, other) = (authority.certify("mooring:node:n"), authority.certify("mooring:node:x"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, read) = (Arc::clone(&seen), Arc::clone(&bytes));
    std::thread::spawn(move || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![other.der.clone()], other.private.clone_key())
            .unwrap();
        config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
        let config = Arc::new(config);
        for stream in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            counted.fetch_add(1, Ordering::Relaxed);
            if let Ok(count) = stream.read(&mut [0; 64]) {
                read.fetch_add(count, Ordering::Relaxed);
            }
        }
    });
    let url = format!("https://127.0.0.1:{port}");
    let settings = settings::node(0, json!({"id": "n", "coordinatorUrl": url}), json!({}));
    let tls = json!({"systemConfig": {"cluster": {"tls": authority.settings(&own)}}});
    let node = Gateway::start_with(&settings::merged(settings, tls));
    let line = node.wait_for_log("not registered with");
    assert!(line.contains("that of mooring:node:x, and not of mooring:coordinator"), "{line}");
    assert!(seen.load(Ordering::Relaxed) > 0);
    assert_eq!(bytes.load(Ordering::Relaxed), 0, "nothing is said to it");
}

#[test]
fn a_certificate_that_is_revoked_while_it_is_used_ends_its_links_and_sessions_go_on_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let path = dir.to_str().unwrap();
    done(&["init", path, "a", "b"]);
    let files = |stem: &str| {
        json!({
            "ca": dir.join("ca.pem"), "revoked": dir.join("revoked.pem"),
            "cert": dir.join(format!("{stem}.pem")), "key": dir.join(format!("{stem}.key")),
        })
    };
    let coordinator = Gateway::start_with(&coordinator(&files("coordinator")));
    let start =
        |id: &str| Gateway::start_with(&node(&coordinator, id, &files(&format!("node-{id}"))));
    let nodes = vec![start("a"), start("b")];
    let cluster = Cluster { coordinator, nodes };
    cluster.wait_for_active(2);
    let session = cluster.session_at("a");
    assert_eq!(session.count("count"), 1);
    done(&["revoke", "a", "--dir", path]);
    let line = cluster.coordinator.wait_for_log("a process of the cluster at");
    assert!(line.contains("mooring:node:a is revoked"), "{line}");
    eventually("the session is at the other node", || {
        let answer = session.try_request("tools/call", json!({"name": "whoami"}));
        let answer = answer.messages().pop()?;
        (answer["result"]["structuredContent"]["name"] == "b").then_some(())
    });
    cluster.nodes[0].wait_for_log("it refuses this process's certificate, which is revoked");
    // With another certificate it comes back without a restart.
    done(&["certificate", "a", "--dir", path]);
    cluster.wait_for_active(2);
}

#[test]
fn certificates_are_renewed_without_a_failed_call() {
    let authority = Authority::new();
    let mut own = [authority.certify("mooring:coordinator"), authority.certify("mooring:node:a")];
    let coordinator = Gateway::start_with(&coordinator(&authority.settings(&own[0])));
    let node = Gateway::start_with(&node(&coordinator, "a", &authority.settings(&own[1])));
    let cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    let (is_over, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for path in ["/mcp/counter", "/mcp"] {
            let (is_over, calls, cluster) = (&is_over, &calls, &cluster);
            scope.spawn(move || {
                let session = cluster.client(path).initialize();
                let tool = if path == "/mcp" { "counter-count" } else { "count" };
                let mut counted = 0;
                while !is_over.load(Ordering::Relaxed) {
                    counted += 1;
                    assert_eq!(session.count(tool), counted);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..2 {
            for (at, uri) in ["mooring:coordinator", "mooring:node:a"].into_iter().enumerate() {
                own[at].become_like(&authority.certify(uri));
            }
            let probe = authority.certify("mooring:coordinator");
            for (identity, gateway) in own.iter().zip([&cluster.coordinator, &cluster.nodes[0]]) {
                eventually("the new certificate is shown", || {
                    let config = client_showing(Some(&probe), &[ALPN]);
                    let stream = tls(gateway.address(), "localhost", config).ok()?;
                    (stream.conn.peer_certificates()?[0] == identity.der).then_some(())
                });
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(calls.load(Ordering::Relaxed) > 10);
    for gateway in [&cluster.coordinator, &cluster.nodes[0]] {
        assert!(gateway.log().contains("the cluster's certificates read anew"));
        assert!(!gateway.log().contains("was refused"), "{}", gateway.log());
    }
    // What does not fit leaves the certificate of before.
    std::fs::write(&own[1].key, "no key").unwrap();
    cluster.nodes[0].wait_for_log("the cluster's certificates of before stay in use");
    assert_eq!(cluster.client("/mcp/counter").initialize().count("count"), 1);
}

#[test]
fn without_tls_a_node_stays_out_and_is_told_what_to_set() {
    let authority = Authority::new();
    let own = authority.certify("mooring:coordinator");
    let coordinator = Gateway::start_with(&coordinator(&authority.settings(&own)));
    let plain = settings::node(coordinator.port(), json!({"id": "n"}), json!({}));
    let node = Gateway::start_with(&plain);
    let line = node.wait_for_log("not registered with");
    assert!(line.contains("over TLS alone") && line.contains("cluster.tls"), "{line}");
    // And a coordinator without TLS, or with that for its clients alone.
    let own = authority.certify("mooring:node:m");
    let certificate = mooring_tests::Certificate::of(&["localhost"]);
    let listen = json!({"tls": {"cert": certificate.cert, "key": certificate.key}});
    for listen in [json!({}), listen] {
        let settings = settings::merged(
            settings::coordinator(json!({})),
            json!({"systemConfig": {"listen": listen}}),
        );
        let coordinator = Gateway::start_with(&settings);
        let node = Gateway::start_with(&self::node(&coordinator, "m", &authority.settings(&own)));
        let line = node.wait_for_log("not registered with");
        assert!(line.contains("set cluster.tls there"), "{line}");
    }
    // Its own cluster's endpoints are not served to plain callers either, and clients are.
    let cluster = cluster_of(&authority, &["a"]);
    let node = &cluster.nodes[0];
    let link = Request::get("/cluster/link").header("Upgrade", "mooring-cluster");
    assert_eq!(link.send(node.address()).status, 403);
    node.wait_for_log("the coordinator calls without TLS");
    assert_eq!(node.get("/livez").status, 200);
}

#[test]
fn a_cluster_changes_over_process_by_process() {
    let authority = Authority::new();
    let optional = |identity: &Identity| {
        settings::merged(authority.settings(identity), json!({"optional": true}))
    };
    let mut coordinator = Gateway::start_with(&settings::coordinator(json!({})));
    let plain = |id: &str| {
        let servers = json!({"counter": servers::counter_named(id)});
        settings::roomy(settings::node(coordinator.port(), json!({"id": id}), servers))
    };
    let (a, b) = (plain("a"), plain("b"));
    let mut nodes = [Gateway::start_with(&a), Gateway::start_with(&b)];
    let active = |coordinator: &Gateway, secure: usize| {
        eventually("both nodes are there", || {
            let nodes = coordinator.data("/api/cluster/nodes?active=true");
            let urls: Vec<&str> =
                nodes.as_array()?.iter().map(|node| node["url"].as_str().unwrap()).collect();
            let count = urls.iter().filter(|url| url.starts_with("https://")).count();
            (urls.len() == 2 && count == secure).then_some(())
        });
    };
    active(&coordinator, 0);
    let of_coordinator = authority.certify("mooring:coordinator");
    coordinator.rewrite(&self::coordinator(&optional(&of_coordinator)));
    coordinator.terminate();
    coordinator.start();
    active(&coordinator, 0);
    for (at, id) in ["a", "b"].into_iter().enumerate() {
        let own = authority.certify(&format!("mooring:node:{id}"));
        nodes[at].rewrite(&node(&coordinator, id, &authority.settings(&own)));
        nodes[at].terminate();
        nodes[at].start();
        active(&coordinator, at + 1);
        assert_eq!(coordinator.client("/mcp/counter").initialize().count("count"), 1);
    }
    coordinator.rewrite(&self::coordinator(&authority.settings(&of_coordinator)));
    coordinator.terminate();
    coordinator.start();
    active(&coordinator, 2);
    assert_eq!(coordinator.client("/mcp/counter").initialize().count("count"), 1);
}

/// Clients come by their own TLS, processes of the cluster by theirs, on one port.
#[test]
fn one_port_has_the_tls_of_clients_and_that_of_the_cluster() {
    let authority = Authority::new();
    let own = authority.certify("mooring:coordinator");
    let certificate = mooring_tests::Certificate::of(&["localhost"]);
    let listen = json!({"tls": {"cert": certificate.cert, "key": certificate.key}});
    let settings = settings::merged(
        coordinator(&authority.settings(&own)),
        json!({"systemConfig": {"listen": listen}}),
    );
    let coordinator = Gateway::start_with(&settings);
    let of_node = authority.certify("mooring:node:a");
    let node = Gateway::start_with(&node(&coordinator, "a", &authority.settings(&of_node)));
    let cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    let relay = mooring_tests::TlsRelay::start(cluster.coordinator.address());
    let session = mooring_tests::Client::new(relay.address, "/mcp/counter").initialize();
    assert_eq!([session.count("count"), session.count("count")], [1, 2]);
    let shown = |alpn: &[&str]| {
        let config = client_showing(Some(&of_node), alpn);
        let stream = tls(cluster.coordinator.address(), "localhost", config).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(shown(&[ALPN]), own.der.to_vec());
    assert_eq!(shown(&["http/1.1"]), certificate.der());
    assert_eq!(shown(&[]), certificate.der());
}

#[test]
fn settings_that_do_not_fit_together_refuse_the_start() {
    let authority = Authority::new();
    let own = authority.certify("mooring:node:n");
    let tls = authority.settings(&own);
    let base = |node: Value, tls: &Value| {
        settings::merged(
            settings::node(1, node, json!({})),
            json!({"systemConfig": {"cluster": {"tls": tls}}}),
        )
    };
    let secure = json!({"id": "n", "coordinatorUrl": "https://127.0.0.1:1"});
    let missing = |name: &str| {
        let mut tls = tls.clone();
        tls.as_object_mut().unwrap().remove(name);
        tls
    };
    let with = |name: &str, path: &Path| settings::merged(tls.clone(), json!({name: path}));
    for (settings, words) in [
        (base(secure.clone(), &missing("ca")), "cluster.tls.ca: is missing"),
        (base(secure.clone(), &missing("key")), "cluster.tls.key: is missing"),
        (base(json!({"id": "n"}), &tls), "coordinatorUrl: has no TLS"),
        (
            base(settings::merged(secure.clone(), json!({"advertiseUrl": "http://n:1"})), &tls),
            "advertiseUrl: has no TLS",
        ),
        (base(secure.clone(), &with("ca", &own.key)), "has no certificate"),
        (base(secure.clone(), &with("key", &own.cert)), "has no private key"),
        (base(secure.clone(), &with("revoked", &own.cert)), "has no list of revoked"),
        (base(secure.clone(), &with("cert", Path::new("/no/such"))), "/no/such"),
    ] {
        let checked = Setup::new(&settings).run(&["check"]);
        let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(2), "{words}: {errors}");
        assert!(errors.contains(words), "{words}: {errors}");
    }
    // Variables go before the file, and a certificate that is about to expire is warned of.
    let soon = authority.made(&Names::uri("mooring:node:n"), (-1, 5), &[]);
    let checked = Setup::new(&base(secure, &with("cert", Path::new("/no/such"))))
        .env("MOORING_CLUSTER_TLS_CERT", soon.cert.to_str().unwrap())
        .env("MOORING_CLUSTER_TLS_KEY", soon.key.to_str().unwrap())
        .run(&["check"]);
    let errors = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{errors}");
    assert!(errors.contains("expires at"), "{errors}");
}
