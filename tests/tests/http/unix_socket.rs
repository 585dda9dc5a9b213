//! A Unix socket as the listening address: the same HTTP, for those who may open the file.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mooring_tests::{Certificate, Gateway, Setup, eventually, servers, settings};
use serde_json::{Value, json};

/// A folder with a short path: the address of a socket has room for 107 bytes.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    fn host(&self) -> String {
        format!("unix:{}", self.socket().display())
    }
}

fn counter() -> Value {
    settings::standalone(json!({"counter": servers::counter()}))
}

fn started(settings: &Value, place: &Place) -> Gateway {
    let mut gateway = Setup::new(settings).env("MOORING_HOST", &place.host()).prepare();
    gateway.spawn();
    eventually("it serves", || UnixStream::connect(place.socket()).ok());
    gateway
}

/// Status, headers and body of the answer to a request.
fn asked(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn posted(socket: &Path, session: &str, message: &Value) -> String {
    let (body, session) = (
        message.to_string(),
        if session.is_empty() { String::new() } else { format!("Mcp-Session-Id: {session}\r\n") },
    );
    asked(
        socket,
        &format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{session}\
             Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

#[test]
fn sessions_are_served_to_those_who_may_open_the_file() {
    let place = Place::new();
    let mut gateway = started(&counter(), &place);
    let socket = place.socket();
    let found = std::fs::metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600, "the gateway's own user");
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"},
    }});
    let answer = posted(&socket, "", &initialize);
    let session = answer.lines().find_map(|line| {
        line.to_lowercase().starts_with("mcp-session-id:").then(|| line[15..].trim().to_owned())
    });
    let session = session.unwrap_or_else(|| panic!("{answer}"));
    posted(&socket, &session, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    for count in 1..=2 {
        let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "counter-count", "arguments": {}}});
        let answer = posted(&socket, &session, &call);
        assert!(
            answer.contains(&format!("{{\"count\":{count}}}"))
                || answer.contains(&format!("\"text\":\"{count}\"")),
            "{answer}"
        );
    }
    assert!(
        asked(&socket, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200")
    );
    // A page of elsewhere has no way to a socket; the rules for hosts are those of loopback.
    let other =
        asked(&socket, "GET /mcp HTTP/1.1\r\nHost: attacker.example\r\nConnection: close\r\n\r\n");
    assert!(other.starts_with("HTTP/1.1 403"), "{other}");
    assert!(gateway.log().contains(&place.host()), "{}", gateway.log());
    assert!(gateway.terminate().success());
    assert!(!socket.exists(), "the file goes with its process");
}

#[test]
fn one_process_has_the_socket_and_what_a_killed_one_left_is_replaced() {
    let place = Place::new();
    let settings =
        settings::merged(counter(), json!({"systemConfig": {"listen": {"socketMode": "0666"}}}));
    let mut gateway = started(&settings, &place);
    let mode = std::fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let refused = Setup::new(&settings).env("MOORING_HOST", &place.host()).refused();
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("in use by another process"), "{errors}");
    gateway.kill9();
    assert!(place.socket().exists());
    let mut next = started(&settings, &place);
    // The file of before is there already.
    let livez = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    eventually("it serves", || {
        std::os::unix::net::UnixStream::connect(place.socket()).ok()?;
        asked(&place.socket(), livez).starts_with("HTTP/1.1 200").then_some(())
    });
    assert!(next.terminate().success());
    std::fs::write(place.socket(), "a file").unwrap();
    let refused = Setup::new(&settings).env("MOORING_HOST", &place.host()).refused();
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("no socket, so it is kept"), "{errors}");
    assert_eq!(std::fs::read_to_string(place.socket()).unwrap(), "a file");
}

#[test]
fn what_a_socket_cannot_be_used_for_is_said() {
    let (place, certificate) = (Place::new(), Certificate::of(&["localhost"]));
    let listen = |more: Value| settings::merged(json!({"host": place.host()}), more);
    let with = |settings: Value, listen: Value| {
        settings::merged(settings, json!({"systemConfig": {"listen": listen}}))
    };
    let tls = json!({"tls": {"cert": certificate.cert, "key": certificate.key}});
    let node = settings::node(1, json!({}), json!({}));
    for (settings, word) in [
        (with(counter(), listen(tls)), "no effect on a Unix socket"),
        (with(node, listen(json!({}))), "cannot call a node there"),
        (with(counter(), listen(json!({"socketMode": "9"}))), "socketMode"),
        (with(counter(), listen(json!({"socketMode": "0400"}))), "socketMode"),
        (with(counter(), json!({"host": "unix:"})), "listen.host: names no socket behind unix:"),
        (
            with(counter(), json!({"host": "unix:/a\u{0}b"})),
            "names a socket by a path with control characters",
        ),
        (
            with(counter(), json!({"host": format!("unix:/{}", "x".repeat(199))})),
            "listen.host: names a socket by a path of 200 bytes, and the system takes 107 at most; use a \
             shorter one",
        ),
    ] {
        // The variable of the tests would go first.
        let checked = Setup::new(&settings).env("MOORING_HOST", "").run(&["check"]);
        let errors = String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && errors.contains(word), "{settings}: {errors}");
    }
    let long = format!("unix:/{}", "x".repeat(107));
    let checked = Setup::new(&counter()).env("MOORING_HOST", &long).run(&["check"]);
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(errors.contains("MOORING_HOST: names a socket by a path of 108 bytes"), "{errors}");
    let setup = || Setup::new(&counter()).env("MOORING_HOST", &place.host());
    let refused = setup().arg("--take-over").refused();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a Unix socket is not handed over"));
    let asked = setup().run(&["health"]);
    let errors = String::from_utf8_lossy(&asked.stderr);
    assert!(!asked.status.success() && errors.contains("curl --unix-socket"), "{errors}");
    let checked = setup().run(&["check"]);
    let page = String::from_utf8_lossy(&checked.stdout);
    assert!(page.contains(&format!("{} (mode 0600)", place.host())), "{page}");
}
