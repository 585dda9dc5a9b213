//! Every route of the gateway with every kind of credential. The routes are those that the gateway itself
//! lists, of which its router is made: a route that is new has to be judged here too.

use std::collections::BTreeSet;

use mooring_tests::{
    Gateway, Issuer, OverSse, Request, Session, Setup, Signer, eventually, servers, settings,
};
use serde_json::{Value, json};

/// A route as the gateway lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    method: String,
    path: String,
    door: String,
}

fn routes() -> Vec<Route> {
    let output = Setup::new(&json!({"mcpServers": {}})).run(&["routes"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let route = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [method, path, door] = words[..] else { panic!("no route: {line}") };
        Route { method: method.into(), path: path.into(), door: door.into() }
    };
    text.lines().skip(1).map(route).collect()
}

/// The kinds of credentials.
const CREDENTIALS: [&str; 9] = [
    "none",
    "wrong key",
    "wrong token",
    "expired",
    "foreign audience",
    "other principal",
    "scoped elsewhere",
    "right key",
    "right token",
];

/// Whether a credential of this kind is one at all.
fn is_known(credential: &str) -> bool {
    ["other principal", "scoped elsewhere", "right key", "right token"].contains(&credential)
}

const KEY: &str = "the-right-key-0123456789";
const OTHER: &str = "the-key-of-another-0123456789";
const ELSEWHERE: &str = "a-key-for-something-else-0123456789";

/// A gateway with keys, an issuer and a table of rules, and what the kinds of credentials are there.
struct Place {
    gateway: Gateway,
    issuer: Issuer,
    /// Of the right key and of the right token, on `/mcp/counter`.
    sessions: [Session; 2],
    /// Addresses of their HTTP+SSE streams, which are open.
    streams: [OverSse; 2],
    _nodes: Vec<Gateway>,
}

fn access(issuer: &Issuer) -> Value {
    let key = |name: &str, token: &str| json!({"name": name, "token": token, "accessType": "all"});
    let keys = json!({
        "bearerKeys": [
            key("right", KEY), key("other", OTHER),
            {"name": "elsewhere", "token": ELSEWHERE, "accessType": "servers",
             "allowedServers": ["notes"]},
        ],
        "systemConfig": {"policy": [
            {"effect": "allow", "who": {"keys": ["right", "other", "elsewhere"]}},
            {"effect": "allow", "who": {"keys": ["right"]}, "management": true},
            {"effect": "allow", "who": {"groups": ["staff"]}, "servers": ["counter"]},
            {"effect": "allow", "who": {"groups": ["staff"]}, "management": true},
        ]},
    });
    settings::merged(keys, issuer.settings(json!({})))
}

fn servers() -> Value {
    json!({"counter": servers::counter(), "notes": servers::notes()})
}

impl Place {
    fn standalone() -> Self {
        let issuer = Issuer::start();
        let settings = settings::merged(settings::standalone(servers()), access(&issuer));
        Self::of(Gateway::start_with(&settings), issuer, Vec::new())
    }

    fn coordinator() -> Self {
        let issuer = Issuer::start();
        // Without one, a node that nobody knows is told to register, whoever speaks for it.
        let token = json!({"token": "the-token-of-the-cluster-0123456789"});
        let settings = settings::coordinator(token.clone());
        let coordinator = Gateway::start_with(&settings::merged(settings, access(&issuer)));
        let node = settings::node(coordinator.port(), json!({"id": "n1"}), servers());
        let token = json!({"systemConfig": {"cluster": token}});
        let node = Gateway::start_with(&settings::merged(settings::roomy(node), token));
        Self::of(coordinator, issuer, vec![node])
    }

    fn of(gateway: Gateway, issuer: Issuer, nodes: Vec<Gateway>) -> Self {
        let right = format!("Bearer {}", issuer.token_with("ann", json!({"groups": ["staff"]})));
        let clients = [format!("Bearer {KEY}"), right].map(|bearer| {
            let client = gateway.client("/mcp/counter").header("Authorization", &bearer);
            eventually("it is let in", || (client.try_initialize().status == 200).then_some(()));
            (bearer, client)
        });
        let sessions = [0, 1].map(|index: usize| clients[index].1.initialize());
        let streams = [0, 1].map(|index: usize| {
            let header = [("Authorization", clients[index].0.as_str())];
            let mut sse = OverSse::open_with(gateway.address(), "/sse/counter", &header);
            sse.begin();
            sse
        });
        for session in &sessions {
            session.count("count");
        }
        Self { gateway, issuer, sessions, streams, _nodes: nodes }
    }

    fn bearer(&self, credential: &str) -> Option<String> {
        let staff = |more: Value| {
            let more = settings::merged(json!({"groups": ["staff"]}), more);
            self.issuer.token_with("ann", more)
        };
        Some(match credential {
            "none" => return None,
            "wrong key" => "a-key-that-nobody-has-0123456789".to_owned(),
            "wrong token" => {
                let claims = self.issuer.claims("ann", json!({"groups": ["staff"]}));
                Signer::new("first", "EdDSA").token(json!({}), &claims)
            }
            "expired" => staff(json!({"exp": 1_000_000})),
            "foreign audience" => staff(json!({"aud": "https://other.example"})),
            "other principal" => OTHER.to_owned(),
            "scoped elsewhere" => ELSEWHERE.to_owned(),
            "right key" => KEY.to_owned(),
            "right token" => staff(json!({})),
            other => panic!("no credential {other}"),
        })
    }

    /// Status and text of a route's answer to a credential; names in its path are those of what is there.
    fn ask(&self, route: &Route, credential: &str) -> (u16, String) {
        let of_token = usize::from(credential == "right token");
        let session = &self.sessions[of_token];
        let short = self.gateway_session();
        let path = match route.path.as_str() {
            "/messages" => self.streams[of_token].endpoint.clone(),
            "/api/logs" => "/api/logs?server=counter".to_owned(),
            path if path.starts_with("/api/cluster/sessions/") => path.replace("{id}", &short),
            path if path.starts_with("/ui/") => path.replace("{name}", "page.css"),
            path => path
                .replace("{name}", "counter")
                .replace("{id}", "n-none")
                .replace("{resource}", "mcp/counter")
                .replace("{path}", "servers/counter/mcp"),
        };
        let mut request = Request::new(&route.method, &path);
        if let Some(bearer) = self.bearer(credential) {
            request = request.header("Authorization", &format!("Bearer {bearer}"));
        }
        let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
        if route.path.starts_with("/mcp") || route.path.starts_with("/sse") {
            // A session of the right principal, whoever asks. At `/mcp` there is none.
            request = request.header("Accept", "application/json, text/event-stream");
            if route.path == "/mcp/{name}" {
                request = request.header("Mcp-Session-Id", &session.id);
            }
        }
        if route.method == "POST" {
            let body = match route.path.as_str() {
                "/mcp" => initialize(),
                "/mcp/{name}" | "/messages" => ping,
                _ => json!({}),
            };
            request = request.header("Content-Type", "application/json").json(&body);
        }
        if route.path == "/api/log-level" && route.method == "PUT" {
            request = request.json(&json!({"filter": "mooring=info"}));
        }
        answer_to(&request, &self.gateway)
    }

    /// A session that the management API knows, by its hash.
    fn gateway_session(&self) -> String {
        let asked = Request::get("/api/cluster/sessions")
            .header("Authorization", &format!("Bearer {KEY}"))
            .send(self.gateway.address())
            .expect(200);
        let sessions = asked.json()["data"]["sessions"].clone();
        sessions[0]["session"].as_str().unwrap_or_else(|| panic!("{sessions}")).to_owned()
    }
}

fn initialize() -> Value {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "routes", "version": "1"},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
}

