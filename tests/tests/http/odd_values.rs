//! JSON values that a typed reader would change or refuse.

use std::collections::BTreeSet;

use serde_json::Value;

/// (name, JSON text). [`text`] generates those that are too long to write down.
pub const VALUES: [(&str, &str); 12] = [
    ("numbers", "[1e400,-1e-400,12345678901234567890123,1.0,-0,-0.0,1E+2,0.1000,1e-07]"),
    ("escapes", r#""\u0041\/\u00e9\u00E9\ud83d\ude00\b\f\n\r\t\\\"\u0000""#),
    ("half a surrogate pair", r#"{"a":"\ud800","\udc00":"\uDFFF\ud83d"}"#),
    ("text", "\"é漢字😀\u{2028}\u{2029}\u{feff}\u{200b}\u{7f}\u{85}\u{10ffff}\""),
    ("keys", r#"{"z":1,"a":2,"a":3,"":{"":0},"\u0061":4,"10":5,"9":6}"#),
    (
        "decoys",
        r#"{"id":7,"method":"x","result":1,"name":"verbatim-echo","uri":"a:b","jsonrpc":"1"}"#,
    ),
    ("white space", "{ \"a\" :\t1 ,  \"b\":[ ] , \"c\" : { } }"),
    ("meta", r#"{"_meta":{"com.example/x":[],"traceparent":"00-ab-cd-01","x/y":null}}"#),
    (
        "schema",
        r##"{"$schema":"x","$ref":"#/$defs/a","oneOf":[true,false],"x-mcp-header":"Region"}"##,
    ),
    ("nothing", r#"[null,true,false,"",{},[],0]"#),
    ("depth", "«deep»"),
    ("length", "«long»"),
];

pub fn text(value: &str) -> String {
    match value {
        "«deep»" => format!("{}{{\"a\":1e400}}{}", "[".repeat(500), "]".repeat(500)),
        // Longer than any buffer on the way.
        "«long»" => format!("\"{}\"", r"x\u0041é".repeat(40_000)),
        other => other.to_owned(),
    }
}

#[test]
fn values_are_what_a_reader_with_types_changes() {
    let texts: BTreeSet<String> = VALUES.iter().map(|(_, value)| text(value)).collect();
    assert_eq!(texts.len(), VALUES.len());
    for (what, value) in VALUES {
        let value = text(value);
        let read = serde_json::from_str::<Value>(&value);
        let written = read.and_then(|read| serde_json::to_string(&read)).ok();
        let changed = written.as_ref() != Some(&value);
        let plain = ["meta", "schema", "decoys", "nothing", "text"].contains(&what);
        assert!(changed || plain, "{what} would pass anyway");
    }
}
