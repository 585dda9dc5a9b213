//! Secrets are planted wherever one may be, everything is done that writes or answers something, and
//! none of them may be in what was written or answered.

use std::path::Path;
use std::process::Output;

use mooring_tests::{
    Cluster, Gateway, Issuer, OverSse, Request, Scripted, Setup, Signer, TokenServer, eventually,
    servers, settings,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Every secret begins like this.
const CANARY: &str = "canary-";

fn canary(what: &str) -> String {
    format!("{CANARY}{what}-0123456789abcdef")
}

/// What was written and answered, with where that was.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    fn output(&mut self, place: &str, output: &Output) {
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            self.add(format!("{place}, {name}"), String::from_utf8_lossy(bytes));
        }
    }

    fn file(&mut self, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        assert!(!text.is_empty(), "nothing is in {}", path.display());
        self.add(path.display().to_string(), text);
    }

    /// Sends a request, and keeps head and body of the answer.
    fn ask(&mut self, gateway: &Gateway, what: &str, request: &Request) -> u16 {
        let incoming = request.open(gateway.address());
        let status = incoming.status;
        let head = ["www-authenticate", "location", "set-cookie"].map(|name| incoming.header(name));
        let head = format!("{head:?}");
        let kind = incoming.header("content-type").unwrap_or("");
        let is_stream = kind.starts_with("text/event-stream");
        let body = if is_stream && status == 200 {
            let mut stream = incoming;
            stream.event().data
        } else {
            incoming.whole().text()
        };
        self.add(format!("{what}: {status}"), format!("{head}\n{body}"));
        status
    }

    #[track_caller]
    fn holds_none_of(&self, secrets: &[String]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                if let Some(at) = text.find(secret.as_str()) {
                    let around = at.saturating_sub(200)..text.len().min(at + 200);
                    let around = String::from_utf8_lossy(&text.as_bytes()[around]);
                    panic!("{secret} is in {place}: …{around}…");
                }
            }
        }
    }
}

/// Servers elsewhere, of which one wants tokens, one refuses the client that asks for some, and others are
/// not there at all.
struct Elsewhere {
    far: Scripted,
    tokens: TokenServer,
    refusing: TokenServer,
    folder: TempDir,
}

impl Elsewhere {
    fn start() -> Self {
        let far = Scripted::start(|_, out| Some(out));
        let (tokens, refusing) = (TokenServer::start(), TokenServer::start());
        let told = json!({"error": "invalid_client", "error_description": "no such client"});
        refusing.set_instead(Some(("401 Unauthorized", &told.to_string())));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), canary("file")).unwrap();
        Self { far, tokens, refusing, folder }
    }

    fn entries(&self) -> Value {
        let headers = json!({
            "Authorization": format!("Bearer {}", canary("upstream")), "X-Api-Key": canary("header"),
        });
        let nobody = |kind: &str, path: &str| {
            let url = format!("http://127.0.0.1:1/{path}?key={}", canary("url"));
            json!({"type": kind, "url": url, "headers": headers})
        };
        let remote = |more: Value| settings::merged(self.far.entry(), more);
        let file = format!("${{file:{}}}", self.folder.path().join("key").display());
        let env = json!({"API_TOKEN": canary("env"), "PLAIN": "${PLANTED}", "OF_FILE": file});
        json!({
            "counter": settings::merged(servers::counter(), json!({"env": env})),
            "fails": {
                "command": "false",
                "args": ["--token", canary("arg"), format!("--key={}", canary("arg"))],
                "env": {"PASSWORD": canary("env")},
            },
            "far": remote(json!({
                "url": format!("{}?key={}", self.far.url("/mcp"), canary("url")),
                "headers": headers, "passthroughHeaders": ["X-User-Token"],
            })),
            "of-file": remote(json!({"headers": {"X-Api-Key": file}})),
            "given": remote(json!({"oauth": {"accessToken": canary("access")}})),
            "fetched": remote(json!({"oauth": self.tokens.oauth()})),
            "not-fetched": remote(json!({"oauth": self.refusing.oauth()})),
            "gone": nobody("streamable-http", "mcp"),
            "old": nobody("sse", "sse"),
        })
    }
}