/// Status and text of the answer; of a stream only the status, since it does not end.
fn answer_to(request: &Request, gateway: &Gateway) -> (u16, String) {
    let incoming = request.open(gateway.address());
    let kind = incoming.header("content-type").unwrap_or("").to_owned();
    match incoming.status {
        200 if kind.contains("event-stream") => (200, String::new()),
        status => (status, incoming.whole().text()),
    }
}

/// What a route answers to a credential of some kind. The test fails for a door that it does not know.
fn expected(route: &Route, credential: &str, is_coordinator: bool) -> &'static [u16] {
    let is_right = credential.starts_with("right");
    match route.door.as_str() {
        "probe" | "site" | "metadata" => match route.path.as_str() {
            "/ui/" => &[308],
            _ => &[200],
        },
        "client" if !is_known(credential) => &[401],
        "client" => match (route.method.as_str(), route.path.as_str()) {
            // Sessions and streams of another principal do not exist for it.
            (_, "/mcp/{name}" | "/messages") if !is_right => &[404],
            ("POST", "/messages") => &[202],
            ("DELETE" | "POST" | "GET", "/mcp/{name}") => &[200],
            ("POST", "/mcp") | ("GET", "/sse") => &[200],
            // There is no session on it.
            (_, "/mcp") => &[400],
            (_, "/sse/{name}") if credential == "scoped elsewhere" => &[404],
            (_, "/sse/{name}") => &[200],
            other => panic!("nobody has said what {other:?} answers"),
        },
        "manager" if !is_known(credential) => &[401],
        "manager" if !is_right => &[403],
        "manager" => match route.path.as_str() {
            "/api/cluster/join" => &[403],
            // They are about all servers, and it is for some.
            "/api/reload" | "/api/log-level" if credential == "right token" => &[403],
            _ => &[200],
        },
        "coordinator" if !is_known(credential) => &[401],
        "coordinator" if !is_right || !is_coordinator => &[403],
        // It is about all servers too.
        "coordinator" if credential == "right token" && route.method == "POST" => &[403],
        "coordinator" => match route.method.as_str() {
            // There is no such node.
            "POST" => &[404],
            _ if route.path.contains("/sessions/") => &[200, 404],
            _ => &[200],
        },
        // Without a node's own proof nobody is let in, whatever else he has.
        "node" if is_coordinator => &[401],
        "node" => &[403],
        // Where no server wants it, nobody logs in.
        "login" => &[404],
        "link" => &[404],
        other => panic!("nobody has said who may use the door {other:?}: {route:?}"),
    }
}

