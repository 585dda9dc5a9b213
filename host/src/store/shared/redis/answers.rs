//! What Redis answers, read. Anything may be there, so that nothing is taken for granted.

use redis::Value;

use crate::model::ServerName;

use super::super::{Claimed, MAX_SERVERS, MAX_VALUE, SharedSession, StoreError, binding_text};

/// The bytes of a text.
pub fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) if bytes.len() <= MAX_VALUE => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

pub fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

/// # Errors
/// What the server says against it.
pub fn done(value: &Value) -> Result<(), StoreError> {
    match value {
        Value::ServerError(error) => Err(refused(error)),
        _ => Ok(()),
    }
}

pub fn claimed(value: Value) -> Result<Claimed, StoreError> {
    if let Value::ServerError(error) = &value {
        return Err(refused(error));
    }
    let text = bytes(value).unwrap_or_default();
    match text.as_slice() {
        // As many servers as one session may have are known of it. This one is the coordinator's
        // own affair.
        b"kept" | b"full" => Ok(Claimed::Kept),
        b"ended" => Ok(Claimed::Ended),
        other => binding_text::read(other)
            .map(Claimed::Lost)
            .ok_or_else(|| StoreError::Refused("a claim is answered otherwise".to_owned())),
    }
}

pub fn names(value: &Value) -> Result<Vec<String>, StoreError> {
    match value {
        Value::ServerError(error) => Err(refused(error)),
        // As a set or as a list, by the protocol's version.
        Value::Array(names) | Value::Set(names) => {
            Ok(names.iter().cloned().filter_map(text).filter(|name| !name.is_empty()).collect())
        }
        _ => Err(StoreError::Refused("a list of names is answered otherwise".to_owned())),
    }
}

/// The answers of the script and of the settings' key.
pub fn session(answers: &[Value]) -> Result<SharedSession, StoreError> {
    let mut session = SharedSession::default();
    match answers.first() {
        Some(Value::ServerError(error)) => return Err(refused(error)),
        Some(Value::Array(found)) => {
            session.is_ended = found.first() == Some(&Value::Int(1));
            let pairs = found.get(1..).unwrap_or_default().chunks(2);
            let bindings = pairs.filter_map(|pair| {
                let [Value::BulkString(server), Value::BulkString(binding)] = pair else {
                    return None;
                };
                let server = ServerName::parse(std::str::from_utf8(server).ok()?).ok()?;
                Some((server, binding_text::read(binding)?))
            });
            session.bindings = bindings.take(MAX_SERVERS).collect();
        }
        _ => {}
    }
    let settings = answers.get(1).cloned().and_then(bytes);
    session.settings = settings.filter(|settings| !settings.is_empty());
    Ok(session)
}

/// The id of the only event of an answer.
pub fn last_event(value: Value) -> Option<String> {
    let Value::Array(events) = value else { return None };
    entry(events.into_iter().next()?).map(|(id, _)| id)
}

/// The texts of the events in an answer to XREAD, and the id of the last one.
pub fn events(value: Value) -> (Vec<Vec<u8>>, Option<String>) {
    let (mut texts, mut last) = (Vec::new(), None);
    let Some(events) = of_one_stream(value) else { return (texts, last) };
    for event in events {
        // What is no event of ours is passed over.
        if let Some((id, text)) = entry(event) {
            texts.extend(text);
            last = Some(id);
        }
    }
    (texts, last)
}

fn of_one_stream(value: Value) -> Option<Vec<Value>> {
    let Value::Array(streams) = value else { return None };
    let Value::Array(stream) = streams.into_iter().next()? else { return None };
    match stream.into_iter().nth(1)? {
        Value::Array(events) => Some(events),
        _ => None,
    }
}

/// The id of an event, and its text if it has one.
fn entry(event: Value) -> Option<(String, Option<Vec<u8>>)> {
    let Value::Array(parts) = event else { return None };
    let mut parts = parts.into_iter();
    let id = text(parts.next()?)?;
    let text = match parts.next() {
        Some(Value::Array(fields)) => fields.into_iter().nth(1).and_then(bytes),
        _ => None,
    };
    Some((id, text))
}

/// Where a search goes on, and the keys that it has found.
pub fn scanned(value: Value) -> Option<(String, Vec<String>)> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter();
    let next = text(parts.next()?)?;
    let Value::Array(keys) = parts.next()? else { return None };
    Some((next, keys.into_iter().filter_map(text).collect()))
}

fn refused(error: &redis::ServerError) -> StoreError {
    StoreError::Refused(format!("{} {}", error.code(), error.details().unwrap_or("")))
}
