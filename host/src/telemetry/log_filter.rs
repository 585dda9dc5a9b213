//! Which lines the gateway's own log has.

/// Which lines the log has, which can change while the process runs.
pub trait LogFilter: Send + Sync {
    /// The filter now, such as `info` or `mooring=debug`.
    fn current(&self) -> String;

    /// # Errors
    /// Why the text is no filter. The one of before counts on.
    fn set(&self, filter: &str) -> Result<(), String>;
}

/// The log of a process that has none, as in tests.
#[derive(Debug, Default)]
pub struct NoLog;

impl LogFilter for NoLog {
    fn current(&self) -> String {
        "off".to_owned()
    }

    fn set(&self, _: &str) -> Result<(), String> {
        Err("this process has no log".to_owned())
    }
}
