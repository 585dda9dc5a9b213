//! Clients made with the official SDKs, run as ../witness/README.md describes.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use mooring_tests::borrowed;
use mooring_tests::running::Running;
use mooring_tests::settings;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    TypeScript1,
    TypeScript2,
    Python,
}

impl Sdk {
    /// The SDKs that can run here; reports for the others that `what` is skipped.
    pub fn at_hand(what: &str) -> Vec<Self> {
        let all = [Self::TypeScript1, Self::TypeScript2, Self::Python];
        all.into_iter().filter(|sdk| sdk.is_at_hand(what)).collect()
    }

    pub fn is_at_hand(self, what: &str) -> bool {
        let keys: &[&str] = match self {
            Self::TypeScript1 => &["node", "ts_v1"],
            Self::TypeScript2 => &["node", "ts_v2"],
            Self::Python => &["python"],
        };
        borrowed::at_hand(&format!("{what}, {self:?} SDK"), keys)
    }

    /// The output of a scenario, which must succeed.
    #[track_caller]
    pub fn run(self, scenario: &str, url: &str, options: &Value) -> Value {
        let output =
            self.command(scenario, url, options).stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{self:?} {scenario} {url}: {}{said}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("no JSON ({error}): {said}"))
    }

    /// A session that stays open.
    #[track_caller]
    pub fn hold(self, url: &str) -> Held {
        let mut process = Running::start(&mut self.command("hold", url, &json!({})));
        let opened = process.json();
        assert_eq!(opened["ready"], true, "{opened}");
        Held { process, id: opened["sessionId"].as_str().expect("a session id").to_owned() }
    }

    /// Sessions that call all the time, until it is asked what they have seen.
    #[track_caller]
    pub fn load(self, url: &str, options: &Value) -> Load {
        let mut process = Running::start(&mut self.command("load", url, options));
        assert_eq!(process.json()["ready"], true);
        Load(process)
    }

    fn command(self, scenario: &str, url: &str, options: &Value) -> Command {
        let (interpreter, script) = match self {
            Self::TypeScript1 => ("node", "ts/v1.mjs"),
            Self::TypeScript2 => ("node", "ts/v2.mjs"),
            Self::Python => ("python", "py/witness.py"),
        };
        let mut command = Command::new(borrowed::starter(interpreter));
        command
            .arg(settings::repository().join("tests/witness").join(script))
            .args([scenario, url, &options.to_string()])
            .env("MOORING_WITNESS_DIR", borrowed::folder());
        command
    }
}

/// What an SDK's sessions do in a separate process.
pub struct Load(Running);

impl Load {
    /// Ends it. Returns how many sessions there were, how many answers, and what failed.
    #[track_caller]
    pub fn end(mut self) -> Value {
        self.0.send(&json!({}));
        self.0.json()
    }
}

/// An SDK's session, held open by a separate process.
pub struct Held {
    process: Running,
    pub id: String,
}

impl Held {
    /// A tool's result, or `{"error": …}`.
    #[track_caller]
    pub fn call(&mut self, tool: &str) -> Value {
        self.call_with(tool, json!({}))
    }

    #[track_caller]
    pub fn call_with(&mut self, tool: &str, arguments: Value) -> Value {
        self.process.send(&json!({"tool": tool, "arguments": arguments}));
        self.process.json()
    }
}

/// The members of an array of strings.
#[track_caller]
pub fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    list.iter().map(|text| text.as_str().expect("a text")).collect()
}
