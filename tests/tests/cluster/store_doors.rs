//! How a coordinator gets into Redis: with a password, as a user with few rights, over TLS; and what
//! it says where it cannot.

use std::time::{Duration, Instant};

use mooring_tests::relay::Fault;
use mooring_tests::{
    Gateway, Pair, Port, RedisServer, Relay, Session, Setup, eventually, servers, settings,
    wait_until_store,
};
use serde_json::{Value, json};

const SECRET: (&str, &str) = ("MOORING_SECRET", "a secret that all coordinators have");

fn coordinator(url: &str) -> Setup {
    Setup::new(&settings::coordinator(json!({"store": {"type": "redis", "url": url}})))
}

#[test]
fn a_user_with_the_rights_of_the_documentation_is_enough() {
    let Some(redis) = RedisServer::with_user("a user of Redis", "mooring", "s3cret-word") else {
        return;
    };
    let pair = Pair::over(redis, &json!({}));
    pair.wait_until_store("fresh");
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "x".repeat(5000), "version": "1"},
    });
    for path in ["/mcp/counter", "/mcp"] {
        let tool = if path == "/mcp" { "counter-count" } else { "count" };
        let session = pair.client(0, path).params(params.clone()).initialize();
        assert_eq!(session.count(tool), 1);
        let there = pair.elsewhere(1, path, &session);
        assert_eq!(there.count(tool), 2);
        there.delete().expect(200);
        eventually("the end is heard", || {
            (session.try_request("ping", json!({})).status == 404).then_some(())
        });
    }
    for coordinator in &pair.coordinators {
        let log = coordinator.log();
        assert!(!log.contains("NOPERM") && !log.contains("s3cret-word"), "{log}");
    }
}

#[test]
fn a_wrong_password_is_told_and_sessions_are_served_all_the_same() {
    let Some(redis) = RedisServer::with_password("a password of Redis", "the-right-one") else {
        return;
    };
    let url = format!("redis://:the-wrong-one@127.0.0.1:{}", redis.port());
    let gateway = coordinator(&url).env(SECRET.0, SECRET.1).start();
    wait_until_store(&gateway, "stale since");
    let ready = gateway.get("/readyz").expect(200).text();
    assert!(ready.contains("WRONGPASS") || ready.contains("Password"), "{ready}");
    assert!(!ready.contains("the-wrong-one") && !gateway.log().contains("the-wrong-one"));
}

#[test]
fn tls_is_spoken_with_whom_the_machine_trusts() {
    let Some(redis) = RedisServer::with_tls("Redis over TLS", "mooring", "s3cret-word") else {
        return;
    };
    let ca = redis.authority().display().to_string();
    let trusting = || {
        let setup = coordinator(&redis.url()).env(SECRET.0, SECRET.1).env("SSL_CERT_FILE", &ca);
        setup.start()
    };
    let pair = [trusting(), trusting()];
    pair.iter().for_each(|coordinator| wait_until_store(coordinator, "fresh"));
    let counter = json!({"counter": servers::counter_named("a")});
    let _node = Pair::node(&pair[0].url(), "a", counter);
    for coordinator in &pair {
        eventually("the node is known to both", || {
            let nodes = coordinator.data("/api/cluster/nodes?active=true");
            (nodes.as_array()?.len() == 1).then_some(())
        });
    }
    let session = pair[0].client("/mcp/counter").initialize();
    assert_eq!(session.count("count"), 1);
    assert_eq!(Session::resumed(&pair[1].client("/mcp/counter"), &session.id).count("count"), 2);
    let stranger = coordinator(&redis.url()).env(SECRET.0, SECRET.1).start();
    wait_until_store(&stranger, "stale since");
    let ready = stranger.get("/readyz").expect(200).text();
    assert!(ready.to_lowercase().contains("certificate"), "{ready}");
    // And nothing is said in the clear to one that speaks TLS, nor the other way round.
    let plain = redis.url().replace("rediss://", "redis://");
    let plain = coordinator(&plain).env(SECRET.0, SECRET.1).start();
    wait_until_store(&plain, "stale since");
}

#[test]
fn the_variable_says_where_redis_is() {
    let Some(redis) = RedisServer::start("MOORING_REDIS_URL") else { return };
    let with_variable = Setup::new(&settings::coordinator(json!({})))
        .env("MOORING_REDIS_URL", &redis.url())
        .start();
    wait_until_store(&with_variable, "fresh");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, format!("{}\n", redis.url())).unwrap();
    let with_file = Setup::new(&settings::coordinator(json!({})))
        .env("MOORING_REDIS_URL_FILE", &file.display().to_string())
        .start();
    wait_until_store(&with_file, "fresh");
}

fn refused(store: &Value) -> String {
    let setup = Setup::new(&settings::coordinator(json!({"store": store})));
    let output = setup.run(&["check"]);
    assert!(!output.status.success(), "{store}");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn what_is_no_store_is_refused_by_check() {
    for (store, word) in [
        (json!({"type": "etcd"}), "etcd"),
        (json!({"type": "redis"}), "url"),
        (json!({"type": "redis", "url": "http://r"}), "redis://"),
        (json!({"type": "redis", "url": "redis://:hunter2@h:99999"}), "port"),
        (json!({"type": "redis", "url": "redis://h", "prefix": "a b*"}), "prefix"),
        (json!("postgres://x"), "store"),
        (json!(7), "store"),
    ] {
        let text = refused(&store);
        assert!(text.contains(word) && text.contains("store"), "{store}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// Servers that are not there, or are there and say nothing.
fn silent() -> Vec<(String, Box<dyn std::any::Any>)> {
    let (port, nobody) = (Port::reserve(), Port::reserve());
    let frozen = Relay::to(nobody.number());
    frozen.fault(Fault::Frozen);
    let silent = format!("redis://127.0.0.1:{}", frozen.address().port());
    let nowhere = format!("redis://127.0.0.1:{}", port.number());
    vec![(nowhere, Box::new(port)), (silent, Box::new((frozen, nobody)))]
}

#[test]
fn a_start_does_not_wait_for_redis() {
    for (url, _kept) in silent() {
        let begun = Instant::now();
        let gateway = coordinator(&url).env(SECRET.0, SECRET.1).start();
        assert!(begun.elapsed() < Duration::from_secs(5), "{url}: {:?}", begun.elapsed());
        wait_until_store(&gateway, "stale since");
        gateway.get("/readyz").expect(200);
    }
}

#[test]
fn a_start_that_needs_the_common_secret_says_so_and_ends() {
    for (url, _kept) in silent() {
        let begun = Instant::now();
        let output = coordinator(&url).refused();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("cluster.store") && text.contains("MOORING_SECRET"), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{url}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_start_of_before_that_has_the_common_secret_needs_no_redis() {
    let Some(mut redis) = RedisServer::start("the common secret is kept") else { return };
    let mut gateway: Gateway = coordinator(&redis.url()).start();
    wait_until_store(&gateway, "fresh");
    redis.kill9();
    gateway.kill9();
    gateway.start();
    wait_until_store(&gateway, "stale since");
    gateway.get("/readyz").expect(200);
}