fn try_all(place: &Place, is_coordinator: bool) {
    let mut seen = BTreeSet::new();
    // A session that is ended is of no use to those that come later.
    let (ends, others): (Vec<Route>, Vec<Route>) =
        routes().into_iter().partition(|route| route.method == "DELETE");
    for route in others.iter().chain(&ends) {
        for credential in CREDENTIALS {
            let (status, text) = place.ask(route, credential);
            let expect = expected(route, credential, is_coordinator);
            assert!(
                expect.contains(&status),
                "{} {} with {credential}: {status} instead of {expect:?}: {text}",
                route.method,
                route.path,
            );
            if status >= 400 {
                for secret in [KEY, OTHER, ELSEWHERE] {
                    assert!(!text.contains(secret), "{route:?} {credential}: {text}");
                }
            }
            seen.insert((route.clone(), credential));
        }
    }
    assert_eq!(seen.len(), routes().len() * CREDENTIALS.len());
}

#[test]
fn every_route_of_a_gateway_answers_each_credential_as_it_should() {
    try_all(&Place::standalone(), false);
}

#[test]
fn every_route_of_a_coordinator_does_too() {
    try_all(&Place::coordinator(), true);
}

#[test]
fn the_list_of_routes_is_what_the_gateway_serves() {
    let routes = routes();
    let doors: BTreeSet<&str> = routes.iter().map(|route| route.door.as_str()).collect();
    let known =
        ["client", "coordinator", "link", "login", "manager", "metadata", "node", "probe", "site"];
    assert_eq!(doors, known.into_iter().collect());
    // Without any credential, whatever a route is for, and with nothing configured, each is there.
    let gateway = Gateway::start_with(&settings::standalone(json!({})));
    for route in routes.iter().filter(|route| route.path.starts_with("/api")) {
        let path = route.path.replace("{id}", "x").replace("{name}", "x");
        // A stream does not end.
        let status = Request::new(&route.method, &path).open(gateway.address()).status;
        assert_ne!(status, 405, "{route:?}");
    }
    // What is not listed is not there.
    for path in ["/api/cluster/secrets", "/api/config", "/api/cluster/nodes/x", "/metrics/x"] {
        let status = gateway.get(path).status;
        assert_eq!(status, 404, "{path}");
    }
}
