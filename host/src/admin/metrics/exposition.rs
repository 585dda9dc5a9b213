//! Families of samples, each with its help and type, as they are read for one scrape; and Prometheus'
//! text format of them (exposition format 0.0.4).

use std::fmt::{self, Display, Write as _};

use crate::model::visible::visible;
use crate::sync::{BOUNDS, HistogramCounts};
use crate::telemetry::MetricKind;

/// The content type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Precedes the names of all families but those of the process, which have names of their own.
const PREFIX: &str = "mooring_";
/// Bytes of a label's value: names are no longer.
const MAX_LABEL: usize = 128;

/// Names and values of a sample's labels.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// All metrics at one moment. Names are given without their prefix.
#[derive(Debug, Default)]
pub struct Exposition(Vec<Family>);

/// One family, to which samples are added.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub help: &'static str,
    pub kind: MetricKind,
    pub samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    /// Values have every character visible.
    pub labels: Vec<(&'static str, String)>,
    pub value: SampleValue,
}

#[derive(Debug)]
pub enum SampleValue {
    Number(Number),
    Histogram(Box<HistogramCounts>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl Exposition {
    /// What only grows while the process lives; the name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &'static str) -> &mut Family {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(&format!("{PREFIX}{name}"), help, MetricKind::Counter)
    }

    pub fn gauge(&mut self, name: &str, help: &'static str) -> &mut Family {
        debug_assert!(!name.ends_with("_total"), "{name}");
        self.family(&format!("{PREFIX}{name}"), help, MetricKind::Gauge)
    }

    pub fn histogram(&mut self, name: &str, help: &'static str) -> &mut Family {
        self.family(&format!("{PREFIX}{name}"), help, MetricKind::Histogram)
    }

    /// A family with a name by convention, which has no prefix.
    pub fn family(&mut self, name: &str, help: &'static str, kind: MetricKind) -> &mut Family {
        self.0.push_mut(Family { name: name.to_owned(), help, kind, samples: Vec::new() })
    }

    #[must_use]
    pub fn families(&self) -> &[Family] {
        &self.0
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut page = String::new();
        for family in &self.0 {
            family.write(&mut page);
        }
        page
    }
}

impl Family {
    /// The only sample.
    pub fn is(&mut self, value: impl Into<Number>) {
        self.add(&[], value);
    }

    /// The only sample, if there is one.
    pub fn sample_if_known(&mut self, value: Option<impl Into<Number>>) {
        if let Some(value) = value {
            self.is(value);
        }
    }

    pub fn add(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        self.sample(labels, SampleValue::Number(value.into()));
    }

    /// The samples of a histogram.
    pub fn add_histogram(&mut self, labels: Labels<'_>, counts: &HistogramCounts) {
        self.sample(labels, SampleValue::Histogram(Box::new(counts.clone())));
    }

    fn sample(&mut self, labels: Labels<'_>, value: SampleValue) {
        let shown = |value: &str| visible(value, MAX_LABEL).to_string();
        let labels = labels.iter().map(|(name, value)| (*name, shown(value))).collect();
        self.samples.push(Sample { labels, value });
    }

    fn write(&self, page: &mut String) {
        let Self { name, help, kind, samples } = self;
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Sample { labels, value } in samples {
            match value {
                SampleValue::Number(value) => line(page, (name, ""), labels, None, value),
                SampleValue::Histogram(counts) => write_histogram(page, name, labels, counts),
            }
        }
    }
}

fn write_histogram(
    page: &mut String,
    name: &str,
    labels: &[(&'static str, String)],
    counts: &HistogramCounts,
) {
    let mut sum = 0;
    for (count, bound) in counts.buckets.iter().zip(BOUNDS) {
        sum += count;
        line(page, (name, "_bucket"), labels, Some(&seconds(bound)), sum);
    }
    let count = counts.count();
    line(page, (name, "_bucket"), labels, Some("+Inf"), count);
    line(page, (name, "_sum"), labels, None, counts.sum.as_secs_f64());
    line(page, (name, "_count"), labels, None, count);
}

/// A line; the name has an end in a histogram.
fn line(
    page: &mut String,
    (name, end): (&str, &str),
    labels: &[(&'static str, String)],
    bound: Option<&str>,
    value: impl Display,
) {
    let _ = write!(page, "{name}{end}");
    let labels = labels.iter().map(|(label, value)| (*label, value.as_str()));
    let mut before = '{';
    for (label, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let _ = write!(page, "{before}{label}=\"{}\"", escaped(value));
        before = ',';
    }
    if before == ',' {
        page.push('}');
    }
    let _ = writeln!(page, " {value}");
}

/// Nanoseconds as seconds.
fn seconds(nanos: u64) -> String {
    std::time::Duration::from_nanos(nanos).as_secs_f64().to_string()
}

/// A label's value: the name of a server may have any visible character.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<u8> for Number {
    fn from(number: u8) -> Self {
        Self::Whole(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Histogram;

    #[test]
    fn samples_stand_below_their_family() {
        let mut page = Exposition::default();
        page.counter("calls_total", "Calls").is(3_u8);
        let up = page.gauge("up", "1 if it is up");
        up.add(&[("server", "a\"b\\c")], 1_u8);
        let expect = "# HELP mooring_calls_total Calls\n# TYPE mooring_calls_total counter\n\
            mooring_calls_total 3\n# HELP mooring_up 1 if it is up\n# TYPE mooring_up gauge\n\
            mooring_up{server=\"a\\\"b\\\\c\"} 1\n";
        assert_eq!(page.text(), expect);
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
        let text = page.text();
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
