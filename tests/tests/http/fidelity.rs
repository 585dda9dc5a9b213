//! Messages pass through byte for byte, except for names that have to change: see
//! ../fixtures/verbatim-server.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mooring_tests::http::Incoming;
use mooring_tests::{Cluster, Gateway, Request, Response, Session, binaries, settings};
use serde_json::{Value, json};

use crate::http::odd_values::{VALUES, text};
use mooring_tests::running::Running;

const INITIALIZE: &str = include_str!("../../fixtures/verbatim-server/src/initialize.json");
const TOOLS: &str = include_str!("../../fixtures/verbatim-server/src/tools.jsonl");

/// Values with more bytes are tried with one id only.
const SHORT: usize = 10_000;
/// Ids in various spellings.
const IDS: [&str; 6] =
    ["1", "-5", "12345678901234567890123", "1.50", r#""a \u0062\/""#, r#""é😀""#];

#[test]
fn standalone_passes_a_stdio_server() {
    standalone(&stdio());
}

#[test]
fn standalone_passes_an_http_server() {
    let server = Http::start();
    standalone(&server.entry());
}

#[test]
fn a_cluster_passes_a_stdio_server() {
    cluster(&stdio());
}

#[test]
fn a_cluster_passes_an_http_server() {
    let server = Http::start();
    cluster(&server.entry());
}

fn standalone(server: &Value) {
    for mode in [Names::Prefixed, Names::Plain] {
        let mut settings = mode.settings();
        settings["mcpServers"] = json!({"verbatim": server});
        all_scopes(&Gateway::start_with(&settings), mode, LineBreaks::of(server));
    }
}

fn cluster(server: &Value) {
    for mode in [Names::Prefixed, Names::Plain] {
        let settings = settings::merged(settings::coordinator(json!({})), mode.settings());
        let coordinator = Gateway::start_with(&settings);
        let mut cluster = Cluster { coordinator, nodes: Vec::new() };
        cluster.add("a", json!({"verbatim": server}));
        cluster.wait_for_active(1);
        all_scopes(&cluster.coordinator, mode, LineBreaks::of(server));
    }
}

/// `namePrefix` of the gateway.
#[derive(Debug, Clone, Copy)]
enum Names {
    Prefixed,
    Plain,
}

impl Names {
    fn settings(self) -> Value {
        let groups = json!([{"name": "desk", "servers": ["verbatim"]}]);
        match self {
            Self::Prefixed => json!({"groups": groups}),
            Self::Plain => json!({"groups": groups, "systemConfig": {"namePrefix": "never"}}),
        }
    }
}

/// What happens to raw line breaks in a message to the server: on a pipe each would end it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum LineBreaks {
    Kept,
    Spaces,
}

impl LineBreaks {
    fn of(server: &Value) -> Self {
        if server["command"].is_string() { Self::Spaces } else { Self::Kept }
    }
}

fn all_scopes(gateway: &Gateway, mode: Names, breaks: LineBreaks) {
    let prefix = match mode {
        Names::Prefixed => "verbatim-",
        Names::Plain => "",
    };
    for (path, prefix) in [("/mcp/verbatim", ""), ("/mcp", prefix), ("/mcp/desk", prefix)] {
        let single = path == "/mcp/verbatim";
        eprintln!("{path}, names {mode:?}");
        let client = gateway.client(path);
        let scope = Scope { session: client.initialize(), prefix, single, breaks };
        scope.requests();
        scope.on_several_lines();
        scope.responses();
        scope.events();
        scope.said_by_the_client();
        scope.lists();
        if single {
            // An aggregate has its own answer and its own stream.
            scope.the_first_answer();
            scope.other_methods();
            scope.listened();
        }
    }
}

struct Scope {
    session: Session,
    /// The prefix of tool names, as clients see them.
    prefix: &'static str,
    /// Whether the URL is of this server alone; otherwise its messages name the server.
    single: bool,
    breaks: LineBreaks,
}

