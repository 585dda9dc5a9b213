//! Which request a line answers that is too long to be kept: its id is near the
//! beginning, or at the very end.

/// Bytes searched at either end of the line.
const HEAD: usize = 512;

/// Like `id_at_the_beginning`, if the id is a number.
#[must_use]
pub fn number_at_the_beginning(line: &[u8]) -> Option<u64> {
    id_at_the_beginning(line)?.parse().ok()
}

/// Like `id_at_the_end`, if the id is a number.
#[must_use]
pub fn number_at_the_end(line: &[u8]) -> Option<u64> {
    id_at_the_end(line)?.parse().ok()
}

/// Whether the line is a request or notification of the server: it has a `method` near
/// its beginning.
#[must_use]
pub fn is_no_answer(line: &[u8]) -> bool {
    plain(line).is_some_and(|plain| plain.contains("\"method\""))
}

/// The id, as it is written, if it comes before the first object or array.
#[must_use]
pub fn id_at_the_beginning(line: &[u8]) -> Option<String> {
    let plain = plain(line)?;
    let (_, value) = plain.split_once("\"id\"")?;
    let value = value.trim_start().strip_prefix(':')?.trim_start();
    if let Some(text) = value.strip_prefix('"') {
        let (text, _) = text.split_once('"')?;
        return (!text.contains('\\')).then(|| format!("\"{text}\""));
    }
    let (number, _) = value.split_once([',', ' '])?;
    is_number(number).then(|| number.to_owned())
}

/// The id, as it is written, if it is the last member.
#[must_use]
pub fn id_at_the_end(line: &[u8]) -> Option<String> {
    let tail = String::from_utf8_lossy(line.get(line.len().saturating_sub(HEAD)..)?);
    let members = tail.trim_end().strip_suffix('}')?.trim_end();
    let rest = match members.strip_suffix('"') {
        Some(text) => text.rsplit_once('"')?.0,
        None => members.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-'),
    };
    let is_id = rest.trim_end().strip_suffix(':')?.trim_end().ends_with("\"id\"");
    let id = members.strip_prefix(rest).filter(|_| is_id)?;
    let is_plain = if id.starts_with('"') { !id.contains('\\') } else { is_number(id) };
    is_plain.then(|| id.to_owned())
}

/// The members before the first object or array.
fn plain(line: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(line.get(..HEAD).unwrap_or(line));
    let members = head.trim_start().strip_prefix('{')?;
    members.split(['{', '[']).next().map(str::to_owned)
}

fn is_number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_where_servers_write_it() {
        let long = "x".repeat(2 * HEAD);
        let begins = |text: &str| number_at_the_beginning(format!("{text}{long}").as_bytes());
        assert_eq!(begins(r#"{"jsonrpc":"2.0","id":12,"result":{"a":""#), Some(12));
        assert_eq!(begins(r#"{ "id" : 7 , "result":{"a":""#), Some(7));
        assert_eq!(begins(r#"{"result":{"id":12,"a":""#), None);
        assert_eq!(begins(r#"{"id":"12","result":{"a":""#), None);
        let ends = |text: &str| number_at_the_end(format!("{long}{text}").as_bytes());
        assert_eq!(ends(r#""},"jsonrpc":"2.0","id":12}"#), Some(12));
        assert_eq!(ends("\"}, \"id\" : 12 }\r\n"), Some(12));
        assert_eq!(ends(r#"","id":12}}"#), None);
        assert_eq!(ends(r#""},"id":"12"}"#), None);
        assert_eq!(ends(""), None);
        let begins = |text: &str| id_at_the_beginning(format!("{text}{long}").as_bytes());
        assert_eq!(begins(r#"{"id":"a-1","result":{"a":""#).as_deref(), Some("\"a-1\""));
        assert_eq!(begins(r#"{"id":-3,"result":{"a":""#).as_deref(), Some("-3"));
        assert_eq!(begins(r#"{"id":"a\"b","result":{"a":""#), None);
        let ends = |text: &str| id_at_the_end(format!("{long}{text}").as_bytes());
        assert_eq!(ends(r#""},"id":"a-1"}"#).as_deref(), Some("\"a-1\""));
        assert_eq!(ends(r#""},"other":"a-1"}"#), None);
        assert!(is_no_answer(br#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"#));
        assert!(!is_no_answer(br#"{"id":1,"result":{"method":"x"#));
    }
}
