//! `BASE_PATH`: every route has it in front, and what clients are told to use has it too. Paths of
//! MCPHub that are not here say what to use.

use mooring_tests::{Gateway, OverSse, Setup, eventually, servers, settings};
use serde_json::json;

fn with_base(settings: &serde_json::Value, base: &str) -> Gateway {
    Setup::new(settings).env("BASE_PATH", base).start()
}

#[test]
fn every_route_has_the_base_path_in_front() {
    let counter = settings::standalone(json!({"counter": servers::counter()}));
    for (given, base) in [("/hub", "/hub"), ("a/b/", "/a/b")] {
        let gateway = with_base(&counter, given);
        for path in ["/mcp", "/mcp/counter"] {
            let session = gateway.client(&format!("{base}{path}")).initialize();
            let tool = if path == "/mcp" { "counter-count" } else { "count" };
            assert_eq!(session.count(tool), 1, "{base}{path}");
            session.delete().expect(200);
            let outside = gateway.client(path).try_initialize().expect(404);
            assert!(outside.text().contains(base), "{}", outside.text());
        }
        for path in ["/sse", "/sse/counter"] {
            let mut session = OverSse::initialize(gateway.address(), &format!("{base}{path}"));
            assert!(
                session.endpoint.starts_with(&format!("{base}/messages?")),
                "{}",
                session.endpoint
            );
            let tool = if path == "/sse" { "counter-count" } else { "count" };
            assert_eq!(session.call(tool, json!({}))["value"], 1, "{base}{path}");
            gateway.get(path).expect(404);
        }
        for path in ["/health", "/livez", "/readyz", "/metrics", "/api/cluster/status"] {
            gateway.get(&format!("{base}{path}")).expect(200);
        }
        // Probes do not come through the proxy.
        for path in ["/health", "/livez", "/readyz"] {
            gateway.get(path).expect(200);
        }
        for path in ["/api/cluster/status", "/metrics", &format!("{base}x/mcp"), base] {
            gateway.get(path).expect(404);
        }
    }
}

#[test]
fn an_open_stream_below_the_base_path_ends_with_the_gateway() {
    let mut gateway =
        with_base(&settings::standalone(json!({"counter": servers::counter()})), "/hub");
    let mut over_sse = OverSse::initialize(gateway.address(), "/hub/sse");
    let session = gateway.client("/hub/mcp").initialize();
    let mut listening = session.listen();
    assert!(gateway.terminate().success());
    while over_sse.stream.next_event().is_some() {}
    while listening.next_event().is_some() {}
}

#[test]
fn a_cluster_may_have_base_paths_on_both_sides() {
    for (outer, inner) in [("/hub", ""), ("", "/node"), ("/hub", "/node")] {
        let sticky = json!({"stickySession": {"strategy": "cookie"}});
        let coordinator = with_base(&settings::coordinator(sticky), outer);
        let url = format!("http://127.0.0.1:{}{outer}", coordinator.port());
        let node = |id: &str| {
            let node = json!({"id": id, "coordinatorUrl": url});
            let servers = json!({"counter": servers::counter()});
            with_base(&settings::node(coordinator.port(), node, servers), inner)
        };
        let _nodes = [node("a"), node("b")];
        eventually("the nodes are active", || {
            let nodes = coordinator.data(&format!("{outer}/api/cluster/nodes"));
            let active = |id: usize| nodes[id]["status"] == "active";
            (active(0) && active(1)).then_some(())
        });
        let client = coordinator.client(&format!("{outer}/mcp/counter"));
        let opened = client.try_initialize().expect(200);
        let cookie = opened.header("set-cookie").unwrap().to_owned();
        let path = if outer.is_empty() { "/" } else { outer };
        assert!(cookie.contains(&format!("Path={path};")), "{cookie}");
        assert_eq!(client.initialize().count("count"), 1);
    }
}

#[test]
fn paths_of_mcphub_that_are_not_here_say_what_to_use() {
    let counter = settings::standalone(json!({"counter": servers::counter()}));
    for base in ["", "/hub"] {
        let gateway = with_base(&counter, base);
        for (path, words) in [
            ("/mcp/$smart", &["smart routing", "is not there"][..]),
            ("/mcp/$smart/desk", &["smart routing"]),
            ("/mcp/%24smart", &["smart routing"]),
            ("/sse/$smart", &["smart routing"]),
            ("/admin/mcp", &["users have no URLs", "/mcp/{server}"]),
            ("/admin/mcp/counter", &["users have no URLs"]),
            ("/ann/sse/desk", &["users have no URLs", "/sse"]),
            ("/ann/messages?sessionId=1", &["users have no URLs"]),
            ("/api/servers", &["MCPHub's API", "settings file"]),
            ("/api/tools/counter/count", &["MCPHub's API"]),
            ("/oauth/authorize", &["no OAuth server"]),
            ("/.well-known/oauth-authorization-server", &["no OAuth server"]),
            ("/", &["operators' page is at"]),
            ("/mcp/elsewhere", &["no server or group has the name"]),
        ] {
            for answer in [
                gateway.get(&format!("{base}{path}")),
                gateway.post(
                    &format!("{base}{path}"),
                    &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}),
                ),
            ] {
                if path.starts_with("/sse") && answer.status == 405 {
                    continue;
                }
                let text = answer.expect(404).text();
                for word in words {
                    assert!(text.contains(word), "{path}: {text}");
                }
            }
        }
    }
}
