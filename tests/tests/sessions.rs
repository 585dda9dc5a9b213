//! A session from `initialize` to DELETE, on a gateway without a cluster.

use mooring_tests::{Gateway, servers, settings};
use serde_json::json;

#[test]
fn a_session_keeps_the_state_of_its_server() {
    let gateway =
        Gateway::start_with(&settings::standalone(json!({"counter": servers::counter()})));
    let session = gateway.client("/mcp").initialize();
    assert_eq!([session.count("counter-count"), session.count("counter-count")], [1, 2]);
}
