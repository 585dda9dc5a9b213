//! A program beside the gateway with which a test exchanges lines; it ends with the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

pub struct Running {
    child: Child,
    input: ChildStdin,
    /// `None` once it is discarded.
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().expect("its stdin");
        let output = BufReader::new(child.stdout.take().expect("its stdout"));
        Self { child, input, output: Some(output) }
    }

    /// The next line it writes.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().expect("its output is read").read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the program has ended: {:?}", self.child.wait());
        line.trim_end().to_owned()
    }

    /// The next line, parsed as JSON.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
    }

    /// The port that it prints on a line, possibly between others.
    #[track_caller]
    pub fn port(&mut self) -> u16 {
        std::iter::repeat_with(|| self.line())
            .find_map(|line| line.parse().ok())
            .expect("a line for ever")
    }

    /// Discards everything that it writes from now on: a full pipe would block it.
    pub fn discard_output(&mut self) {
        if let Some(mut output) = self.output.take() {
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        }
    }

    /// Sends a line.
    pub fn send(&mut self, line: &Value) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).expect("it reads its stdin");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
