//! `mooring call`: calls a tool as a client does.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::model::visible;

use super::gateway::{self, Gateway};
use super::mcp_client::McpClient;
use super::terminal;

/// Exit code for a tool that says that it has failed.
const TOOL_FAILED: u8 = 3;

pub struct CallOptions<'a> {
    pub server: &'a str,
    pub tool: &'a str,
    /// A JSON object.
    pub arguments: &'a str,
    pub timeout: Duration,
    pub json: bool,
}

pub fn run(gateway: &Gateway, options: &CallOptions<'_>) -> ExitCode {
    let arguments: Map<String, Value> = match serde_json::from_str(options.arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            terminal::warn(format!("mooring: the arguments are no JSON object: {error}"));
            return ExitCode::from(super::WRONG);
        }
    };
    let calling = gateway::runtime().and_then(|runtime| {
        runtime.block_on(async {
            let call = Box::pin(call(gateway, options, arguments));
            let seconds = options.timeout.as_secs_f32();
            let late = || format!("no answer within {seconds} s (--timeout)");
            tokio::time::timeout(options.timeout, call).await.map_err(|_| late())?
        })
    });
    match calling {
        Ok(result) => said(&result, options.json),
        Err(why) => super::failed(&why),
    }
}

async fn call(
    gateway: &Gateway,
    options: &CallOptions<'_>,
    arguments: Map<String, Value>,
) -> Result<Value, String> {
    let mut client = McpClient::open(gateway, Some(options.server)).await?;
    let params = json!({"name": options.tool, "arguments": arguments});
    let result = client.request("tools/call", params).await;
    client.close().await;
    result
}

fn said(result: &Value, json: bool) -> ExitCode {
    if json {
        terminal::say(visible::json(&result.to_string()));
    } else {
        terminal::say(text_of(result).trim_end());
    }
    match result["isError"] == true {
        true => ExitCode::from(TOOL_FAILED),
        false => ExitCode::SUCCESS,
    }
}

/// The texts of a result, one below the other; what is no text as JSON.
fn text_of(result: &Value) -> String {
    let content = result["content"].as_array().into_iter().flatten();
    let texts =
        content.map(|part| match part["text"].as_str().filter(|_| part["type"] == "text") {
            Some(text) => text.to_owned(),
            None => part.to_string(),
        });
    let texts: Vec<String> = texts.collect();
    match (texts.is_empty(), result.get("structuredContent")) {
        (true, Some(structured)) => structured.to_string(),
        _ => texts.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_printed_as_they_are_and_other_content_as_json() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let image = json!({"type": "image", "data": "AA=="});
        for (result, expect) in [
            (json!({"content": [text("a"), text("b\nc")]}), "a\nb\nc".to_owned()),
            (json!({"content": [image]}), image.to_string()),
            (json!({"content": [], "structuredContent": {"n": 1}}), "{\"n\":1}".to_owned()),
            (json!({"content": [text("a")], "structuredContent": {"n": 1}}), "a".to_owned()),
            (json!({}), String::new()),
        ] {
            assert_eq!(text_of(&result), expect);
        }
    }
}
