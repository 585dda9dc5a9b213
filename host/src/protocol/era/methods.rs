//! The methods of the revision without sessions (2026-07-28, schema).

use crate::protocol::methods::{self, List};

use super::tasks;

/// What serves a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// What the server offers, and which revisions.
    Discover,
    /// Notifications, for as long as the client reads them.
    Listen,
    /// One of the four lists.
    List(List),
    /// `tools/call`, which may ask for input.
    Tool,
    /// `prompts/get`, likewise.
    Prompt,
    /// `resources/read`, likewise.
    Resource,
    /// `completion/complete`.
    Completion,
    /// `skills/list`, of an extension (SEP-2640).
    Skills,
    /// `skills/get` and `resources/directory/read`, of the same.
    Skill,
    /// `tasks/get`, `tasks/update` and `tasks/cancel`, of an extension (SEP-2663).
    Task,
}

impl Method {
    /// `None` for a method that this revision does not have, or has no more.
    #[must_use]
    pub fn of(method: &str) -> Option<Self> {
        Some(match method {
            "server/discover" => Self::Discover,
            "subscriptions/listen" => Self::Listen,
            "tools/call" => Self::Tool,
            "prompts/get" => Self::Prompt,
            "resources/read" => Self::Resource,
            "completion/complete" => Self::Completion,
            methods::SKILLS => Self::Skills,
            methods::SKILL | methods::DIRECTORY => Self::Skill,
            tasks::GET | tasks::UPDATE | tasks::CANCEL => Self::Task,
            _ => Self::List(List::ALL.into_iter().find(|list| list.method() == method)?),
        })
    }

    /// Whether its answer may ask the client for input (2026-07-28, basic/patterns/mrtr).
    #[must_use]
    pub fn may_ask(self) -> bool {
        matches!(self, Self::Tool | Self::Prompt | Self::Resource)
    }

    /// Whether a client may keep its answer, as its hints say (2026-07-28,
    /// server/utilities/caching).
    #[must_use]
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Discover | Self::List(_) | Self::Resource | Self::Skills | Self::Skill)
    }

    /// The capability without which the method is not there, if there is one.
    #[must_use]
    pub fn capability(self) -> Option<&'static str> {
        match self {
            Self::Discover | Self::Listen | Self::Skills | Self::Skill | Self::Task => None,
            Self::List(list) => Some(list.capability()),
            Self::Tool => Some("tools"),
            Self::Prompt => Some("prompts"),
            Self::Resource => Some("resources"),
            Self::Completion => Some("completions"),
        }
    }
}

/// The notification that a listening client gets first.
pub const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// The member of a request's parameters that `Mcp-Name` repeats, if its method has one.
#[must_use]
pub fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        tasks::GET | tasks::UPDATE | tasks::CANCEL => Some("taskId"),
        _ => None,
    }
}

/// The request for notifications.
pub const LISTEN: &str = "subscriptions/listen";
/// The request for what a server offers, and in which revisions.
pub const DISCOVER: &str = "server/discover";

/// The capability of clients that a server's request takes which may be asked within an answer.
#[must_use]
pub fn needs(asked: &str) -> Option<&'static str> {
    match asked {
        "elicitation/create" => Some("elicitation"),
        "sampling/createMessage" => Some("sampling"),
        "roots/list" => Some("roots"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_sessions_are_gone() {
        for gone in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "tasks/list",
            "tasks/result",
            "",
            "x/y",
        ] {
            assert_eq!(Method::of(gone), None, "{gone}");
        }
        assert_eq!(Method::of("prompts/list"), Some(Method::List(List::Prompts)));
        assert_eq!(Method::of("tasks/update"), Some(Method::Task));
        assert_eq!(named_by("tasks/cancel"), Some("taskId"));
        assert!(Method::Tool.may_ask() && !Method::Completion.may_ask());
        assert_eq!(needs("roots/list"), Some("roots"));
        assert_eq!(needs("ping"), None);
    }
}
