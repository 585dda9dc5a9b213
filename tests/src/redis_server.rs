//! A Redis or Valkey of a test's own: `redis-server` or `valkey-server` of this machine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::borrowed::{on_the_path, skip};
use crate::deadline::eventually;
use crate::port::Port;
use crate::process;

/// What openssl makes an authority of nobody's but the test's by, and what that vouches for.
const AUTHORITY: &str = "[req]
prompt=no
distinguished_name=name
x509_extensions=authority
[name]
CN=Authority of a test
[authority]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
";
const CERTIFICATE: &str = "[req]
prompt=no
distinguished_name=name
[name]
CN=localhost
[server]
basicConstraints=critical,CA:FALSE
subjectAltName=DNS:localhost
";
/// The commands for both.
const MADE_BY: [&str; 3] = [
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
     -config authority.cnf -keyout authority-key.pem -out authority.pem",
    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config server.cnf \
     -keyout key.pem -out request.pem",
    "x509 -req -in request.pem -CA authority.pem -CAkey authority-key.pem -CAcreateserial \
     -days 2 -extfile server.cnf -extensions server -out cert.pem",
];

/// A server that is ended with the test.
pub struct RedisServer {
    program: PathBuf,
    folder: TempDir,
    port: Port,
    /// What stands before the host in its URL.
    user: String,
    /// Its own settings.
    args: Vec<String>,
    /// How [`Self::say`] gets in.
    auth: Option<String>,
    is_tls: bool,
    child: Option<Child>,
}

/// Rights of a user who needs no others, as in docs/cluster.md.
pub const RIGHTS: [&str; 5] = ["~mooring:*", "+@read", "+@write", "+@scripting", "+@connection"];

impl RedisServer {
    /// Starts one; without a program, reports that `what` is skipped.
    #[must_use]
    pub fn start(what: &str) -> Option<Self> {
        Self::prepare(what).map(Self::started)
    }

    /// One that wants a password.
    #[must_use]
    pub fn with_password(what: &str, password: &str) -> Option<Self> {
        let mut server = Self::prepare(what)?;
        server.args = vec!["--requirepass".to_owned(), password.to_owned()];
        server.user = format!(":{password}@");
        server.auth = Some(password.to_owned());
        Some(server.started())
    }

    /// One with a user who has [`RIGHTS`], and nobody else.
    #[must_use]
    pub fn with_user(what: &str, user: &str, password: &str) -> Option<Self> {
        let mut server = Self::prepare(what)?;
        server.let_in(user, password);
        Some(server.started())
    }

    fn let_in(&mut self, user: &str, password: &str) {
        let rule = format!("--user {user} on >{password} {} --user default off", RIGHTS.join(" "));
        self.args.extend(rule.split(' ').map(str::to_owned));
        self.user = format!("{user}:{password}@");
    }

    /// One that speaks TLS alone, as `localhost`, with a user who has [`RIGHTS`].
    /// [`Self::authority`] vouches for it.
    #[must_use]
    pub fn with_tls(what: &str, user: &str, password: &str) -> Option<Self> {
        let mut server = Self::prepare(what)?;
        let Some(openssl) = on_the_path("openssl") else {
            skip(what, "openssl is not installed");
            return None;
        };
        let folder = server.folder.path();
        for (name, text) in [("authority.cnf", AUTHORITY), ("server.cnf", CERTIFICATE)] {
            std::fs::write(folder.join(name), text).expect("a file");
        }
        for command in MADE_BY {
            let mut openssl = Command::new(&openssl);
            openssl.args(command.split_whitespace()).current_dir(folder);
            let made = openssl.output().expect("openssl runs");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let file = |name: &str| folder.join(name).display().to_string();
        let (cert, key, authority) = (file("cert.pem"), file("key.pem"), file("authority.pem"));
        let port = server.port.number().to_string();
        server.args = ["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]
            .into_iter()
            .chain(["--tls-cert-file", &cert, "--tls-key-file", &key])
            .chain(["--tls-ca-cert-file", &authority])
            .map(str::to_owned)
            .collect();
        server.is_tls = true;
        server.let_in(user, password);
        Some(server.started())
    }

    /// The authority to be trusted for one with TLS.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    fn prepare(what: &str) -> Option<Self> {
        let programs = ["redis-server", "valkey-server"];
        let Some(program) = programs.iter().find_map(|name| on_the_path(name)) else {
            skip(what, "neither redis-server nor valkey-server is installed");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("mooring-redis-").tempdir().expect("a folder");
        let (port, args) = (Port::reserve(), Vec::new());
        let (user, auth) = (String::new(), None);
        Some(Self { program, folder, port, user, args, auth, is_tls: false, child: None })
    }

    fn started(mut self) -> Self {
        self.start_again();
        self
    }

    /// Starts it again, empty, at its port.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &self.port.number().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.child = Some(command.spawn().expect("it starts"));
        eventually("Redis answers", || TcpStream::connect(self.port.address()).ok());
    }

    /// Its URL, with the password if it wants one.
    #[must_use]
    pub fn url(&self) -> String {
        match self.is_tls {
            false => format!("redis://{}127.0.0.1:{}", self.user, self.port.number()),
            true => format!("rediss://{}localhost:{}", self.user, self.port.number()),
        }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Sends a command, in words without blanks, and returns what comes first.
    pub fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.port.address()).expect("it is there");
        let auth = self.auth.as_ref().map(|word| format!("AUTH {word}\r\n"));
        let text = format!("{}{command}\r\nQUIT\r\n", auth.unwrap_or_default());
        stream.write_all(text.as_bytes()).expect("it reads");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a signal");
        child.wait().expect("its end");
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.child.as_ref().expect("it runs").id(), signal);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
