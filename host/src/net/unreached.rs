//! Why there is no connection, and what that says of the other side.

use std::io::{self, ErrorKind};

use super::shortage::is_shortage;

/// What a failed connection says of the process that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Nobody is there.
    Gone,
    /// Another process is there.
    Other,
    /// Nothing came in time.
    Silent,
    /// It may well be there: something answers.
    Unclear,
    /// It may well be there: this side lacks what a connection takes.
    Short,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    pub why: String,
    pub sign: Sign,
}

impl Unreached {
    /// Nothing came in time.
    #[must_use]
    pub fn silent(why: String) -> Self {
        Self { why, sign: Sign::Silent }
    }

    /// Nobody is there.
    #[must_use]
    pub fn gone(why: String) -> Self {
        Self { why, sign: Sign::Gone }
    }

    /// After an error of the connection.
    #[must_use]
    pub fn broken(error: &io::Error, why: String) -> Self {
        let sign = match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof => Sign::Gone,
            ErrorKind::TimedOut => Sign::Silent,
            _ if is_shortage(error) => Sign::Short,
            _ => Sign::Unclear,
        };
        Self { why, sign }
    }

    /// After an error on the way to a proxy, which says nothing of the process behind it.
    #[must_use]
    pub fn through_proxy(error: &io::Error, why: String) -> Self {
        let sign = if is_shortage(error) { Sign::Short } else { Sign::Unclear };
        Self { why, sign }
    }
}

impl From<String> for Unreached {
    fn from(why: String) -> Self {
        Self { why, sign: Sign::Unclear }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_this_side_say_nothing_of_the_other() {
        let sign = |error: io::Error| Unreached::broken(&error, String::new()).sign;
        assert_eq!(sign(ErrorKind::ConnectionRefused.into()), Sign::Gone);
        assert_eq!(sign(ErrorKind::TimedOut.into()), Sign::Silent);
        // Too many open files.
        assert_eq!(sign(io::Error::from_raw_os_error(24)), Sign::Short);
        assert_eq!(sign(ErrorKind::InvalidData.into()), Sign::Unclear);
        assert_eq!(Unreached::from(String::new()).sign, Sign::Unclear);
    }
}