fn access(folder: &Path, issuer: &Issuer) -> Value {
    let access = json!({
        "bearerKeys": [{"name": "boss", "token": canary("key"), "accessType": "all"}],
        "systemConfig": {
            "telemetry": {
                "auditLog": {"to": folder.join("audit.log")},
                "accessLog": {"to": folder.join("access.log")},
                "traces": {
                    "endpoint": "http://127.0.0.1:1", "headers": {"x-key": canary("traces")},
                },
            },
            "policy": [
                {"effect": "allow", "who": {"keys": ["boss", "corp"]}},
                {"effect": "allow", "who": {"keys": ["boss"]}, "management": true},
            ],
            "limits": {"rates": [{"name": "few", "who": {"principals": ["corp:bob"]}, "requests": 1,
                                  "within": 1_000_000}]},
        },
    });
    settings::merged(access, issuer.settings(json!({})))
}

/// Requests with credentials and secrets that are no good, and what they are called.
fn refused(issuer: &Issuer) -> Vec<(&'static str, Request)> {
    let initialize = || {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "canaries", "version": "1"},
        });
        Request::post("/mcp/counter")
            .header("Accept", "application/json, text/event-stream")
            .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
    };
    let with = |credential: &str| initialize().header("Authorization", credential);
    let key = format!("Bearer {}", canary("key"));
    let expired = issuer.token_with("ann", json!({"exp": 1}));
    let foreign = Signer::new("first", "EdDSA").token(json!({}), &issuer.claims("ann", json!({})));
    vec![
        ("a wrong key", with(&format!("Bearer {}", canary("wrong")))),
        ("a password", with(&format!("Basic {}", canary("basic")))),
        ("no scheme", with(&canary("bare"))),
        ("an expired token", with(&format!("Bearer {expired}"))),
        ("a foreign token", with(&format!("Bearer {foreign}"))),
        ("a long token", with(&format!("Bearer {}", canary("long").repeat(1000)))),
        ("a cookie", initialize().header("Cookie", &format!("session={}", canary("cookie")))),
        ("a query", {
            let path = format!("/mcp/counter?token={}", canary("query"));
            Request::post(&path).json(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        }),
        ("a session", with(&key).header("Mcp-Session-Id", &canary("session"))),
        ("a place in a stream", {
            Request::get("/mcp/counter")
                .header("Authorization", &key)
                .header("Accept", "text/event-stream")
                .header("Mcp-Session-Id", &canary("session"))
                .header("Last-Event-ID", &canary("event"))
        }),
        ("a place in an old stream", {
            Request::post(&format!("/messages?sessionId={}", canary("session")))
                .header("Authorization", &key)
                .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        }),
        ("a body that is none", with(&key).body(format!("{{\"token\": \"{}\"", canary("body")))),
        ("the API", Request::get("/api/logs").header("Authorization", &canary("api"))),
        ("a message of a node", {
            let message = json!({"id": "n", "incarnation": canary("incarnation")});
            Request::post("/api/cluster/heartbeat")
                .header("Authorization", &format!("Bearer {}", canary("cluster")))
                .json(&message)
        }),
        ("a link", {
            Request::post("/cluster/servers/counter/mcp")
                .header("Authorization", &format!("Bearer {}", canary("cluster")))
                .json(&json!({}))
        }),
    ]
}

/// Sessions over both transports with a key and a token, whose calls bring secrets along.
fn used(told: &mut Told, gateway: &Gateway, issuer: &Issuer) -> Vec<String> {
    let token = issuer.token("ann");
    let mut secrets = vec![token.rsplit_once('.').unwrap().1.to_owned()];
    for credential in [canary("key"), token] {
        let bearer = format!("Bearer {credential}");
        let client = |path: &str| {
            gateway
                .client(path)
                .header("Authorization", &bearer)
                .header("X-User-Token", &canary("passthrough"))
                .header("Cookie", &format!("a={}", canary("cookie")))
        };
        eventually("it is let in", || {
            (client("/mcp/counter").try_initialize().status == 200).then_some(())
        });
        for path in
            ["/mcp", "/mcp/counter", "/mcp/far", "/mcp/of-file", "/mcp/given", "/mcp/fetched"]
        {
            let session = client(path).initialize();
            secrets.push(session.id.clone());
            let tools = session.tools();
            for tool in tools.iter().filter(|tool| !tool.contains("whoami")) {
                let arguments = json!({"password": canary("argument")});
                let call = session
                    .try_request("tools/call", json!({"name": tool, "arguments": arguments}));
                // A result is the server's own.
                if !call.text().contains("\"result\"") {
                    told.add(format!("{tool} at {path}"), call.text());
                }
            }
            let missing = json!({"uri": "file:///nothing", "token": canary("argument")});
            told.add("resources/read", session.answer("resources/read", missing).to_string());
        }
        for path in ["/mcp/fails", "/mcp/gone", "/mcp/old", "/mcp/not-fetched"] {
            told.add(path, client(path).try_initialize().text());
        }
        let mut sse =
            OverSse::open_with(gateway.address(), "/sse/counter", &[("Authorization", &bearer)]);
        sse.begin();
        sse.call("count", json!({"password": canary("argument")}));
    }
    // One that meets a limit.
    let bob = issuer.token("bob");
    secrets.push(bob.rsplit_once('.').unwrap().1.to_owned());
    let bob = gateway.client("/mcp/counter").header("Authorization", &format!("Bearer {bob}"));
    for _ in 0..3 {
        told.add("a limited client", bob.try_initialize().text());
    }
    secrets
}

