//! Headers of a remote server that say who the client is: `headersFromClaims`.

use http::HeaderName;

use crate::config::reader::headers;
use crate::config::reader::place::quote;
use crate::config::reader::section::Section;

/// Headers of one server.
const MOST: usize = 32;
/// Bytes of a claim's name.
const MAX_CLAIM: usize = 128;

/// Which claim of the client's token each header carries, in file order.
pub(in crate::config) fn read(
    entry: &Section<'_>,
    passed: &[HeaderName],
) -> Vec<(HeaderName, String)> {
    let mut found: Vec<(HeaderName, String)> = Vec::new();
    let entries = entry.entries("headersFromClaims");
    if entries.len() > MOST
        && let Some(item) = entry.get("headersFromClaims")
    {
        item.refuse(format!("has more than {MOST} headers"), "remove some");
        return found;
    }
    for (name, item) in entries {
        let Some(claim) = item.text() else { continue };
        let name = match headers::parse(name) {
            Ok(name) => name,
            Err(problem) => {
                item.refuse(problem, "remove it");
                continue;
            }
        };
        if claim.is_empty() || claim.len() > MAX_CLAIM {
            item.refuse(format!("{} is not the name of a claim", quote(&claim)), "name a claim");
        } else if passed.contains(&name) {
            // A client could say who it is.
            let message = "is in passthroughHeaders too, by which a client could set it";
            item.refuse(message, "remove one of them");
        } else if found.iter().any(|(known, _)| *known == name) {
            item.refuse("is given twice", "keep one of them");
        } else {
            found.push((name, claim));
        }
    }
    found
}
