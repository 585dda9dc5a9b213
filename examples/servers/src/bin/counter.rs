//! Counts for as long as its process lives: the smallest server whose state makes routing matter.
//!
//! Two sessions that see each other's count share a process; a count that starts again shows that
//! the process did. `whoami` returns the process id.

use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicI64, Ordering};

use mooring_example_servers::{Answer, Arguments, Call, Example, Pace, Refusal, Tool, run};
use serde_json::json;

fn main() -> ExitCode {
    run(&Counter::default())
}

#[derive(Default)]
struct Counter {
    value: AtomicI64,
}

impl Example for Counter {
    const NAME: &'static str = "mooring-example-counter";

    fn tools() -> Vec<Tool<Self>> {
        vec![
            Tool {
                name: "count",
                description: "Adds to the counter of this session and returns its new value.",
                arguments: json!({
                    "by": {"type": "integer", "default": 1, "description": "how much to add"},
                }),
                required: &[],
                pace: Pace::Quick,
                reads_only: false,
                run: Self::count,
            },
            Tool {
                name: "whoami",
                description: "Tells which process serves this session.",
                arguments: json!({}),
                required: &[],
                pace: Pace::Quick,
                reads_only: true,
                run: Self::whoami,
            },
            Tool {
                name: "reset",
                description: "Sets the counter of this session back to zero.",
                arguments: json!({}),
                required: &[],
                pace: Pace::Quick,
                reads_only: false,
                run: Self::reset,
            },
        ]
    }
}

impl Counter {
    fn count(&self, arguments: Arguments<'_>, _: &Call<'_>) -> Result<Answer, Refusal> {
        let by = arguments.integer("by")?.unwrap_or(1);
        let value = self.value.fetch_add(by, Ordering::Relaxed).wrapping_add(by);
        Ok(Answer::new(value.to_string(), json!({"value": value})))
    }

    fn whoami(&self, _: Arguments<'_>, _: &Call<'_>) -> Result<Answer, Refusal> {
        let pid = process::id();
        Ok(match std::env::var("MOORING_EXAMPLE_NAME") {
            Ok(name) => {
                Answer::new(format!("process {pid} of {name}"), json!({"pid": pid, "name": name}))
            }
            Err(_) => Answer::new(format!("process {pid}"), json!({"pid": pid})),
        })
    }

    fn reset(&self, _: Arguments<'_>, _: &Call<'_>) -> Result<Answer, Refusal> {
        self.value.store(0, Ordering::Relaxed);
        Ok(Answer::new("0", json!({"value": 0})))
    }
}
