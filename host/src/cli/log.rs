//! The log: one event a line on stderr, as text or as JSON.
//!
//! Every field of every event is made visible here and cut, wherever its text comes from: stderr
//! of servers, errors of nodes, paths of clients, log lines of plugins. So no place that logs can
//! forget to, and nobody can write a line, or move the cursor, in an operator's terminal.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::model::visible::{VisibleWriter, visible};
use crate::protocol::splice::quoted;

use super::terminal;

/// Bytes of one field. A line of a server's stderr fits, and a report on settings.
const MAX_FIELD: usize = 8 * 1024;
/// The field that holds the event's text.
const MESSAGE: &str = "message";

/// Starts the log of this process, as `MOORING_LOG` and `MOORING_LOG_FORMAT` say. Panics are
/// written like it.
pub fn start() {
    let filter = EnvFilter::try_from_env("MOORING_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("MOORING_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.with_ansi(false).event_format(JsonLine).init();
    } else {
        use std::io::IsTerminal as _;
        log.with_ansi(std::io::stderr().is_terminal()).event_format(TextLine).init();
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        // A panic's text may quote what was being read.
        terminal::warn(format!(
            "thread '{name}' {panic}\n{}",
            std::backtrace::Backtrace::capture()
        ));
    }));
}

/// `2026-01-01T10:00:00.000000Z  WARN text field=value`.
struct TextLine;

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (dim, plain) =
            if out.has_ansi_escapes() { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        out.write_str(dim)?;
        SystemTime.format_time(&mut out)?;
        let level = *event.metadata().level();
        let color = if dim.is_empty() { "" } else { color(level) };
        write!(out, "{plain} {color}{level:>5}{plain}")?;
        let mut fields = TextFields { out: &mut out, done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        out.write_char('\n')
    }
}

fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        _ => "\u{1b}[35m",
    }
}

struct TextFields<'a, 'w> {
    out: &'a mut Writer<'w>,
    done: fmt::Result,
}

impl Visit for TextFields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut write = || {
            self.out.write_char(' ')?;
            if field.name() != MESSAGE {
                write!(self.out, "{}=", field.name())?;
            }
            write!(VisibleWriter::new(self.out, MAX_FIELD), "{value:?}")
        };
        if self.done.is_ok() {
            self.done = write();
        }
    }
}

/// `{"timestamp":"…","level":"WARN","fields":{"message":"…"},"target":"…"}`.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        write!(out, "\",\"level\":\"{}\",\"fields\":{{", event.metadata().level())?;
        let mut fields = JsonFields { out: &mut out, is_first: true, done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        writeln!(out, "}},\"target\":{}}}", quoted(event.metadata().target()))
    }
}

struct JsonFields<'a, 'w> {
    out: &'a mut Writer<'w>,
    is_first: bool,
    done: fmt::Result,
}

impl JsonFields<'_, '_> {
    /// Writes a member. The value is JSON.
    fn member(&mut self, field: &Field, value: &str) {
        let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
        if self.done.is_ok() {
            self.done = write!(self.out, "{comma}{}:{value}", quoted(field.name()));
        }
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string fails only if the value's own `Debug` does.
        let _ = write!(VisibleWriter::new(&mut text, MAX_FIELD), "{value:?}");
        self.member(field, &quoted(&text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, &quoted(&visible(value, MAX_FIELD).to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, &value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, &serde_json::Value::from(value).to_string());
    }
}
