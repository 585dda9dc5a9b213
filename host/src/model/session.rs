//! A session's identity, its owner, and the times in its records.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The uuid inside a sealed session id: the key of every table about sessions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(uuid::Uuid);

impl SessionId {
    /// A random id (UUID version 4), so unique without coordination.
    #[must_use]
    pub fn mint() -> Self {
        #[cfg(test)]
        if let Some(random) = super::played::random() {
            return Self(uuid::Builder::from_random_bytes(random.to_le_bytes()).into_uuid());
        }
        Self(uuid::Uuid::new_v4())
    }

    /// The inverse of [`Self::as_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The form inside a sealed session id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads a uuid in any of its common notations; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(Self)
    }

    /// Eight hexadecimal digits for log lines: enough to tell sessions apart, too few to
    /// use one.
    #[must_use]
    pub fn short(&self) -> String {
        self.short_in(&mut [0; Self::TEXT]).to_owned()
    }

    /// The same, in a buffer.
    #[must_use]
    pub fn short_in(self, buffer: &mut [u8; Self::TEXT]) -> &str {
        self.text_in(buffer).get(..8).unwrap_or_default()
    }
}

impl SessionId {
    /// The text of the id, in this buffer: every message to another node names one.
    pub fn text_in(self, buffer: &mut [u8; Self::TEXT]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// The length of its text, in bytes.
    pub const TEXT: usize = uuid::fmt::Hyphenated::LENGTH;
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// The client's identity as the edge authenticated it. A session belongs to one principal
/// and opens for no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The principal of every client where no credential is required.
    #[must_use]
    pub fn anonymous() -> Self {
        static ANONYMOUS: std::sync::LazyLock<Principal> =
            std::sync::LazyLock::new(|| Principal::named("anonymous"));
        ANONYMOUS.clone()
    }

    /// The principal with this name; equal names are the same principal.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The name, which may contain any character.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Time since 1970-01-01 in UTC by the system clock; none if that is before.
#[must_use]
pub fn since_1970() -> Duration {
    #[cfg(test)]
    if let Some(now) = super::played::now() {
        return Duration::from_millis(now);
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since 1970-01-01 in UTC, the unit of the management API's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Bytes of a time as text.
    pub const TEXT: usize = 24;
    /// The end of the year 9999: later years have no place there.
    const LAST: u64 = 253_402_300_799_999;

    /// The system clock's time; 0 if that is before 1970.
    #[must_use]
    pub fn now() -> Self {
        Self(u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX))
    }

    /// Later by `time`, or the latest time if that overflows.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Earlier by `time`, or 0 if that would be before 1970.
    #[must_use]
    pub fn minus(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time that has passed since `earlier`; zero if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `2024-01-01T10:00:00.000Z`, as JavaScript's `toISOString` writes it.
    #[must_use]
    pub fn iso8601(self) -> String {
        let mut buffer = [0; Self::TEXT];
        self.iso8601_in(&mut buffer).to_owned()
    }

    /// The same, in a buffer. Every line of a log has one, and formatting would be a third of its cost.
    #[must_use]
    pub fn iso8601_in(self, buffer: &mut [u8; Self::TEXT]) -> &str {
        *buffer = *b"0000-00-00T00:00:00.000Z";
        let time = self.0.min(Self::LAST);
        let (days, millis) = (time / 86_400_000, time % 86_400_000);
        let (year, month, day) = civil(days);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        for (at, digits, value) in [
            (0, 4, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, hour),
            (14, 2, minute),
            (17, 2, second),
            (20, 3, millis),
        ] {
            let mut rest = value;
            for place in buffer.iter_mut().skip(at).take(digits).rev() {
                *place = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        std::str::from_utf8(buffer).unwrap_or_default()
    }
}

/// Converts days since 1970-01-01 to year, month and day of the Gregorian calendar, by
/// 400-year eras that begin on 1 March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_guide_prints_them() {
        for (millis, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_704_103_200_000, "2024-01-01T10:00:00.000Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_102_444_800_001, "2100-01-01T00:00:00.001Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(UnixMillis(millis).iso8601(), expect);
        }
    }

    #[test]
    fn a_debugged_session_shows_a_part_only() {
        let id = SessionId::mint();
        assert!(format!("{id:?}").len() < 10);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
    }
}
