//! `subscriptions/listen`: notifications for as long as the client reads them.

use mooring_tests::{Canned, Front, Stateless, servers};
use serde_json::{Value, json};

use super::both;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn listen(client: &Stateless, notifications: Value) -> (mooring_tests::http::Incoming, Value) {
    let (mut stream, id) =
        client.open("subscriptions/listen", json!({"notifications": notifications}));
    let first = stream.event().json();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], id);
    (stream, first["params"]["notifications"].clone())
}

#[test]
fn resources_are_subscribed_to_for_as_long_as_somebody_listens() {
    let resources = json!({"resources": [{"uri": "a://b", "name": "b"}]});
    let server = Canned::new()
        .with_capabilities(json!({"tools": {}, "resources": {"subscribe": true}}))
        .answers("tools/list", mooring_tests::orders::tools())
        .answers("resources/list", resources)
        .answers("resources/subscribe", json!({}))
        .answers("resources/unsubscribe", json!({}));
    let servers = json!({"one": server.entry(), "counter": servers::counter()});
    let front = Front::alone(&servers, &both(&json!(["handle"])));
    front.wait_until_discovered(&["one"]);
    let client = Stateless::new(front.gateway().address(), "/mcp/one");
    let name = client.new_conversation();
    let client = client.conversation(&name);
    let wanted = json!({"resourceSubscriptions": ["a://b", "a://nothing"]});
    let (mut stream, granted) = listen(&client, wanted.clone());
    assert!(granted["resourceSubscriptions"].as_array().unwrap().contains(&json!("a://b")));
    let (other, _) = listen(&client, wanted);
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": "a://b"}});
    let messages = mooring_tests::orders::coded(&[updated]);
    let mut params = json!({"name": "announce", "arguments": {"messages": messages}});
    params["_meta"] = json!({});
    let _ = client.answer("tools/call", params);
    let told = stream.event().json();
    assert_eq!(told["params"]["uri"], "a://b", "{told}");
    drop(other);
    drop(stream);
    server.wait_for("the end of the subscription", |_, told| {
        told["method"] == "resources/unsubscribe" && told["params"]["uri"] == "a://b"
    });
}