impl Scope {
    /// A message as the server gets it. On a pipe nothing in it ends a line, for no reader.
    fn as_heard(&self, sent: &str) -> String {
        match self.breaks {
            LineBreaks::Kept => sent.to_owned(),
            LineBreaks::Spaces => sent
                .replace(['\r', '\n'], " ")
                .replace('\u{85}', "\\u0085")
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029"),
        }
    }

    /// On an aggregate an id is a string or a whole number.
    fn ids(&self, value: &str) -> Vec<&'static str> {
        let some = if value.len() < SHORT { &IDS[..] } else { &IDS[..1] };
        some.iter().copied().filter(|id| self.single || *id != "1.50").collect()
    }

    /// A value where an aggregate takes objects alone, with members that all readers can read.
    fn in_an_object(&self, value: &str) -> String {
        if self.single { value.to_owned() } else { format!("{{\"x/y\":{value}}}") }
    }

    /// Calls of `echo` in every spelling.
    fn requests(&self) {
        for (what, value) in VALUES {
            let value = text(value);
            let meta = self.in_an_object(&value);
            for id in self.ids(&value) {
                let ways = |name: &str| {
                    [
                        format!(
                            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":{name},"arguments":{value}}}}}"#
                        ),
                        format!(
                            r#"{{ "x-vendor" : {value} ,"params":{{"_meta":{meta},"x":{value}, "name" :{name} ,"arguments":{{"name":"decoy"}} }},"method":"tools\/\u0063all","id":{id}, "jsonrpc":"2.0"}}"#
                        ),
                    ]
                };
                let mut shown = vec![format!("\"{}echo\"", self.prefix)];
                if !self.prefix.is_empty() {
                    shown.push(r#""verb\u0061tim-echo""#.to_owned());
                }
                for shown in shown {
                    for (sent, expected) in ways(&shown).iter().zip(ways("\"echo\"")) {
                        let response = self.send(sent);
                        let expected = self.as_heard(&expected);
                        same(&echoed(&response), expected.as_bytes(), &format!("request, {what}"));
                    }
                }
            }
        }
    }

    fn on_several_lines(&self) {
        let written = |name: &str| {
            format!(
                "{{\r\n\t\"jsonrpc\": \"2.0\",\n\"id\":1,\r\"method\": \"tools/call\",\n\n\"params\": {{\n\"name\": \"{name}\"\n}}\n}}\n"
            )
        };
        let expected = self.as_heard(&written("echo"));
        let response = self.send(&written(&format!("{}echo", self.prefix)));
        same(&echoed(&response), expected.as_bytes(), "request on several lines");
        if self.breaks == LineBreaks::Kept {
            let answer = "{\r\n\"result\":\n{\t},\n\n\"jsonrpc\":\"2.0\",\r\"id\":1\n}\n";
            let response = self.emitted("1", "json", &[answer]);
            same(&response.body, answer.as_bytes(), "response on several lines");
        }
    }

    /// Responses of the server.
    fn responses(&self) {
        for (what, value) in VALUES {
            let value = text(value);
            for id in self.ids(&value) {
                for answer in [
                    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{value}}}"#),
                    format!(
                        r#"{{"result":{{"content":[],"structuredContent":{value}}}, "x-vendor" :{value},"id": {id},"jsonrpc":"2.\u0030"}}"#
                    ),
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"data":{value},"code":-32602.0,"message":"\u0041","x":{value}}}}}"#
                    ),
                ] {
                    let response = self.emitted(id, "json", &[&answer]);
                    assert!(!response.is_event_stream(), "{what}: {}", response.text());
                    same(&response.body, answer.as_bytes(), &format!("response, {what}"));
                }
            }
        }
    }

    /// Messages before an answer, and a request of the server with the client's answer.
    fn events(&self) {
        for (what, value) in VALUES {
            let value = text(value);
            let message = |logger: &str, id: &str, params: &str| {
                [
                    format!(
                        r#"{{"params":{{{logger}"level":"info","data":{value}}},"method":"notifications/message","jsonrpc":"2.0"}}"#
                    ),
                    format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications\/com.example","x-vendor":{value}}}"#
                    ),
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage","params":{params}}}"#
                    ),
                    format!(r#"{{"jsonrpc":"2.0", "id":9,"result":{{"x":{value}}}}}"#),
                ]
            };
            let id = r#""\u0073 1""#;
            let messages = message("", id, &value);
            let expected = if self.single {
                messages.clone()
            } else {
                message(r#""logger":"verbatim","#, &owned(id), &asked_by_verbatim(&value))
            };
            let response = self.emitted("9", "events", &messages.each_ref().map(String::as_str));
            let events = response.events();
            assert_eq!(events.len(), messages.len(), "{what}: {}", response.text());
            for (event, expected) in events.iter().zip(&expected) {
                same(event.data.as_bytes(), expected.as_bytes(), &format!("event, {what}"));
            }
        }
    }

    /// Notifications and answers of the client.
    fn said_by_the_client(&self) {
        let _ = self.heard();
        for (what, value) in VALUES {
            let value = text(value);
            let params = self.in_an_object(&value);
            // Of an aggregate's client only its own notifications go on.
            let other = if self.single { "com.example" } else { "roots/list_changed" };
            let said = |text: &str, number: &str| {
                [
                    format!(
                        r#"{{"params":{params},"jsonrpc":"2.0","method":"notifications\/roots/list_changed"}}"#
                    ),
                    format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/{other}","x-vendor":{value}}}"#
                    ),
                    format!(r#"{{"result":{{"x":{value}}},"id":{text},"jsonrpc":"2.0"}}"#),
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-1,"message":"","data":{value}}}}}"#
                    ),
                ]
            };
            let (text, number) = (r#""\u0073 1""#, "12345678901234567890123");
            let expected = said(text, number);
            let said =
                if self.single { expected.clone() } else { said(&owned(text), &owned(number)) };
            // An answer passes only if the server has sent the request.
            let ask = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
            let answer = r#"{"jsonrpc":"2.0","id":9,"result":{}}"#;
            let (first, second) = (ask(text), ask(number));
            self.emitted("9", "events", &[&first, &second, answer]);
            let _ = self.heard();
            for (said, expected) in said.iter().zip(&expected) {
                self.send(said).expect(202);
                let heard = self.heard();
                assert_eq!(heard.len(), 1, "{what}: {heard:?}");
                let expected = self.as_heard(expected);
                same(&heard[0], expected.as_bytes(), &format!("said by the client, {what}"));
            }
        }
    }

    /// Entries of a list, except for their names.
    fn lists(&self) {
        let response = self.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).expect(200);
        let listed = response.text();
        for tool in TOOLS.lines() {
            let name = serde_json::from_str::<Value>(&tool.replace("1e400", "0")).unwrap();
            let name = name["name"].as_str().unwrap();
            let written = if tool.contains(&format!("\"{name}\"")) {
                format!("\"{name}\"")
            } else {
                r#""\u0065mit""#.to_owned()
            };
            let shown = format!("\"{}{name}\"", self.prefix);
            let expected = tool.replace(&format!(":{written}"), &format!(":{shown}"));
            let expected = expected.replace(&format!(" : {written}"), &format!(" : {shown}"));
            let may_stay = self.prefix.is_empty() && listed.contains(tool);
            assert!(may_stay || listed.contains(&expected), "{expected} is not in {listed}");
        }
    }

    fn the_first_answer(&self) {
        let expected = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{INITIALIZE}}}"#);
        same(&self.session.response.body, expected.as_bytes(), "InitializeResult");
    }

    /// Methods that the gateway does not know.
    fn other_methods(&self) {
        for (what, value) in VALUES {
            let value = text(value);
            for method in ["resources/read", "tasks/get", r"x\/y\u0020z"] {
                let sent = format!(
                    r#"{{"id":"{method}","params":{value},"method":"{method}","jsonrpc":"2.0"}}"#
                );
                let expected = self.as_heard(&sent);
                same(&echoed(&self.send(&sent)), expected.as_bytes(), &format!("{method}, {what}"));
            }
        }
    }

    /// The GET stream.
    fn listened(&self) {
        let mut stream: Incoming = self.session.listen();
        assert_eq!(stream.status, 200);
        for (what, value) in VALUES {
            let message = format!(
                r#"{{"x-vendor":{},"jsonrpc":"2.0","method":"notifications/tools/list_changed"}}"#,
                text(value)
            );
            let orders = json!({"messages": [STANDARD.encode(&message)]});
            self.session.call(&format!("{}announce", self.prefix), orders);
            same(stream.event().data.as_bytes(), message.as_bytes(), &format!("listened, {what}"));
        }
    }

    fn emitted(&self, id: &str, framing: &str, messages: &[&str]) -> Response {
        let messages: Vec<String> = messages.iter().map(|text| STANDARD.encode(text)).collect();
        let arguments = json!({"messages": messages, "as": framing});
        let name = format!("{}emit", self.prefix);
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
        ))
        .expect(200)
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        let result = self.session.call(&format!("{}heard", self.prefix), json!({}));
        let lines = result["content"][0]["text"].as_str().expect("a text").lines();
        lines.map(|line| STANDARD.decode(line).expect("base64")).collect()
    }

    fn send(&self, message: &str) -> Response {
        let request: Request = self.session.with(self.session.client.post());
        request.body(message).send(self.session.client.address())
    }
}

