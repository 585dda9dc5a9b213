//! A limit of requests that is met, and what helps: to wait, or, where a batch has more requests than the
//! limit ever lets pass at once, a smaller batch.

use std::time::Duration;

/// A limit that a request has met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitMet {
    /// The limit's name.
    pub limit: String,
    pub remedy: LimitRemedy,
    /// Whether the request as a whole was refused, before it was read.
    pub is_whole: bool,
}

/// What helps against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRemedy {
    /// To wait so long.
    Wait(Duration),
    /// A smaller batch alone: so many of its requests are for the limit, and so many pass at once at
    /// most, however long it waits.
    SmallerBatch { has: u64, may_have: u64 },
}

impl LimitRemedy {
    /// The one that asks for more.
    #[must_use]
    pub fn harder(self, other: Self) -> Self {
        match (self, other) {
            (Self::SmallerBatch { .. }, _) => self,
            (_, Self::SmallerBatch { .. }) => other,
            (Self::Wait(one), Self::Wait(another)) => Self::Wait(one.max(another)),
        }
    }
}

impl std::fmt::Display for LimitMet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = &self.limit;
        match self.remedy {
            LimitRemedy::Wait(wait) => write!(
                f,
                "Too Many Requests: the limit {limit:?} of the gateway is met, and nothing has run; try \
                 again in {} ms",
                wait.as_millis()
            ),
            LimitRemedy::SmallerBatch { has, may_have } => write!(
                f,
                "Bad Request: the batch has {has} requests that the limit {limit:?} of the gateway \
                 counts, which never lets more than {may_have} pass at once, and nothing has run; send \
                 smaller batches"
            ),
        }
    }
}

impl LimitMet {
    /// The same for programs, as JSON.
    #[must_use]
    pub fn data(&self) -> String {
        let limit = &self.limit;
        match self.remedy {
            LimitRemedy::Wait(wait) => {
                let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                serde_json::json!({"limit": limit, "retryAfterMs": millis}).to_string()
            }
            LimitRemedy::SmallerBatch { may_have, .. } => {
                serde_json::json!({"limit": limit, "atOnce": may_have}).to_string()
            }
        }
    }

    /// How long to wait; `None` if that does not help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.remedy {
            LimitRemedy::Wait(wait) => Some(wait),
            LimitRemedy::SmallerBatch { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_advised_only_where_it_helps() {
        let met = |remedy| LimitMet { limit: "few".into(), remedy, is_whole: false };
        let (brief, long) = (Duration::from_millis(1), Duration::from_secs(2));
        let smaller = LimitRemedy::SmallerBatch { has: 5, may_have: 3 };
        assert_eq!(
            LimitRemedy::Wait(brief).harder(LimitRemedy::Wait(long)),
            LimitRemedy::Wait(long)
        );
        assert_eq!(LimitRemedy::Wait(long).harder(smaller), smaller);
        assert_eq!(smaller.harder(LimitRemedy::Wait(long)), smaller);
        let (wait, never) = (met(LimitRemedy::Wait(long)), met(smaller));
        assert_eq!((wait.retry_after(), never.retry_after()), (Some(long), None));
        assert_eq!(wait.data(), r#"{"limit":"few","retryAfterMs":2000}"#);
        assert!(wait.to_string().contains("try again in 2000 ms"), "{wait}");
        let data: serde_json::Value = serde_json::from_str(&never.data()).unwrap();
        assert_eq!(data, serde_json::json!({"limit": "few", "atOnce": 3}));
        let words = never.to_string();
        assert!(words.contains("smaller") && !words.contains("again"), "{words}");
    }
}