/// Every GET route that is not a client's, with and without the key.
fn looked_at(told: &mut Told, gateway: &Gateway) {
    let output = Setup::new(&json!({"mcpServers": {}})).run(&["routes"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let routes: Vec<(&str, &str)> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0] == "GET" && !["client", "link"].contains(&words[2]))
                .then_some((words[1], words[2]))
        })
        .collect();
    assert!(routes.len() > 15, "{text}");
    let key = format!("Bearer {}", canary("key"));
    for (route, door) in routes {
        let names = match route {
            "/api/logs" => ["fails", "far", "not-fetched"]
                .map(|server| format!("{route}?server={server}"))
                .to_vec(),
            "/api/cluster/explain" => vec![route.to_owned(), format!("{route}?limit=100")],
            "/ui/{name}" => vec!["/ui/page.js".to_owned()],
            _ => vec![
                route
                    .replace("{name}", "counter")
                    .replace("{id}", "00000000")
                    .replace("{resource}", "mcp/counter"),
            ],
        };
        for path in names {
            let with_key = Request::get(&path).header("Authorization", &key);
            told.ask(gateway, &path, &with_key);
            if door != "manager" {
                told.ask(gateway, &path, &Request::get(&path));
            }
        }
    }
}

/// Settings with a mistake in or beside a secret.
fn mistakes() -> Vec<Value> {
    let key = |token: Value| json!({"bearerKeys": [{"name": "boss", "token": token, "accessType": "all"}]});
    let server = |entry: Value| json!({"mcpServers": {"bad": entry}});
    let system = |value: Value| json!({"systemConfig": value});
    let jwt = |value: Value| system(json!({"auth": {"jwt": value}}));
    vec![
        key(json!([canary("list")])),
        key(json!({"value": canary("object")})),
        key(json!(format!("{}\u{e4}", canary("umlaut")))),
        key(json!(format!("{} {}", canary("two"), canary("words")))),
        json!({"bearerKeys": canary("keys")}),
        json!({"systemConfig": {"routing": {"bearerAuthKey": [canary("key")]}}}),
        server(json!({"command": "x", "env": canary("env")})),
        server(json!({"command": "x", "env": {"A": {"b": canary("env")}}})),
        server(json!({"command": "x", "env": {"A=B": canary("env")}})),
        server(json!({"url": format!("http://user:{}@127.0.0.1:1/mcp", canary("password"))})),
        server(json!({"url": format!("http://127.0.0.1:99999/mcp?key={}", canary("url"))})),
        server(json!({"url": "http://127.0.0.1:1/", "headers": {"A": [canary("header")]}})),
        server(
            json!({"url": "http://127.0.0.1:1/", "headers": {"A": format!("{}\n", canary("header"))}}),
        ),
        server(json!({"url": "http://127.0.0.1:1/", "headers": canary("headers")})),
        server(json!({"url": "http://127.0.0.1:1/", "oauth": {"accessToken": [canary("access")]}})),
        server(json!({"url": "http://127.0.0.1:1/", "oauth": {
            "clientId": "c", "clientSecret": canary("client"),
            "tokenUrl": format!("http://user:{}@127.0.0.1:1/", canary("token")),
        }})),
        server(json!({"url": "http://127.0.0.1:1/", "oauth": {
            "clientId": "c", "clientSecret": {"is": canary("client")}, "tokenUrl": "http://127.0.0.1:1/",
        }})),
        system(json!({"cluster": {"token": [canary("token")]}})),
        system(json!({"cluster": {"token": format!("{}\u{e4}", canary("token"))}})),
        system(json!({"cluster": {"secret": {"is": canary("secret")}}})),
        system(json!({"cluster": {"store": format!("redis://user:{}@[x", canary("redis"))}})),
        system(json!({"telemetry": {"traces": {
            "endpoint": format!("http://user:{}@127.0.0.1:1", canary("traces")),
        }}})),
        system(json!({"telemetry": {"traces": {
            "endpoint": "http://127.0.0.1:1", "headers": {"a": [canary("traces")]},
        }}})),
        jwt(
            json!({"issuer": format!("https://user:{}@idp.example", canary("idp")), "audience": "a"}),
        ),
        jwt(json!({"issuer": "https://idp.example", "jwksUri": [canary("idp")], "audience": "a"})),
        jwt(json!({"issuer": "https://idp.example", "audience": "a", "secret": canary("client")})),
    ]
}

