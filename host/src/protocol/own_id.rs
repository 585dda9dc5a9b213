//! Ids of the requests that the gateway itself sends to servers.
//!
//! They are whole numbers of 31 bits, since some servers take no others, and large, since clients
//! count from 0 or 1. Edge and runner have a half of the range each.

/// The id of the first request to a server, `initialize`. It is answered before any other is sent.
pub const OPENING: &str = "1";

const FIRST: u64 = 1 << 30;
const EACH: u64 = 1 << 29;

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Within a client's session, from the process that the client talks to.
    Edge,
    /// The process that runs the server.
    Runner,
}

/// The id with this number. Numbers begin at random, so that two processes use different ones.
#[must_use]
pub fn own_id(sender: Sender, number: u64) -> String {
    let begins = match sender {
        Sender::Edge => FIRST,
        Sender::Runner => FIRST + EACH,
    };
    (begins + number % EACH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_into_31_bits_and_halves_do_not_meet() {
        for number in [0, 1, EACH - 1, EACH, u64::MAX] {
            let [edge, runner] = [Sender::Edge, Sender::Runner]
                .map(|sender| own_id(sender, number).parse::<u64>().unwrap());
            assert!((FIRST..FIRST + EACH).contains(&edge), "{edge}");
            assert!((FIRST + EACH..1 << 31).contains(&runner), "{runner}");
        }
    }
}
