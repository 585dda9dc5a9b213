//! Attempts to reach what belongs to another client, conversation, scope or request.

use std::process::Command;

use mooring_tests::running::Running;
use mooring_tests::{Gateway, Stateless, binaries, servers, settings};
use serde_json::{Value, json};

use super::asking;

/// The fixture over HTTP, which asks its client, too.
pub struct HttpFixture {
    port: u16,
    _process: Running,
}

impl HttpFixture {
    #[track_caller]
    pub fn start() -> Self {
        let mut command = Command::new(binaries::program("mooring-conformance-server"));
        let mut process = Running::start(command.args(["http", "--port", "0"]));
        Self { port: process.port(), _process: process }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }
}

const KEYS: [&str; 2] = ["0123456789abcdef-one", "0123456789abcdef-two"];

fn gateway() -> Gateway {
    let servers = json!({"counter": servers::counter(), "fixture": asking(), "twin": asking()});
    let keys = json!({
        "bearerKeys": [
            {"name": "one", "token": KEYS[0], "accessType": "all"},
            {"name": "two", "token": KEYS[1], "accessType": "all"},
        ],
        "systemConfig": {"eras": ["legacy", "modern"]},
    });
    Gateway::start_with(&settings::merged(settings::standalone(servers), keys))
}

fn client(gateway: &Gateway, path: &str, key: &str) -> Stateless {
    Stateless::new(gateway.address(), path)
        .header("Authorization", &format!("Bearer {key}"))
        .able(json!({"elicitation": {}}))
}

#[track_caller]
fn refused(client: &Stateless, params: &Value) {
    let answer = client.answer("tools/call", params.clone());
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(answer.get("result").is_none(), "{answer}");
}

#[test]
fn a_conversation_is_its_clients_alone() {
    let gateway = gateway();
    let mine = client(&gateway, "/mcp/counter", KEYS[0]);
    let name = mine.new_conversation();
    let mine = mine.conversation(&name);
    assert_eq!(mine.count("count"), 1);
    let call = json!({"name": "count", "arguments": {}});
    refused(&client(&gateway, "/mcp/counter", KEYS[1]).conversation(&name), &call);
    let elsewhere = json!({"name": "counter-count", "arguments": {}});
    refused(&client(&gateway, "/mcp", KEYS[0]).conversation(&name), &elsewhere);
    let session =
        gateway.client("/mcp/counter").header("Authorization", &format!("Bearer {}", KEYS[0]));
    let session = session.initialize().id;
    let changed =
        format!("{}{}", &name[..name.len() - 1], if name.ends_with('A') { 'B' } else { 'A' });
    for forged in ["", "m1", "x", &session, &changed, &format!("{name}A"), &"m1".repeat(2000)] {
        refused(&client(&gateway, "/mcp/counter", KEYS[0]).conversation(forged), &call);
    }
    assert_eq!(mine.count("count"), 2, "nobody else has counted");
}

#[test]
fn a_request_that_waits_is_its_clients_alone() {
    let gateway = gateway();
    let tool = "test_input_required_result_elicitation";
    let mine = client(&gateway, "/mcp/fixture", KEYS[0]);
    let asks = mine.call(tool, json!({}));
    assert_eq!(asks["resultType"], "input_required", "{asks}");
    let state = asks["requestState"].as_str().unwrap();
    let answers = json!({"input-1": {"action": "accept", "content": {"name": "Mallory"}}});
    let with = |state: &Value, name: &str, arguments: Value| json!({"name": name, "arguments": arguments, "inputResponses": answers, "requestState": state});
    let good = json!(state);
    refused(&client(&gateway, "/mcp/fixture", KEYS[1]), &with(&good, tool, json!({})));
    refused(&client(&gateway, "/mcp/twin", KEYS[0]), &with(&good, tool, json!({})));
    let shown = format!("fixture-{tool}");
    refused(&client(&gateway, "/mcp", KEYS[0]), &with(&good, &shown, json!({})));
    refused(&mine, &with(&good, "test_input_required_result_multi_round", json!({})));
    refused(&mine, &with(&good, tool, json!({"other": 1})));
    let handle = mine.new_conversation();
    let changed =
        format!("{}{}", &state[..state.len() - 1], if state.ends_with('A') { 'B' } else { 'A' });
    for forged in [
        json!(""),
        json!(7),
        json!("m1"),
        json!(handle),
        json!(changed),
        json!(format!("{state}-TAMPERED")),
    ] {
        refused(&mine, &with(&forged, tool, json!({})));
    }
    let mine_answers = json!({"input-1": {"action": "accept", "content": {"name": "Alice"}}});
    let params = json!({"name": tool, "arguments": {}, "inputResponses": mine_answers, "requestState": state});
    let done = mine.result("tools/call", params);
    assert_eq!(done["content"][0]["text"], "Hello, Alice!", "nobody else has answered");
}

/// Changes of a sealed text, each of which no gateway has made.
fn altered(text: &str) -> Vec<String> {
    let step = (text.len() / 24).max(1);
    let at = (0..text.len()).step_by(step).chain([text.len() - 1]);
    let changed = at.map(|at| {
        let (before, rest) = text.split_at(at);
        let other = if rest.starts_with('A') { 'B' } else { 'A' };
        format!("{before}{other}{}", &rest[1..])
    });
    let cut = (0..text.len()).step_by(step * 4).map(|at| text[..at].to_owned());
    let rest = (1..text.len()).step_by(step * 4).map(|at| text[at..].to_owned());
    let mut all: Vec<String> = changed.chain(cut).chain(rest).collect();
    all.extend([
        format!("{text}A"),
        format!("A{text}"),
        format!("{text}="),
        format!(" {text}"),
        format!("{text}{text}"),
        text.to_ascii_lowercase(),
        text.to_ascii_uppercase(),
        "\u{202e}\u{0}\u{fffd}".to_owned(),
        "x".repeat(100_000),
    ]);
    all.retain(|other| other != text);
    all
}

