//! Remote servers behind a proxy: by the environment, and by their own `proxy`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mooring_tests::{Cluster, Front, Gateway, Scripted, Setup, eventually, settings};
use serde_json::{Value, json};

use crate::remote::old_upstreams::{NOT_ALLOWED, Old};
use crate::remote::upstreams::{SCOPES, ask, text};

/// A proxy that knows one host, under every name.
struct Proxy {
    address: SocketAddr,
    /// The heads of all requests.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `refusal` is the status line that answers a request, if it is refused.
    fn start(
        host: SocketAddr,
        refusal: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, refusal) = (Arc::clone(&heads), Arc::new(refusal));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, refusal) = (Arc::clone(&seen), Arc::clone(&refusal));
                std::thread::spawn(move || serve(client, host, &seen, &*refusal));
            }
        });
        Self { address, heads }
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// One request, or one tunnel.
fn serve(
    mut client: TcpStream,
    host: SocketAddr,
    seen: &Mutex<Vec<String>>,
    refusal: &dyn Fn(&str) -> Option<&'static str>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    if let Some(status) = refusal(&head) {
        let body = "<html>the proxy says no</html>";
        let length = body.len();
        write!(
            client,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .ok()?;
        // With the request's body unread, the system would take the answer back.
        client.shutdown(Shutdown::Write).ok()?;
        let _ = std::io::copy(&mut client, &mut std::io::sink());
        return None;
    }
    let mut server = TcpStream::connect(host).ok()?;
    match head.strip_prefix("CONNECT ") {
        Some(_) => client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?,
        None => {
            let (method, rest) = head.split_once(' ')?;
            let (target, lines) = rest.split_once(' ')?;
            let path = target.split_once("://")?.1.split_once('/').map_or("", |(_, path)| path);
            write!(server, "{method} /{path} {lines}").ok()?;
        }
    }
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let up = std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    let _ = up.join();
    Some(())
}

/// An entry for a server that has a name which only the proxy knows.
fn renamed(entry: &Value, more: Value) -> Value {
    let url = entry["url"].as_str().unwrap().replace("127.0.0.1", "upstream.test");
    settings::merged(settings::merged(entry.clone(), json!({"url": url})), more)
}

fn far() -> Scripted {
    Scripted::start(|_, out| Some(out))
}

fn old() -> Old {
    Old::start(|_, id| format!("/messages?sessionId={id}"), NOT_ALLOWED)
}

#[test]
fn a_proxy_of_the_environment_is_used_for_every_transport() {
    let (far, old) = (far(), old());
    let (to_far, to_old) =
        (Proxy::start(far.address(), |_| None), Proxy::start(old.server.address(), |_| None));
    for (proxy, entry, variable) in [
        (&to_far, far.entry(), "HTTP_PROXY"),
        (&to_far, settings::merged(far.entry(), json!({"type": null})), "http_proxy"),
        (&to_old, old.entry(), "ALL_PROXY"),
        (&to_old, settings::merged(old.entry(), json!({"type": null})), "all_proxy"),
    ] {
        let mut entry = renamed(&entry, json!({}));
        entry.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let gateway = Setup::new(&settings::standalone(json!({"far": entry})))
            .env(variable, &proxy.url("user:p%40ss@"))
            .start();
        for (path, tool) in SCOPES {
            let session = gateway.client(path).initialize();
            assert!(!text(&ask(&session, tool)).is_empty());
            session.delete().expect(200);
        }
        let heads = proxy.heads();
        assert!(!heads.is_empty());
        for head in heads {
            let line = head.lines().next().unwrap();
            assert!(
                line.contains(" http://upstream.test:") && line.ends_with(" HTTP/1.1"),
                "{head}"
            );
            assert!(head.contains("\r\nhost: upstream.test:"), "{head}");
            assert!(head.contains("\r\nproxy-authorization: Basic dXNlcjpwQHNz\r\n"), "{head}");
        }
        assert!(!gateway.log().contains("p%40ss") && !gateway.log().contains("p@ss"));
    }
}

#[test]
fn a_servers_own_proxy_is_used_in_a_cluster_too_and_none_means_none() {
    let far = far();
    let proxy = Proxy::start(far.address(), |_| None);
    let own = json!({"proxy": proxy.url("")});
    let servers = json!({
        "far": renamed(&far.entry(), own.clone()),
        // A server on this machine is reached through a proxy only if it names one itself.
        "near": settings::merged(far.entry(), json!({"proxy": {"url": proxy.url("")}})),
        "direct": settings::merged(far.entry(), json!({"proxy": false})),
    });
    Front::each(&servers, &json!({}), |front| {
        for (path, tool) in SCOPES {
            assert_eq!(text(&ask(&front.client(path).initialize(), tool)), "as usual");
        }
        let calls = |of: &str| {
            let of = format!("POST http://{of}");
            proxy.heads().iter().filter(|head| head.starts_with(&of)).count()
        };
        let before = calls("127.0.0.1");
        ask(&front.client("/mcp/near").initialize(), "ask");
        assert!(calls("127.0.0.1") > before, "{:?}", proxy.heads());
        let before = proxy.heads().len();
        ask(&front.client("/mcp/direct").initialize(), "ask");
        assert!(proxy.heads().iter().skip(before).all(|head| !head.starts_with("POST http://127")
            || head.contains("mcp-session-id")));
    });
}

