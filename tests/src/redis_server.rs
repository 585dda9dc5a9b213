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

/// A server that is ended with the test.
pub struct RedisServer {
    program: PathBuf,
    folder: TempDir,
    port: Port,
    password: Option<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one; without a program, reports that `what` is skipped.
    #[must_use]
    pub fn start(what: &str) -> Option<Self> {
        Self::start_with(what, None)
    }

    /// One that wants a password.
    #[must_use]
    pub fn start_with(what: &str, password: Option<&str>) -> Option<Self> {
        let programs = ["redis-server", "valkey-server"];
        let Some(program) = programs.iter().find_map(|name| on_the_path(name)) else {
            skip(what, "neither redis-server nor valkey-server is installed");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("mooring-redis-").tempdir().expect("a folder");
        let (port, password) = (Port::reserve(), password.map(str::to_owned));
        let mut server = Self { program, folder, port, password, child: None };
        server.start_again();
        Some(server)
    }

    /// Starts it again, empty, at its port.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &self.port.number().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        self.child = Some(command.spawn().expect("it starts"));
        eventually("Redis answers", || TcpStream::connect(self.port.address()).ok());
    }

    /// Its URL, with the password if it wants one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            None => format!("redis://127.0.0.1:{}", self.port.number()),
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port.number()),
        }
    }

    /// Sends a command, in words without blanks, and returns what comes first.
    pub fn say(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.port.address()).expect("it is there");
        let auth = self.password.as_ref().map(|word| format!("AUTH {word}\r\n"));
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
