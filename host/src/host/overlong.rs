//! Whose answer a line is that is too long to be kept: its id stands at its
//! beginning, or at its very end.

/// The id is among the first members, or it is not at the beginning.
const HEAD: usize = 512;

/// The number in front of everything that may be long.
#[must_use]
pub fn number_at_the_beginning(line: &[u8]) -> Option<u64> {
    let head = String::from_utf8_lossy(line.get(..HEAD).unwrap_or(line));
    let members = head.trim_start().strip_prefix('{')?;
    let plain = members.split(['{', '[']).next()?;
    let (_, value) = plain.split_once("\"id\"")?;
    let value = value.trim_start().strip_prefix(':')?.trim_start();
    let (digits, _) = value.split_once([',', ' '])?;
    digits.parse().ok()
}

/// The number of the last member, after which nothing but the object's end comes.
#[must_use]
pub fn number_at_the_end(line: &[u8]) -> Option<u64> {
    let tail = String::from_utf8_lossy(line.get(line.len().saturating_sub(HEAD)..)?);
    let members = tail.trim_end().strip_suffix('}')?.trim_end();
    let rest = members.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_id = rest.trim_end().strip_suffix(':')?.trim_end().ends_with("\"id\"");
    members.strip_prefix(rest).filter(|_| is_id)?.parse().ok()
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
    }
}
