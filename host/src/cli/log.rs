//! The log: one event a line on stderr, as text or as JSON.
//!
//! Every field of every event is made visible here and cut, wherever its text comes from: stderr
//! of servers, errors of nodes, paths of clients, log lines of plugins. So no place that logs can
//! forget to, and nobody can write a line, or move the cursor, in an operator's terminal.

use std::fmt::{self, Debug, Display, Write};
use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::admin::LOG;
use crate::model::visible::{VisibleWriter, visible};
use crate::protocol::splice::quoted;
use crate::sync::Locked;
use crate::telemetry::LogFilter;

use super::{log_filter, terminal};

/// Bytes of one field. A line of a server's stderr fits, and a report on settings.
const MAX_FIELD: usize = 8 * 1024;
/// The field that names the server which the event is about.
const SERVER: &str = "server";
/// The field that holds the event's text.
const MESSAGE: &str = "message";
/// Targets of lines that the operators' page shows in another way, or not.
const ELSEWHERE: [&str; 2] = ["mooring::server", "mooring::access"];

/// Starts the log of this process, as `MOORING_LOG` and `MOORING_LOG_FORMAT` say. Panics are
/// written like it. Returns what changes the filter.
pub fn start() -> Arc<dyn LogFilter> {
    let (filter, misread_filter) = log_filter::of(variable("MOORING_LOG").as_deref());
    let current = Locked::new(filter.text.clone());
    // A line that cannot be written, as where stderr is a file on a full disk, is lost and no more:
    // to complain about it on stderr would be a panic.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let (form, misread_form) = form_of(variable("MOORING_LOG_FORMAT").as_deref());
    let is_colored = form == LineForm::Text && std::io::stderr().is_terminal();
    let log = log.with_ansi(is_colored).event_format(form).with_filter_reloading();
    let handle = log.reload_handle();
    log.finish().with(LastLines).init();
    let replace = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    for misread in misread_filter.into_iter().chain(misread_form) {
        tracing::warn!("{misread}");
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
    Arc::new(ReloadedFilter { current, replace: Box::new(replace) })
}

type Replace = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The filter of the running log.
struct ReloadedFilter {
    current: Locked<String>,
    replace: Replace,
}

impl LogFilter for ReloadedFilter {
    fn current(&self) -> String {
        self.current.lock().clone()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        let read = log_filter::read(filter)?;
        // Held until the filter counts: two changes at once leave what is told here true.
        let mut current = self.current.lock();
        (self.replace)(read.filter)?;
        *current = read.text;
        Ok(())
    }
}

/// Keeps the last lines for the operators' page, without those of servers and requests, which are
/// many and shown elsewhere.
struct LastLines;

impl<S: Subscriber> Layer<S> for LastLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => return,
        };
        if ELSEWHERE.contains(&event.metadata().target()) {
            return;
        }
        let mut line = String::new();
        let mut out = Writer::new(&mut line);
        let form = LineForm::Text;
        event.record(&mut Fields { form, out: &mut out, is_first: true, done: Ok(()) });
        LOG.enter(level, line.trim_start());
    }
}

/// A variable; what is no text counts as text that is not understood.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Whether lines are JSON, as `MOORING_LOG_FORMAT` says.
#[must_use]
pub fn is_json() -> bool {
    form_of(variable("MOORING_LOG_FORMAT").as_deref()).0 == LineForm::Json
}

/// The form, and what is wrong with its name.
fn form_of(name: Option<&str>) -> (LineForm, Option<String>) {
    match name.unwrap_or("").trim() {
        "" | "text" => (LineForm::Text, None),
        "json" => (LineForm::Json, None),
        other => {
            let text = format!(
                "MOORING_LOG_FORMAT={other:?} is not understood, and text is used; it is text or json"
            );
            (LineForm::Text, Some(text))
        }
    }
}

/// How lines look. Both forms have the same fields; text begins with the name of the server that
/// the line is about, and marks what is a server's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineForm {
    /// `2026-01-01T10:00:00.000000Z  WARN name: text server=name field=value`.
    Text,
    /// `{"timestamp":"…","level":"WARN","fields":{"message":"…"},"target":"…"}`.
    Json,
}

impl<S, N> FormatEvent<S, N> for LineForm
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
        let level = *event.metadata().level();
        match self {
            Self::Text => {
                begin_text(&mut out, level)?;
                write_subject(&mut out, event)?;
            }
            Self::Json => begin_json(&mut out, level)?,
        }
        let mut fields = Fields { form: *self, out: &mut out, is_first: true, done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        match self {
            Self::Text => out.write_char('\n'),
            Self::Json => writeln!(out, "}},\"target\":{}}}", quoted(event.metadata().target())),
        }
    }
}

fn begin_text(out: &mut Writer<'_>, level: Level) -> fmt::Result {
    let (dim, color, plain) = match out.has_ansi_escapes() {
        true => ("\u{1b}[2m", color(level), "\u{1b}[0m"),
        false => ("", "", ""),
    };
    out.write_str(dim)?;
    SystemTime.format_time(out)?;
    write!(out, "{plain} {color}{level:>5}{plain}")
}

/// The server that a line is about, in front, with a mark on what it has said itself.
fn write_subject(out: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut subject = Subject(None);
    event.record(&mut subject);
    let is_said = event.metadata().target() == crate::runner::STDERR_TARGET;
    match (subject.0, is_said) {
        (Some(server), true) => write!(out, " {server} stderr:"),
        (Some(server), false) => write!(out, " {server}:"),
        (None, _) => Ok(()),
    }
}

/// Reads the field that names a server.
struct Subject(Option<String>);

impl Visit for Subject {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == SERVER {
            self.0 = Some(Shown(value).to_string());
        }
    }
}

fn begin_json(out: &mut Writer<'_>, level: Level) -> fmt::Result {
    out.write_str("{\"timestamp\":\"")?;
    SystemTime.format_time(out)?;
    write!(out, "\",\"level\":\"{level}\",\"fields\":{{")
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

/// A value as it is shown: every character visible, and cut.
struct Shown<'a>(&'a dyn Debug);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(VisibleWriter::new(f, MAX_FIELD), "{:?}", self.0)
    }
}

struct Fields<'a, 'w> {
    form: LineForm,
    out: &'a mut Writer<'w>,
    is_first: bool,
    done: fmt::Result,
}

impl Fields<'_, '_> {
    /// Writes a field. In JSON the value is JSON already.
    fn write(&mut self, field: &Field, value: impl Display) {
        let comma = if std::mem::take(&mut self.is_first) { "" } else { "," };
        if self.done.is_ok() {
            self.done = match (self.form, field.name()) {
                (LineForm::Text, MESSAGE) => write!(self.out, " {value}"),
                (LineForm::Text, name) => write!(self.out, " {name}={value}"),
                (LineForm::Json, name) => write!(self.out, "{comma}{}:{value}", quoted(name)),
            };
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match self.form {
            LineForm::Text => self.write(field, Shown(value)),
            LineForm::Json => self.write(field, quoted(&Shown(value).to_string())),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match self.form {
            LineForm::Text => self.write(field, Shown(&value)),
            // Without the quotation marks of `Debug`: JSON has its own.
            LineForm::Json => self.write(field, quoted(&visible(value, MAX_FIELD).to_string())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.form {
            LineForm::Text => self.write(field, Shown(&value)),
            // JSON has no infinity.
            LineForm::Json => self.write(field, serde_json::Value::from(value)),
        }
    }
}
