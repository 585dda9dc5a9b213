//! Prometheus' text format (exposition format 0.0.4): families of samples, each with its help and
//! type.

use std::fmt::{Display, Write as _};

use crate::model::visible::visible;
use crate::sync::{BOUNDS, HistogramCounts};

/// The content type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Precedes the names of all families but those of the process, which have names of their own.
const PREFIX: &str = "mooring_";
/// Bytes of a label's value: names are no longer.
const MAX_LABEL: usize = 128;

/// Names and values of a sample's labels.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page of metrics. Names are without their prefix.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// One family, whose samples are added.
pub struct Family<'a> {
    page: &'a mut String,
    name: String,
}

impl Exposition {
    /// What only grows while the process lives; the name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Family<'_> {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(&format!("{PREFIX}{name}"), help, "counter")
    }

    pub fn gauge(&mut self, name: &str, help: &str) -> Family<'_> {
        debug_assert!(!name.ends_with("_total"), "{name}");
        self.family(&format!("{PREFIX}{name}"), help, "gauge")
    }

    pub fn histogram(&mut self, name: &str, help: &str) -> Family<'_> {
        self.family(&format!("{PREFIX}{name}"), help, "histogram")
    }

    /// A family with a name by convention, which has no prefix.
    pub fn family(&mut self, name: &str, help: &str, kind: &str) -> Family<'_> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name: name.to_owned() }
    }

    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// The only sample.
    pub fn is(mut self, value: impl Display) {
        self.add(&[], value);
    }

    /// The only sample, if there is one.
    pub fn sample_if_known(self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.is(value);
        }
    }

    pub fn add(&mut self, labels: Labels<'_>, value: impl Display) {
        self.sample("", labels, None, value);
    }

    /// The samples of a histogram.
    pub fn add_histogram(&mut self, labels: Labels<'_>, counts: &HistogramCounts) {
        let mut sum = 0;
        for (count, bound) in counts.buckets.iter().zip(BOUNDS) {
            sum += count;
            self.sample("_bucket", labels, Some(&seconds(bound)), sum);
        }
        let count = counts.count();
        self.sample("_bucket", labels, Some("+Inf"), count);
        self.sample("_sum", labels, None, counts.sum.as_secs_f64());
        self.sample("_count", labels, None, count);
    }

    fn sample(&mut self, end: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        let Self { page, name } = self;
        let _ = write!(page, "{name}{end}");
        let bound = bound.map(|bound| ("le", bound));
        for (at, (label, value)) in labels.iter().copied().chain(bound).enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(page, "{before}{label}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() || bound.is_some() {
            page.push('}');
        }
        let _ = writeln!(page, " {value}");
    }
}

/// Nanoseconds as seconds.
fn seconds(nanos: u64) -> String {
    std::time::Duration::from_nanos(nanos).as_secs_f64().to_string()
}

/// A label's value: the name of a server may have any visible character.
fn escaped(value: &str) -> String {
    let shown = visible(value, MAX_LABEL).to_string();
    shown.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Histogram;

    #[test]
    fn samples_stand_below_their_family() {
        let mut page = Exposition::default();
        page.counter("calls_total", "Calls").is(3);
        let mut up = page.gauge("up", "1 if it is up");
        up.add(&[("server", "a\"b\\c")], 1);
        let expect = "# HELP mooring_calls_total Calls\n# TYPE mooring_calls_total counter\n\
            mooring_calls_total 3\n# HELP mooring_up 1 if it is up\n# TYPE mooring_up gauge\n\
            mooring_up{server=\"a\\\"b\\\\c\"} 1\n";
        assert_eq!(page.into_text(), expect);
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let histogram = Histogram::default();
        for millis in [1, 1, 30, 3_600_000] {
            histogram.note(std::time::Duration::from_millis(millis));
        }
        let mut counts = HistogramCounts::default();
        histogram.add_to(&mut counts);
        let mut page = Exposition::default();
        page.histogram("x_seconds", "Time").add_histogram(&[("a", "b")], &counts);
        let text = page.into_text();
        for line in [
            "mooring_x_seconds_bucket{a=\"b\",le=\"0.0005\"} 0",
            "mooring_x_seconds_bucket{a=\"b\",le=\"0.001\"} 2",
            "mooring_x_seconds_bucket{a=\"b\",le=\"0.05\"} 3",
            "mooring_x_seconds_bucket{a=\"b\",le=\"300\"} 3",
            "mooring_x_seconds_bucket{a=\"b\",le=\"+Inf\"} 4",
            "mooring_x_seconds_sum{a=\"b\"} 3600.032",
            "mooring_x_seconds_count{a=\"b\"} 4",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
