//! Part of the file as strict JSON, for a plugin.

use std::time::Duration;

use jsonc_parser::ast::{Object, Value};
use serde_json::{Map, Number, Value as Json};

/// The object of the file, with the keys in `over` added or replaced.
pub(in crate::config) fn object(object: Option<&Object<'_>>, over: &[(&str, Json)]) -> String {
    let mut map = object.map(map).unwrap_or_default();
    for (key, value) in over {
        map.insert((*key).to_owned(), value.clone());
    }
    Json::Object(map).to_string()
}

pub(in crate::config) fn millis(duration: Duration) -> Json {
    u64::try_from(duration.as_millis()).map_or(Json::Null, Json::from)
}

fn map(object: &Object<'_>) -> Map<String, Json> {
    let entry = |property: &jsonc_parser::ast::ObjectProp<'_>| {
        (property.name.as_str().to_owned(), value(&property.value))
    };
    object.properties.iter().map(entry).collect()
}

fn value(from: &Value<'_>) -> Json {
    match from {
        Value::StringLit(string) => Json::String(string.value.clone().into_owned()),
        Value::NumberLit(number) => number.value.parse::<Number>().map_or(Json::Null, Json::Number),
        Value::BooleanLit(boolean) => Json::Bool(boolean.value),
        Value::Object(object) => Json::Object(map(object)),
        Value::Array(array) => Json::Array(array.elements.iter().map(value).collect()),
        Value::NullKeyword(_) => Json::Null,
    }
}
