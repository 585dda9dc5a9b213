//! Where a user is invited to log in, as clients are told (2025-11-25, client/elicitation, "URL Mode").

use serde_json::json;

use crate::model::ServerName;

/// A login that a user can begin.
#[derive(Debug, Clone)]
pub struct LoginInvitation {
    pub server: ServerName,
    /// The elicitation's id.
    pub id: String,
    pub url: String,
    /// What its user is asked to allow beside what was allowed before; empty for a first login.
    pub scopes: Vec<String>,
}

impl LoginInvitation {
    /// What its user is asked.
    #[must_use]
    pub fn question(&self) -> String {
        match self.scopes.as_slice() {
            [] => format!("Log in at server {}, so that it can act for you.", self.server),
            scopes => format!(
                "Log in at server {} once more, so that it can do more for you: {}.",
                self.server,
                scopes.join(" ")
            ),
        }
    }

    /// The data of an error by which clients open the URL.
    #[must_use]
    pub fn data(&self) -> String {
        let elicitation = json!({
            "mode": "url",
            "elicitationId": self.id,
            "url": self.url,
            "message": self.question(),
        });
        json!({"elicitations": [elicitation]}).to_string()
    }
}
