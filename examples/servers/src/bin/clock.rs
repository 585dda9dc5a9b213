//! Tells the time, and offers calls that last, overlap, report progress and can be cancelled.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mooring_example_servers::{Answer, Arguments, Call, Example, Pace, Refusal, Tool, Waited, run};
use serde_json::json;

/// Longest sleep in milliseconds: an hour, longer than any timeout worth trying.
const MAX_MS: u64 = 3_600_000;
const MAX_STEPS: u64 = 10_000;

fn main() -> ExitCode {
    run(&Clock::default())
}

#[derive(Default)]
struct Clock {
    waiting: AtomicUsize,
}

impl Example for Clock {
    const NAME: &'static str = "mooring-example-clock";

    fn tools() -> Vec<Tool<Self>> {
        vec![
            Tool {
                name: "now",
                description: "Returns the time, and how many calls are waiting for it to pass.",
                arguments: json!({}),
                required: &[],
                pace: Pace::Quick,
                reads_only: true,
                run: Self::now,
            },
            Tool {
                name: "sleep",
                description: "Returns after some milliseconds; other calls go on meanwhile.",
                arguments: json!({"ms": {"type": "integer", "minimum": 0, "maximum": MAX_MS}}),
                required: &["ms"],
                pace: Pace::Slow,
                reads_only: false,
                run: Self::sleep,
            },
            Tool {
                name: "wait_with_progress",
                description: "Waits in steps of some milliseconds and reports each of them.",
                arguments: json!({
                    "steps": {"type": "integer", "minimum": 0, "maximum": MAX_STEPS},
                    "ms": {"type": "integer", "minimum": 0, "maximum": MAX_MS},
                }),
                required: &["steps", "ms"],
                pace: Pace::Slow,
                reads_only: false,
                run: Self::wait_with_progress,
            },
        ]
    }
}

impl Clock {
    fn now(&self, _: Arguments<'_>, _: &Call<'_>) -> Result<Answer, Refusal> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ms = since_epoch.unwrap_or_default().as_millis() as u64;
        let waiting = self.waiting.load(Ordering::Relaxed);
        Ok(Answer::new(unix_ms.to_string(), json!({"unix_ms": unix_ms, "waiting": waiting})))
    }

    fn sleep(&self, arguments: Arguments<'_>, call: &Call<'_>) -> Result<Answer, Refusal> {
        let ms = arguments.up_to("ms", MAX_MS)?;
        let _waiting = Waiting::enter(&self.waiting);
        wait(call, ms)?;
        Ok(Answer::new(format!("slept {ms} ms"), json!({"ms": ms})))
    }

    fn wait_with_progress(
        &self,
        arguments: Arguments<'_>,
        call: &Call<'_>,
    ) -> Result<Answer, Refusal> {
        let steps = arguments.up_to("steps", MAX_STEPS)?;
        let ms = arguments.up_to("ms", MAX_MS)?;
        let _waiting = Waiting::enter(&self.waiting);
        for step in 1..=steps {
            wait(call, ms)?;
            call.progress(step, steps);
        }
        Ok(Answer::new(format!("{steps} steps of {ms} ms"), json!({"steps": steps, "ms": ms})))
    }
}

fn wait(call: &Call<'_>, ms: u64) -> Result<(), Refusal> {
    match call.wait(Duration::from_millis(ms)) {
        Waited::Full => Ok(()),
        Waited::Cancelled => Err(Refusal::Cancelled),
    }
}

/// Counts a call while it waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
