//! Tools: their entries in a list, their arguments and their results.

use serde_json::{Value, json};

use crate::call::Call;

/// One tool of a server.
pub struct Tool<E> {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON Schema of the arguments' `properties`.
    pub arguments: Value,
    pub required: &'static [&'static str],
    pub pace: Pace,
    /// Whether it changes nothing, so that a gateway may repeat a call.
    pub reads_only: bool,
    pub run: fn(&E, Arguments<'_>, &Call<'_>) -> Result<Answer, Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Answered before the next line is read, so calls take effect in the order sent.
    Quick,
    /// Runs on its own thread.
    Slow,
}

impl<E> Tool<E> {
    pub(crate) fn listing(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "inputSchema": {
                "type": "object",
                "properties": self.arguments,
                "required": self.required,
            },
            "annotations": {"readOnlyHint": self.reads_only},
        })
    }
}

/// A tool's result: text for the model, and the same as data for a program.
pub struct Answer {
    text: String,
    data: Value,
}

impl Answer {
    /// `data` must be an object.
    pub fn new(text: impl Into<String>, data: Value) -> Self {
        let text = text.into();
        Self { text, data }
    }

    pub(crate) fn into_result(self) -> Value {
        json!({
            "content": [{"type": "text", "text": self.text}],
            "structuredContent": self.data,
        })
    }
}

/// Why a tool has no result.
pub enum Refusal {
    /// Sent to the model, so that it can correct its next call.
    Rejected(String),
    /// The call was cancelled; no answer is sent.
    Cancelled,
}

impl Refusal {
    pub fn rejected(why: impl Into<String>) -> Self {
        Self::Rejected(why.into())
    }
}

/// The arguments of a call, read one by one.
pub struct Arguments<'a>(pub(crate) &'a Value);

impl<'a> Arguments<'a> {
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.read(name, "an integer", Value::as_i64)
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.read(name, "a string", Value::as_str)
    }

    /// A required whole number from 0 to `max`.
    pub fn up_to(&self, name: &str, max: u64) -> Result<u64, Refusal> {
        let number = self.read(name, "a whole number", Value::as_u64)?;
        match number {
            Some(number) if number <= max => Ok(number),
            _ => Err(Refusal::rejected(format!("`{name}` has to be a number from 0 to {max}"))),
        }
    }

    fn read<T>(
        &self,
        name: &str,
        kind: &str,
        parse: fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match parse(value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(Refusal::rejected(format!("`{name}` has to be {kind}"))),
            },
        }
    }
}
