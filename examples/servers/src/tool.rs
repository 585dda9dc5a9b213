//! Tools: what a list says about them, and what they take and give.

use serde_json::{Value, json};

use crate::call::Call;

/// A row of a server's table of tools.
pub struct Tool<E> {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON Schema of the arguments' `properties`.
    pub arguments: Value,
    pub required: &'static [&'static str],
    pub pace: Pace,
    /// Whether it changes nothing: a gateway may call it twice then.
    pub reads_only: bool,
    pub run: fn(&E, Arguments<'_>, &Call<'_>) -> Result<Answer, Refusal>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Answered before the next line is read, so calls take effect in the order they were sent.
    Quick,
    /// Runs in a thread of its own.
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

/// What a tool found: words for the model, and the same as data for a program.
pub struct Answer {
    text: String,
    data: Value,
}

impl Answer {
    /// `data` has to be an object.
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

/// Why a tool gave no answer.
pub enum Refusal {
    /// Said to the model, which can do better next time.
    Rejected(String),
    /// Said to nobody.
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

    /// A whole number from 0 to `max`, which a caller has to give.
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
