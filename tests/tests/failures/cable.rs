//! A network namespace behind a pair of virtual interfaces: a cable that can be pulled.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use mooring_tests::borrowed;

static MADE: AtomicU32 = AtomicU32::new(0);

pub struct Cable {
    namespace: String,
    outer: String,
    inner: String,
    /// The addresses of this side and of the other.
    pub here: String,
    pub there: String,
}

impl Cable {
    /// `None` where it cannot be made, which is said by name.
    pub fn lay(what: &str) -> Option<Self> {
        let number = std::process::id() % 20_000 + 20_000 * MADE.fetch_add(1, Ordering::Relaxed);
        let (third, fourth) = (number / 64 % 256, number % 64 * 4);
        let cable = Self {
            namespace: format!("moor{number}"),
            outer: format!("moor{number}o"),
            inner: format!("moor{number}i"),
            here: format!("10.213.{third}.{}", fourth + 1),
            there: format!("10.213.{third}.{}", fourth + 2),
        };
        let Self { namespace, outer, inner, here, there } = &cable;
        let (here, there) = (format!("{here}/30"), format!("{there}/30"));
        let steps: [&[&str]; 6] = [
            &["netns", "add", namespace],
            &["link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace],
            &["addr", "add", &here, "dev", outer],
            &["link", "set", outer, "up"],
            &["-n", namespace, "addr", "add", &there, "dev", inner],
            &["-n", namespace, "link", "set", inner, "up"],
        ];
        if !steps.iter().all(|step| ip(step)) || !ip(&["-n", namespace, "link", "set", "lo", "up"])
        {
            borrowed::skip(what, "needs root and `ip`, to make a network namespace");
            return None;
        }
        Some(cable)
    }

    /// The words that start a program at the other side.
    pub fn words(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.namespace]
    }

    /// The other side has no address meanwhile. So what is sent to it vanishes, and this side, whose
    /// link is up, is not told.
    pub fn pull(&self, is_out: bool) {
        let (what, there) = (if is_out { "del" } else { "add" }, format!("{}/30", self.there));
        assert!(ip(&["-n", &self.namespace, "addr", what, &there, "dev", &self.inner]));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.namespace]);
        ip(&["link", "delete", &self.outer]);
    }
}

fn ip(words: &[&str]) -> bool {
    let mut command = Command::new("ip");
    let run = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}
