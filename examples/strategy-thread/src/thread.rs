//! A conversation is what the client says is one: the first of some places in which its thread
//! may stand. Clients of some names are never given one, since they are used by many.

use serde::Deserialize;

use crate::bindings::mooring::routing::conversation_types::{
    ConversationAnswer, ConversationInput,
};

/// What a user may write in `stickySession`, beside what the gateway reads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    /// Headers that may name the thread, the first one first.
    thread_headers: Vec<String>,
    /// JSON pointers into the message, asked after the headers.
    thread_pointers: Vec<String>,
    /// Clients whose requests stand alone.
    alone: Vec<String>,
    /// In milliseconds.
    affinity_timeout: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            thread_headers: vec!["mcp-param-thread".to_owned(), "x-thread-id".to_owned()],
            thread_pointers: Vec::new(),
            alone: Vec::new(),
            affinity_timeout: 3_600_000,
        }
    }
}

pub struct Threads(Settings);

impl Threads {
    /// The settings, and the seconds after which an idle session may change its node.
    pub fn read(config_json: &str) -> Result<(Self, u32), String> {
        let mut settings: Settings =
            serde_json::from_str(config_json).map_err(|error| error.to_string())?;
        for header in &mut settings.thread_headers {
            header.make_ascii_lowercase();
        }
        let seconds = settings.affinity_timeout / 1000;
        Ok((Self(settings), seconds))
    }

    /// The client's name first, then where its thread may stand.
    pub fn inputs(&self) -> Vec<ConversationInput> {
        let headers = self.0.thread_headers.iter().cloned();
        let pointers = self.0.thread_pointers.iter().cloned();
        std::iter::once(ConversationInput::ClientName)
            .chain(headers.map(ConversationInput::Header))
            .chain(pointers.map(ConversationInput::Body))
            .collect()
    }

    pub fn identify(&self, inputs: &[Option<String>]) -> ConversationAnswer {
        let Some((client, threads)) = inputs.split_first() else {
            return ConversationAnswer::Abstain;
        };
        if client
            .as_ref()
            .is_some_and(|name| self.0.alone.contains(name))
        {
            return ConversationAnswer::Alone;
        }
        let mut named = threads.iter().flatten().filter(|thread| !thread.is_empty());
        match named.next() {
            // Two clients may both call a thread "1".
            Some(thread) => {
                let client = client.as_deref().unwrap_or_default();
                ConversationAnswer::Named(format!("{client}/{thread}"))
            }
            None => ConversationAnswer::Abstain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(config: &str) -> Threads {
        Threads::read(config).unwrap().0
    }

    #[test]
    fn the_first_place_that_has_a_thread_names_it() {
        let threads = threads(r#"{"threadHeaders": ["X-A", "X-B"], "alone": ["probe"]}"#);
        assert_eq!(threads.inputs().len(), 3);
        let text = |inputs: [Option<&str>; 3]| {
            let inputs = inputs.map(|input| input.map(str::to_owned));
            match threads.identify(&inputs) {
                ConversationAnswer::Named(name) => name,
                ConversationAnswer::Alone => "alone".to_owned(),
                ConversationAnswer::Abstain => "abstain".to_owned(),
            }
        };
        assert_eq!(text([Some("c"), Some(""), Some("2")]), "c/2");
        assert_eq!(text([None, Some("1"), Some("2")]), "/1");
        assert_eq!(text([Some("c"), None, None]), "abstain");
        assert_eq!(text([Some("probe"), Some("1"), None]), "alone");
    }

    #[test]
    fn settings_that_cannot_be_read_are_refused() {
        assert!(Threads::read(r#"{"alone": "probe"}"#).is_err());
        assert_eq!(Threads::read(r#"{"affinityTimeout": 5000}"#).unwrap().1, 5);
    }
}
