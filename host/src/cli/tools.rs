//! `mooring tools`: the tools that clients see.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::model::visible;

use super::gateway::{self, Gateway};
use super::mcp_client::McpClient;
use super::table::table;
use super::terminal;

/// Longest time for the whole list: the gateway waits 5 s for servers that have not said yet what
/// they have.
const TIMEOUT: Duration = Duration::from_secs(30);
const HEAD: [&str; 2] = ["TOOL", "DESCRIPTION"];
/// Bytes of a description; a longer one is cut.
const MAX_DESCRIPTION: usize = 100;

pub fn run(gateway: &Gateway, server: Option<&str>, json: bool) -> ExitCode {
    let listing = gateway::runtime().and_then(|runtime| {
        runtime.block_on(async {
            let listing = Box::pin(tools(gateway, server));
            let late = |_| format!("no list within {} s", TIMEOUT.as_secs());
            tokio::time::timeout(TIMEOUT, listing).await.map_err(late)?
        })
    });
    match listing {
        Ok(tools) if json => terminal::say(visible::json(&Value::from(tools).to_string())),
        Ok(tools) => {
            let rows: Vec<_> = tools.iter().map(row).collect();
            terminal::say(table(HEAD, &rows).trim_end());
        }
        Err(why) => return super::failed(&why),
    }
    ExitCode::SUCCESS
}

async fn tools(gateway: &Gateway, server: Option<&str>) -> Result<Vec<Value>, String> {
    let mut client = McpClient::open(gateway, server).await?;
    let tools = client.list("tools/list", "tools").await;
    client.close().await;
    tools
}

fn row(tool: &Value) -> [String; HEAD.len()] {
    let text = |name: &str| tool[name].as_str().unwrap_or("");
    let first = text("description").lines().next().unwrap_or("").trim();
    let shown = first.get(..first.floor_char_boundary(MAX_DESCRIPTION)).unwrap_or(first);
    let cut = if shown.len() < first.len() { "…" } else { "" };
    [text("name").to_owned(), format!("{shown}{cut}")]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_line_of_a_description_is_shown() {
        let tool = |description: &str| json!({"name": "add", "description": description});
        assert_eq!(row(&tool("Adds.\nMore.")), ["add", "Adds."]);
        let long = "é".repeat(200);
        let [_, shown] = row(&tool(&long));
        assert!(shown.ends_with('…') && shown.len() < 110, "{shown}");
        assert_eq!(row(&json!({"name": "add"})), ["add", ""]);
    }
}