#[test]
fn loopback_and_what_no_proxy_names_are_reached_directly() {
    let far = far();
    let proxy = Proxy::start(far.address(), |_| Some("502 Bad Gateway"));
    let gateway = Setup::new(&settings::standalone(json!({"far": far.entry()})))
        .env("HTTP_PROXY", &proxy.url(""))
        .env("ALL_PROXY", &proxy.url(""))
        .start();
    assert_eq!(text(&ask(&gateway.client("/mcp/far").initialize(), "ask")), "as usual");
    let exempt =
        Setup::new(&settings::standalone(json!({"far": renamed(&far.entry(), json!({}))})))
            .env("http_proxy", &proxy.url(""))
            .env("NO_PROXY", "other.test, .test")
            .start();
    // Nobody but the proxy knows the name.
    eventually("the failure", || {
        exempt.log().contains("cannot connect: failed to lookup").then_some(())
    });
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[test]
fn nodes_are_never_reached_through_a_proxy() {
    let far = far();
    let proxy = Proxy::start(far.address(), |_| Some("502 Bad Gateway"));
    let start = |settings: &Value| {
        Setup::new(settings)
            .env("HTTP_PROXY", &proxy.url(""))
            .env("http_proxy", &proxy.url(""))
            .env("ALL_PROXY", &proxy.url(""))
            .env("NO_PROXY", "nothing.test")
            .start()
    };
    let coordinator = start(&settings::coordinator(json!({})));
    let servers = json!({"far": settings::merged(far.entry(), json!({"proxy": "direct"}))});
    let node = start(&settings::node(coordinator.port(), json!({"id": "n"}), servers));
    let cluster = Cluster { coordinator, nodes: vec![node] };
    cluster.wait_for_active(1);
    assert_eq!(text(&ask(&cluster.client("/mcp/far").initialize(), "ask")), "as usual");
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

/// The error of an attempt to open the server.
fn error(gateway: &Gateway) -> String {
    let opened = gateway.client("/mcp/far").try_initialize();
    let answer = opened.json();
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn what_goes_wrong_at_a_proxy_is_told() {
    let far = far();
    let wants = Proxy::start(far.address(), |_| Some("407 Proxy Authentication Required"));
    let forbids = Proxy::start(far.address(), |_| Some("403 Forbidden"));
    let nobody = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (scheme, proxy, part) in [
        ("http", wants.url(""), "wants credentials (407"),
        ("http", wants.url("u:wrong@"), "refuses the credentials in its URL (407"),
        ("https", wants.url(""), "wants credentials (407"),
        ("https", wants.url("u:wrong@"), "refuses the credentials in its URL (407"),
        ("https", forbids.url(""), "does not connect to upstream.test:443: it says 403 Forbidden"),
        ("http", nobody.clone(), "cannot connect to the proxy"),
        ("https", nobody.clone(), "cannot connect to the proxy"),
        ("https", far.url(""), "does not connect to upstream.test:443: it says 405"),
    ] {
        for kind in ["streamable-http", "sse"] {
            let url = format!("{scheme}://upstream.test/mcp");
            let entry = json!({"type": kind, "url": url, "proxy": proxy});
            let gateway = Gateway::start_with(&settings::standalone(json!({"far": entry})));
            let error = error(&gateway);
            assert!(error.contains(part), "{kind} {scheme} {proxy}: {error}");
            assert!(error.contains("(its \"proxy\")"), "{error}");
            assert!(!error.contains("wrong") && !gateway.log().contains("wrong"), "{error}");
        }
    }
    let heads = wants.heads();
    assert!(heads.iter().any(|head| head.starts_with("CONNECT upstream.test:443 HTTP/1.1\r\n")
        && head.contains("\r\nproxy-authorization: Basic dTp3cm9uZw==\r\n")));
}

#[test]
fn a_proxy_that_cannot_be_used_is_told_before() {
    let entry = |proxy: Value| json!({"url": "https://upstream.test/mcp", "proxy": proxy});
    let settings = settings::standalone(json!({
        "usual": {"url": "https://upstream.test/mcp"},
        "socks": entry(json!({"enabled": true, "type": "socks4", "host": "p", "port": 1})),
        "word": entry(json!("ftp://u:hush@p")),
        "fine": entry(json!("u:hush@proxy.test")),
        "off": entry(json!({"enabled": false, "type": "socks4", "host": "p", "port": 1})),
        "unset": entry(json!("http://u:${ABSENT}@p")),
    }));
    let checked = Setup::new(&settings).env("HTTPS_PROXY", "gopher://u:hush@p").run(&["check"]);
    let page = format!(
        "{}{}",
        String::from_utf8_lossy(&checked.stdout),
        String::from_utf8_lossy(&checked.stderr)
    );
    for part in [
        "HTTPS_PROXY: must begin with http://, https:// or socks5://",
        "mcpServers.socks.proxy: names a SOCKS4 proxy, which is not supported",
        "mcpServers.word.proxy: must begin with http://",
        "environment variable ABSENT is not set",
        "(through proxy.test:80: its \"proxy\")",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("hush") && !page.contains("mcpServers.off"), "{page}");
}
