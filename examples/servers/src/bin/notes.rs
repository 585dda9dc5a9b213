//! Keeps notes in memory: tools to write them, resources to read them, a prompt about them.

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mooring_example_servers::{
    Answer, Arguments, Call, Example, Failure, INVALID_PARAMS, Pace, RESOURCE_NOT_FOUND, Refusal,
    Reply, Tool, run,
};
use serde_json::{Value, json};

/// Most notes kept in memory; more would call for a database.
const MAX_NOTES: usize = 10_000;

fn main() -> ExitCode {
    run(&Notes::default())
}

/// The notes, in order: the first is `note://1`.
#[derive(Default)]
struct Notes {
    texts: Mutex<Vec<String>>,
}

impl Example for Notes {
    const NAME: &'static str = "mooring-example-notes";

    fn tools() -> Vec<Tool<Self>> {
        vec![
            Tool {
                name: "add_note",
                description: "Keeps a note, to be read as the resource it returns.",
                arguments: json!({"text": {"type": "string"}}),
                required: &["text"],
                pace: Pace::Quick,
                reads_only: false,
                run: Self::add_note,
            },
            Tool {
                name: "list_notes",
                description: "Returns all notes of this session.",
                arguments: json!({}),
                required: &[],
                pace: Pace::Quick,
                reads_only: true,
                run: Self::list_notes,
            },
        ]
    }

    fn capabilities(&self) -> Value {
        json!({"tools": {}, "resources": {"listChanged": true}, "prompts": {}})
    }

    fn answer(&self, method: &str, params: &Value) -> Option<Result<Reply, Failure>> {
        Some(match method {
            "resources/list" => Ok(Reply::List("resources", self.resources())),
            "resources/read" => self.read(params),
            "resources/templates/list" => Ok(Reply::List("resourceTemplates", templates())),
            "prompts/list" => Ok(Reply::List("prompts", prompts())),
            "prompts/get" => self.prompt(params),
            _ => return None,
        })
    }
}

impl Notes {
    fn add_note(&self, arguments: Arguments<'_>, call: &Call<'_>) -> Result<Answer, Refusal> {
        let text = arguments.text("text")?;
        let text = text.ok_or_else(|| Refusal::rejected("`text` is missing"))?;
        let number = {
            let mut texts = self.texts();
            if texts.len() >= MAX_NOTES {
                return Err(Refusal::rejected(format!("{MAX_NOTES} notes are enough")));
            }
            texts.push(text.to_owned());
            texts.len()
        };
        call.notify("notifications/resources/list_changed", json!({}));
        let uri = uri(number);
        Ok(Answer::new(format!("kept as {uri}"), json!({"n": number, "uri": uri})))
    }

    fn list_notes(&self, _: Arguments<'_>, _: &Call<'_>) -> Result<Answer, Refusal> {
        let texts = self.texts();
        Ok(Answer::new(texts.join("\n"), json!({"notes": *texts})))
    }

    fn resources(&self) -> Vec<Value> {
        let describe = |number| {
            json!({
                "uri": uri(number),
                "name": format!("note {number}"),
                "mimeType": "text/plain",
            })
        };
        (1..=self.texts().len()).map(describe).collect()
    }

    fn read(&self, params: &Value) -> Result<Reply, Failure> {
        let uri = params["uri"].as_str().unwrap_or_default();
        let text = number(uri).and_then(|number| self.texts().get(number - 1).cloned());
        let text = text.ok_or_else(|| Failure::new(RESOURCE_NOT_FOUND, "Resource not found"))?;
        let contents = json!([{"uri": uri, "mimeType": "text/plain", "text": text}]);
        Ok(Reply::Whole(json!({ "contents": contents })))
    }

    fn prompt(&self, params: &Value) -> Result<Reply, Failure> {
        if params["name"] != "summarize" {
            return Err(Failure::new(INVALID_PARAMS, "Unknown prompt"));
        }
        let style = params.pointer("/arguments/style").and_then(Value::as_str);
        let text = format!(
            "Summarize these notes in {} style:\n\n{}",
            style.unwrap_or("a plain"),
            self.texts().join("\n")
        );
        Ok(Reply::Whole(json!({
            "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
        })))
    }

    fn texts(&self) -> MutexGuard<'_, Vec<String>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn templates() -> Vec<Value> {
    vec![json!({
        "uriTemplate": "note://{n}",
        "name": "note",
        "description": "A note, by its number",
        "mimeType": "text/plain",
    })]
}

fn prompts() -> Vec<Value> {
    vec![json!({
        "name": "summarize",
        "description": "Asks for a summary of all notes.",
        "arguments": [{"name": "style", "description": "such as `a formal`", "required": false}],
    })]
}

fn uri(number: usize) -> String {
    format!("note://{number}")
}

fn number(uri: &str) -> Option<usize> {
    uri.strip_prefix("note://")?.parse().ok().filter(|number| *number > 0)
}