/// The id of a fixture's request, as clients of an aggregate see it.
fn owned(id: &str) -> String {
    json!(format!("{id}@verbatim")).to_string()
}

/// The parameters of such a request: an object gets the server's name.
fn asked_by_verbatim(params: &str) -> String {
    const ASKS: &str = r#""mooring/server":"verbatim""#;
    let with_meta = params.strip_prefix(r#"{"_meta":{"#);
    match (with_meta, params.strip_prefix('{')) {
        (Some(rest), _) => format!(r#"{{"_meta":{{{ASKS},{rest}"#),
        (None, Some("}")) => format!(r#"{{"_meta":{{{ASKS}}}}}"#),
        (None, Some(rest)) => format!(r#"{{"_meta":{{{ASKS}}},{rest}"#),
        (None, None) => params.to_owned(),
    }
}

/// The message that the fixture reports as received.
#[track_caller]
fn echoed(response: &Response) -> Vec<u8> {
    assert_eq!(response.status, 200, "{}", response.text());
    // Searched as text: the id may be a number that no `Value` can hold.
    let text = response.text();
    let (_, rest) = text.split_once(r#""text":""#).unwrap_or_else(|| panic!("no text: {text}"));
    let (encoded, _) = rest.split_once('"').expect("the end of the text");
    STANDARD.decode(encoded).expect("base64")
}

/// Asserts equality, and shows only where the bytes differ: values have up to 300 KiB.
#[track_caller]
fn same(got: &[u8], expected: &[u8], what: &str) {
    if got == expected {
        return;
    }
    let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let near = |bytes: &[u8]| {
        let end = (at + 80).min(bytes.len());
        String::from_utf8_lossy(&bytes[at.saturating_sub(40).min(end)..end]).into_owned()
    };
    panic!(
        "{what}: {} bytes came for {}; from byte {at} on they differ:\n{}\n{}",
        got.len(),
        expected.len(),
        near(got),
        near(expected)
    );
}

fn stdio() -> Value {
    json!({"command": "mooring-verbatim-server", "args": ["stdio"]})
}

/// The fixture behind a URL.
struct Http {
    port: u16,
    _process: Running,
}

impl Http {
    fn start() -> Self {
        let mut command = Command::new(binaries::program("mooring-verbatim-server"));
        let mut process = Running::start(command.arg("http"));
        Self { port: process.port(), _process: process }
    }

    fn entry(&self) -> Value {
        json!({"type": "streamable-http", "url": format!("http://127.0.0.1:{}/mcp", self.port)})
    }
}
