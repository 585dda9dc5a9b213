//! The skills extension, merged where a URL has several servers.

use mooring_tests::odd_server::{answer, initialized};
use mooring_tests::{Canned, Front, OddServer, Stateless, Way, servers};
use serde_json::{Value, json};

use super::both;

const SKILLS: &str = "io.modelcontextprotocol/skills";

fn uri(server: &str) -> String {
    format!("skill://{server}/SKILL.md")
}

/// A server with a skill of its own, and one that the other one has too.
fn skilled(name: &str) -> Canned {
    let skill = |uri: &str, of: &str| {
        json!({"uri": uri, "frontmatter": {"name": of, "x": 1.0},
            "resources": [{"uri": format!("{uri}.txt"), "size": 1}]})
    };
    let skills = [skill(&uri(name), name), skill("skill://shared/SKILL.md", name)];
    Canned::new()
        .with_capabilities(
            json!({"resources": {}, "extensions": {SKILLS: {"directoryRead": name == "one"}}}),
        )
        .answers("resources/list", json!({"resources": []}))
        .answers("resources/templates/list", json!({"resourceTemplates": []}))
        .answers("skills/list", json!({"skills": skills}))
        .answers("skills/get", json!({"skill": {"uri": uri(name)}, "of": name}))
        .answers("resources/directory/read", json!({"resources": [], "of": name}))
        .answers("resources/read", json!({"contents": [{"uri": uri(name), "text": name}]}))
}

fn uris(result: &Value) -> Vec<String> {
    let skills = result["skills"].as_array().expect("skills");
    skills.iter().map(|skill| skill["uri"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_skills_of_all_servers_are_one_list_and_each_is_found_at_its_own() {
    let (one, two) = (skilled("one"), skilled("two"));
    let servers = json!({"one": one.entry(), "two": two.entry(), "counter": servers::counter()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one", "two", "counter"]);
        let client = |path: &str| {
            let client = Stateless::new(front.gateway().address(), path);
            let name = client.new_conversation();
            client.conversation(&name)
        };
        let all = client("/mcp");
        let _ = all.result("resources/list", json!({}));
        let discovered = all.result("server/discover", json!({}));
        let said = &discovered["capabilities"]["extensions"][SKILLS];
        assert_eq!(said["directoryRead"], true, "{discovered}");
        let listed = all.result("skills/list", json!({}));
        assert_eq!(uris(&listed), [uri("one"), "skill://shared/SKILL.md".into(), uri("two")]);
        assert_eq!(listed["skills"][0]["frontmatter"], json!({"name": "one", "x": 1.0}));
        assert_eq!(listed["skills"][1]["frontmatter"]["name"], "one", "the first one counts");
        assert_eq!((&listed["ttlMs"], &listed["cacheScope"]), (&json!(0), &json!("private")));
        for server in ["one", "two"] {
            let got = all.result("skills/get", json!({"uri": uri(server)}));
            assert_eq!((&got["of"], &got["resultType"]), (&json!(server), &json!("complete")));
            let read = all.result("resources/read", json!({"uri": uri(server)}));
            assert_eq!(read["contents"][0]["text"], server, "{read}");
            let file = format!("{}.txt", uri(server));
            let within = all.result("resources/directory/read", json!({"uri": file}));
            assert_eq!(within["of"], server, "{within}");
        }
        let page = all.answer("skills/list", json!({"cursor": "x"}));
        assert_eq!(page["error"]["code"], -32602, "{page}");
        let alone = client("/mcp/two");
        assert_eq!(
            uris(&alone.result("skills/list", json!({}))),
            [uri("two"), "skill://shared/SKILL.md".into()]
        );
        let none = client("/mcp/counter").send("skills/list", json!({})).expect(404);
        assert_eq!(none.error_code(), -32601, "{}", none.text());
        // The same for a client with a session.
        let session = front.client("/mcp").initialize();
        let listed = session.request("skills/list", json!({}));
        assert_eq!(uris(&listed).len(), 3, "{listed}");
        let got = session.request("skills/get", json!({"uri": uri("two")}));
        assert_eq!(got["of"], "two", "{got}");
    });
}

#[test]
fn a_server_of_which_something_is_hidden_offers_no_skills() {
    let (one, two) = (skilled("one"), skilled("two"));
    let mut entry = one.entry();
    entry["resources"] = json!({"file:///secret": {"enabled": false}});
    let servers = json!({"one": entry, "two": two.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one", "two"]);
        let client = Stateless::new(front.gateway().address(), "/mcp");
        let name = client.new_conversation();
        let client = client.conversation(&name);
        let _ = client.result("resources/list", json!({}));
        let listed = client.result("skills/list", json!({}));
        assert_eq!(uris(&listed), [uri("two"), "skill://shared/SKILL.md".into()]);
    });
}

/// A tool that is hidden, or described otherwise, has nothing to do with skills.
#[test]
fn a_server_of_which_a_tool_is_hidden_offers_its_skills() {
    let (one, two) = (skilled("one"), skilled("two"));
    let mut entry = one.entry();
    entry["tools"] = json!({"secret": {"enabled": false}});
    let servers = json!({"one": entry, "two": two.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one", "two"]);
        let client = Stateless::new(front.gateway().address(), "/mcp").conversation_of_its_own();
        let _ = client.result("resources/list", json!({}));
        let listed = client.result("skills/list", json!({}));
        assert_eq!(uris(&listed), [uri("one"), "skill://shared/SKILL.md".into(), uri("two")]);
        let got = client.result("skills/get", json!({"uri": uri("one")}));
        assert_eq!(got["of"], "one", "{got}");
    });
}

/// That one server does not read directories says nothing of what another one does.
#[test]
fn servers_that_do_not_read_directories_are_passed_over() {
    let refusing = |code: i64| {
        OddServer::start(Way::Stdio, move |_, message, say| {
            let id = &message["id"];
            let capabilities = json!({"resources": {}, "extensions": {SKILLS: {}}});
            let result = match message["method"].as_str().unwrap_or("") {
                _ if id.is_null() => return,
                "initialize" => initialized(message, &capabilities),
                "resources/list" => json!({"resources": []}),
                "resources/templates/list" => json!({"resourceTemplates": []}),
                "resources/directory/read" => {
                    let error = json!({"code": code, "message": "no"});
                    return say(json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
                }
                _ => json!({}),
            };
            say(answer(message, &result));
        })
    };
    let (one, two) = (refusing(-32601), refusing(-32602));
    let servers = json!({"one": one.entry(), "two": two.entry()});
    Front::each(&servers, &both(&json!(["handle"])), |front| {
        front.wait_until_discovered(&["one", "two"]);
        let client = |path: &str| {
            let client = Stateless::new(front.gateway().address(), path).conversation_of_its_own();
            let _ = client.result("resources/list", json!({}));
            client
        };
        let read = json!({"uri": "skill://three"});
        let all = client("/mcp").answer("resources/directory/read", read.clone());
        assert_eq!(all["error"]["code"], -32602, "{all}");
        let none = client("/mcp/one").send("resources/directory/read", read).expect(404);
        assert_eq!(none.error_code(), -32601, "{}", none.text());
    });
}
