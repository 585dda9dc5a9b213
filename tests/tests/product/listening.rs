//! Where a gateway listens by itself, and what it says of open doors.

use mooring_tests::{Setup, servers, settings};
use serde_json::json;

#[test]
fn a_gateway_without_a_key_listens_on_loopback_and_says_how_to_open_it() {
    let settings = settings::standalone(json!({"counter": servers::counter()}));
    let gateway = Setup::new(&settings).env("MOORING_HOST", "").start();
    let log = gateway.log();
    assert!(log.contains(&format!("127.0.0.1:{}", gateway.port())), "{log}");
    assert!(log.contains("MOORING_HOST=0.0.0.0 opens it"), "{log}");
    assert_eq!(gateway.get("/readyz").expect(200).text(), "ok\n");
}

#[test]
fn an_open_door_is_told_before_the_start() {
    let coordinator =
        json!({"systemConfig": {"cluster": {"enabled": true, "mode": "coordinator"}}});
    for (settings, host, says) in [
        (json!({}), "0.0.0.0", &["no key is set"][..]),
        (json!({}), "10.0.0.1", &["no key is set"]),
        (json!({}), "", &[]),
        (coordinator.clone(), "", &["no key is set", "no cluster token is set"]),
        (coordinator, "127.0.0.1", &[]),
    ] {
        let output = Setup::new(&settings).env("MOORING_HOST", host).run(&["check"]);
        let page = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        for sentence in ["no key is set", "no cluster token is set"] {
            assert_eq!(page.contains(sentence), says.contains(&sentence), "{host}: {page}");
        }
    }
}