#[test]
fn nothing_that_is_altered_opens_anything() {
    let gateway = gateway();
    let tool = "test_input_required_result_elicitation";
    let me = || client(&gateway, "/mcp/fixture", KEYS[0]);
    let name = me().new_conversation();
    let mine = me().conversation(&name);
    let asks = mine.call(tool, json!({}));
    let state = asks["requestState"].as_str().expect("a state").to_owned();
    let answers = json!({"input-1": {"action": "accept", "content": {"name": "Mallory"}}});
    let with = |state: Value| json!({"name": tool, "arguments": {}, "inputResponses": answers, "requestState": state});
    for forged in altered(&state) {
        refused(&mine, &with(json!(forged)));
    }
    for odd in [json!([]), json!({}), json!(true), json!(1.5), json!([state])] {
        refused(&mine, &with(odd));
    }
    // A state is no name, and a name no state, of whatever kind.
    refused(&mine, &with(json!(name)));
    refused(&me().conversation(&state), &with(json!(state)));
    let call = json!({"name": tool, "arguments": {}});
    for forged in altered(&name) {
        refused(&me().conversation(&forged), &call);
    }
    // The same holds for every method, and before anything is asked of a server.
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("prompts/get", json!({"name": "test_simple_prompt"})),
        ("resources/read", json!({"uri": "test://static-text"})),
        ("subscriptions/listen", json!({"notifications": {}})),
    ] {
        let answer = me().conversation("m1forged").answer(method, params);
        assert_eq!(answer["error"]["code"], -32602, "{method}: {answer}");
    }
    let content = json!({"input-1": {"action": "accept", "content": {"name": "Alice"}}});
    let params =
        json!({"name": tool, "arguments": {}, "inputResponses": content, "requestState": state});
    let done = mine.result("tools/call", params);
    assert_eq!(done["content"][0]["text"], "Hello, Alice!", "nobody else has answered");
}

/// Of one client, too: what waits in one conversation is not answered from another one.
#[test]
fn a_request_that_waits_belongs_to_its_conversation() {
    let gateway = gateway();
    let tool = "test_input_required_result_elicitation";
    let me = || client(&gateway, "/mcp/fixture", KEYS[0]);
    let [one, other] = [(); 2].map(|()| me().conversation(&me().new_conversation()));
    let asks = one.call(tool, json!({}));
    let with = |name: &str| {
        let content = json!({"input-1": {"action": "accept", "content": {"name": name}}});
        json!({"name": tool, "arguments": {}, "inputResponses": content, "requestState": asks["requestState"]})
    };
    refused(&other, &with("Mallory"));
    let done = one.result("tools/call", with("Alice"));
    assert_eq!(done["content"][0]["text"], "Hello, Alice!");
    // What has been answered runs no second time.
    let again = one.answer("tools/call", with("Mallory"));
    assert!(!again.to_string().contains("Mallory"), "{again}");
}

/// Two gateways with two secrets know nothing of each other's texts.
#[test]
fn texts_of_another_gateway_open_nothing() {
    let (here, there) = (gateway(), gateway());
    let tool = "test_input_required_result_elicitation";
    let at = |gateway: &Gateway| client(gateway, "/mcp/fixture", KEYS[0]);
    let name = at(&there).new_conversation();
    let asks = at(&there).call(tool, json!({}));
    refused(&at(&here).conversation(&name), &json!({"name": tool, "arguments": {}}));
    let content = json!({"input-1": {"action": "accept", "content": {"name": "Mallory"}}});
    let params = json!({"name": tool, "arguments": {}, "inputResponses": content, "requestState": asks["requestState"]});
    refused(&at(&here), &params);
}

/// A cookie that is not the client's names nothing, and does not stand in its way.
#[test]
fn a_cookie_of_another_client_leads_nowhere() {
    let gateway = gateway();
    let cookie_of = |key: &str| {
        let discovered =
            client(&gateway, "/mcp/counter", key).send("server/discover", json!({})).expect(200);
        let cookie = discovered.header("set-cookie").expect("a cookie");
        cookie.split(';').next().unwrap_or_default().to_owned()
    };
    let with = |key: &str, cookie: &str| {
        client(&gateway, "/mcp/counter", key).header("Cookie", cookie).count("count")
    };
    let [one, two] = KEYS.map(cookie_of);
    assert_eq!((with(KEYS[0], &one), with(KEYS[0], &one)), (1, 2));
    assert_eq!(with(KEYS[1], &one), 1);
    assert_eq!(with(KEYS[1], &two), 1);
    let (name, value) = two.split_once('=').expect("a cookie");
    let forged = altered(value).into_iter();
    let forged = forged.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    for (before, forged) in forged.take(20).enumerate() {
        // They name nothing, so that the key does.
        let counted = with(KEYS[0], &format!("{name}={forged}"));
        assert_eq!(counted, i64::try_from(before).unwrap() + 1, "{forged}");
    }
    assert_eq!(with(KEYS[0], &one), 3, "nobody else has counted");
}
