//! The trait that each example server implements.

use serde_json::{Value, json};

use crate::jsonrpc::Failure;
use crate::tool::Tool;

pub trait Example: Sync + Sized {
    const NAME: &'static str;

    fn tools() -> Vec<Tool<Self>>;

    fn capabilities(&self) -> Value {
        json!({"tools": {}})
    }

    /// Answers a request that is not about tools; `None` if the server has no such method.
    fn answer(&self, method: &str, params: &Value) -> Option<Result<Reply, Failure>> {
        let _ = (method, params);
        None
    }
}

/// The result of a request.
pub enum Reply {
    Whole(Value),
    /// A list that may be longer than a page, and the name of its member in the result.
    List(&'static str, Vec<Value>),
}

/// The settings from the environment.
#[derive(Default)]
pub struct Settings {
    pub label: Option<String>,
    /// Entries on a page of a list; `None` for all.
    pub page: Option<usize>,
}

impl Settings {
    pub fn from_env() -> Self {
        let page = std::env::var("MOORING_EXAMPLE_PAGE").ok();
        Self {
            label: std::env::var("MOORING_EXAMPLE_LABEL").ok(),
            page: page.and_then(|page| page.parse().ok()).filter(|page| *page > 0),
        }
    }
}
