//! A file is judged on reload as on start: what would not start is refused, for the same reasons, and
//! what starts with a warning is applied with the same warning.

use mooring_tests::{Gateway, Setup, servers, settings};
use serde_json::{Value, json};

fn good() -> Value {
    settings::standalone(json!({"counter": servers::counter()}))
}

/// Values of the wrong type, or out of bounds, in all parts of the file.
fn odd_values() -> Vec<Value> {
    let limits = |key: &str, value: Value| json!({"systemConfig": {"limits": {key: value}}});
    let cluster = |key: &str, value: Value| json!({"systemConfig": {"cluster": {key: value}}});
    vec![
        limits("pageSize", json!("many")),
        limits("pageSize", json!(-1)),
        limits("pageSize", json!(0)),
        limits("childrenPerServer", json!([3])),
        limits("noSuchLimit", json!(1)),
        json!({"systemConfig": {"limits": 7}}),
        json!({"systemConfig": []}),
        cluster("drainDeadline", json!("soon")),
        cluster("stickySession", json!({"strategy": 5})),
        cluster("stickySession", json!({"strategy": "no-such"})),
        json!({"groups": {"name": "g"}}),
        json!({"groups": [{"name": "g", "servers": ["counter", 3]}]}),
        json!({"groups": [{"name": 3, "servers": ["counter"]}]}),
        json!({"bearerKeys": "open"}),
        json!({"bearerKeys": [{"name": "k", "token": 5, "enabled": true, "accessType": "all"}]}),
        json!({"unknownSection": {"a": 1}}),
    ]
}

#[test]
fn a_value_of_the_wrong_type_is_judged_on_reload_as_on_start() {
    let gateway = Gateway::start_with(&good());
    let mut refused = 0;
    for odd in odd_values() {
        let file = settings::merged(good(), odd.clone());
        let check = Setup::new(&file).run(&["check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        gateway.reload(&good());
        let report = gateway.reload(&file);
        let is_refused = report["outcome"] == "refused";
        assert_eq!(is_refused, !check.status.success(), "{odd}: {report}\n{said}");
        for reason in report["reasons"].as_array().unwrap() {
            refused += 1;
            // The file has another folder.
            let reason = reason.as_str().unwrap();
            let told = reason.split("mcp_settings.json").last().unwrap().trim_start_matches(':');
            assert!(said.contains(told.trim()), "{odd}: {reason:?} is not in\n{said}");
        }
    }
    assert!(refused >= 5, "{refused}");
    assert_eq!(gateway.client("/mcp/counter").initialize().count("count"), 1);
}
