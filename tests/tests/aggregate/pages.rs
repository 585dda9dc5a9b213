//! Lists of several servers, page by page.

use mooring_tests::{Canned, Front, Session, Setup, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use mooring_tests::orders::{late, notification};

/// Each list: its method, its member, the member that names an entry, and a server's entries.
const LISTS: [(&str, &str, &str, usize); 4] = [
    ("tools/list", "tools", "name", 4),
    ("prompts/list", "prompts", "name", 3),
    ("resources/list", "resources", "uri", 3),
    ("resources/templates/list", "resourceTemplates", "uriTemplate", 3),
];

fn server(name: &str) -> Canned {
    let many = |item: &dyn Fn(usize) -> Value| (0..3).map(item).collect::<Vec<Value>>();
    let mut tools = many(&|n| json!({"name": format!("t{n}"), "inputSchema": {"type": "object"}}));
    tools.push(json!({"name": "emit", "inputSchema": {"type": "object"}}));
    Canned::new()
        .with_capabilities(json!({"tools": {"listChanged": true}, "prompts": {}, "resources": {}}))
        .answers("tools/list", json!({ "tools": tools }))
        .answers("prompts/list", json!({"prompts": many(&|n| json!({"name": format!("p{n}")}))}))
        .answers(
            "resources/list",
            json!({"resources": many(&|n| json!({"uri": format!("{name}://r{n}"), "name": "r"}))}),
        )
        .answers(
            "resources/templates/list",
            json!({"resourceTemplates": many(&|n| json!({"uriTemplate": format!("{name}://t{n}/{{x}}"), "name": "t"}))}),
        )
}

fn three() -> (Vec<Canned>, Value) {
    let servers: Vec<Canned> = ["a", "b", "c"].map(server).into();
    let entries =
        json!({"a": servers[0].entry(), "b": servers[1].entry(), "c": servers[2].entry()});
    (servers, entries)
}

fn system() -> Value {
    json!({"limits": {"pageSize": 2}})
}

/// Pages from a cursor on.
fn pages(
    session: &Session,
    method: &str,
    member: &str,
    key: &str,
    cursor: Option<Value>,
) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
    loop {
        let page = session.request(method, params);
        let entries = page[member].as_array().unwrap();
        pages.push(entries.iter().map(|e| e[key].as_str().unwrap().to_owned()).collect());
        match page.get("nextCursor") {
            Some(next) => params = json!({"cursor": next}),
            None => return pages,
        }
    }
}

#[track_caller]
fn invalid(session: &Session, method: &str, cursor: &Value) {
    let answer = session.answer(method, json!({"cursor": cursor}));
    assert_eq!(answer["error"]["code"], -32602, "{method} {cursor}: {answer}");
}

fn second(session: &Session, method: &str) -> Value {
    let cursor = session.request(method, json!({}))["nextCursor"].clone();
    assert!(cursor.is_string(), "{method}");
    cursor
}

#[test]
fn every_entry_is_on_one_page() {
    let (_servers, entries) = three();
    Front::each(&entries, &system(), |front| {
        let session = front.client("/mcp").initialize();
        for (method, member, key, each) in LISTS {
            let pages = eventually("all servers are listed", || {
                let pages = pages(&session, method, member, key, None);
                (pages.concat().len() == 3 * each).then_some(pages)
            });
            assert!(pages.iter().all(|page| (1..=2).contains(&page.len())), "{pages:?}");
            let all = pages.concat();
            let mut different = all.clone();
            different.sort();
            different.dedup();
            assert_eq!(different.len(), all.len(), "{all:?}");
            // In the order of the settings file.
            let of = |name: &str| all.iter().position(|entry| entry.starts_with(name)).unwrap();
            assert!(of("a") < of("b") && of("b") < of("c"), "{all:?}");
        }
    });
}

#[test]
fn a_cursor_that_is_not_the_gateways_is_refused() {
    let (_servers, entries) = three();
    Front::each(&entries, &system(), |front| {
        let session = front.client("/mcp").initialize();
        let cursor = second(&session, "tools/list");
        let text = cursor.as_str().unwrap();
        let mut forged: Vec<Value> = vec![
            json!(""),
            json!("2"),
            json!("%"),
            json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            json!(format!("{text}A")),
            json!(&text[..text.len() - 1]),
            second(&session, "prompts/list"),
            second(&session, "resources/list"),
        ];
        for at in [0, text.len() / 2, text.len() - 1] {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'B' { b'C' } else { b'B' };
            forged.push(String::from_utf8(bytes).unwrap().into());
        }
        for cursor in &forged {
            invalid(&session, "tools/list", cursor);
        }
        invalid(&session, "resources/templates/list", &second(&session, "resources/list"));
        // The genuine cursor still works, also in another session that reads the same list.
        let rest = pages(&session, "tools/list", "tools", "name", Some(cursor.clone()));
        assert!(!rest.is_empty());
        let other = front.client("/mcp").initialize();
        assert_eq!(pages(&other, "tools/list", "tools", "name", Some(cursor)), rest);
    });
}

#[test]
fn pages_fit_together_while_the_lists_change() {
    for front in [Front::alone, Front::cluster] {
        let (servers, entries) = three();
        let front = front(&entries, &system());
        let session = front.client("/mcp").initialize();
        eventually("all servers are listed", || (session.tools().len() == 12).then_some(()));
        let before = session.tools();
        let page = session.request("tools/list", json!({}));
        let changed = json!({"tools": [{"name": "emit", "inputSchema": {}}]});
        servers[0].answer("tools/list", &changed);
        late(&session, "a-emit", &[notification("notifications/tools/list_changed", json!({}))]);
        eventually("the list has changed", || (session.tools().len() == 9).then_some(()));
        let cursor = page["nextCursor"].clone();
        let rest = pages(&session, "tools/list", "tools", "name", Some(cursor)).concat();
        assert_eq!(rest, before[2..], "the pages of one reading fit together");
    }
}

#[test]
fn a_cursor_outlives_a_restart_if_the_list_is_the_same() {
    let (servers, entries) = three();
    let settings = json!({"mcpServers": entries, "systemConfig": system()});
    let mut gateway = Setup::new(&settings).start();
    let session = gateway.client("/mcp").initialize();
    eventually("all servers are listed", || (session.tools().len() == 12).then_some(()));
    let all = session.tools();
    let cursor = second(&session, "tools/list");
    gateway.restart_after(Signal::KILL);
    session.request("ping", json!({}));
    eventually("all servers are listed again", || (session.tools().len() == 12).then_some(()));
    let rest = pages(&session, "tools/list", "tools", "name", Some(cursor.clone())).concat();
    assert_eq!(rest, all[2..]);
    servers[1].answer("tools/list", &json!({"tools": [{"name": "other", "inputSchema": {}}]}));
    gateway.restart_after(Signal::KILL);
    eventually("the other list is known", || (session.tools().len() == 9).then_some(()));
    invalid(&session, "tools/list", &cursor);
}