fn checked(told: &mut Told, good: &Value) {
    let setup = |settings: &Value| Setup::new(settings).env("PLANTED", &canary("variable"));
    let output = setup(good).run(&["check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    told.output("check", &output);
    for mistake in mistakes() {
        // The name of the place is the test's, and no secret of its file.
        let output = setup(&settings::merged(good.clone(), mistake)).run(&["check"]);
        told.output("check of a mistake", &output);
    }
    for text in [
        format!("{{\"bearerKeys\": [{{\"name\": \"a\", \"token\": \"{}", canary("cut")),
        format!("{{\"bearerKeys\": [{{\"token\": {} }}]}}", canary("unquoted")),
        canary("nothing-else"),
    ] {
        told.output("check of no JSON", &Setup::text(&text).run(&["check"]));
    }
}

fn reloaded(told: &mut Told, gateway: &Gateway, good: &Value) {
    for mistake in mistakes() {
        let report = gateway.reload(&settings::merged(good.clone(), mistake));
        told.add("a reload", report.to_string());
    }
    told.add("a reload", gateway.reload(good).to_string());
}

fn all_that_is_told(gateway: &mut Gateway, folder: &Path, issuer: &Issuer, good: &Value) {
    let mut told = Told::default();
    let talkative = Request::new("PUT", "/api/log-level")
        .header("Authorization", &format!("Bearer {}", canary("key")))
        .json(&json!({"filter": "trace"}));
    assert_eq!(told.ask(gateway, "the log's level", &talkative), 200);
    let mut secrets = used(&mut told, gateway, issuer);
    for (what, request) in refused(issuer) {
        told.ask(gateway, what, &request);
    }
    looked_at(&mut told, gateway);
    reloaded(&mut told, gateway, good);
    looked_at(&mut told, gateway);
    checked(&mut told, good);
    gateway.terminate();
    for name in ["audit.log", "access.log"] {
        told.file(&folder.join(name));
    }
    told.add("the log", gateway.log());
    secrets.push(CANARY.to_owned());
    told.holds_none_of(&secrets);
}

#[test]
fn a_gateway_tells_no_secret() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::start());
    let elsewhere = Elsewhere::start();
    let all = settings::standalone(elsewhere.entries());
    let good = settings::merged(all, access(folder.path(), &issuer));
    let setup = Setup::new(&good).env("PLANTED", &canary("variable"));
    let mut gateway = setup.env("MOORING_SECRET", &canary("sealing")).start();
    all_that_is_told(&mut gateway, folder.path(), &issuer, &good);
}

#[test]
fn a_cluster_tells_no_secret() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::start());
    let elsewhere = Elsewhere::start();
    let cluster = json!({"token": canary("cluster"), "secret": canary("sealing")});
    let good = settings::merged(settings::coordinator(cluster), access(folder.path(), &issuer));
    let coordinator = Setup::new(&good).env("PLANTED", &canary("variable")).start();
    let mut cluster = Cluster { coordinator, nodes: Vec::new() };
    let node = settings::node(cluster.coordinator.port(), json!({"id": "n1"}), elsewhere.entries());
    let node = settings::merged(
        settings::roomy(node),
        json!({"systemConfig": {"cluster": {"token": canary("cluster")}}}),
    );
    cluster.nodes.push(Setup::new(&node).env("PLANTED", &canary("variable")).start());
    let key = format!("Bearer {}", canary("key"));
    let boss = cluster.coordinator.client("/mcp/counter").header("Authorization", &key);
    eventually("the node is there", || (boss.try_initialize().status == 200).then_some(()));
    all_that_is_told(&mut cluster.coordinator, folder.path(), &issuer, &good);
    let mut told = Told::default();
    told.add("the node's log", cluster.nodes[0].log());
    for path in ["/health", "/metrics", "/api/cluster/status"] {
        told.ask(&cluster.nodes[0], path, &Request::get(path));
    }
    told.holds_none_of(&[CANARY.to_owned()]);
}
