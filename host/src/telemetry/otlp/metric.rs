//! How OTLP writes metrics (opentelemetry-proto 1.x, `metrics/v1`). All are sums since the process
//! began, as Prometheus has them.

use crate::sync::{BOUNDS, HistogramCounts};

use super::attributes::{Attribute, attribute};
use super::protobuf::Message;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// What the values of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// In nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct MetricTimes {
    /// When counting began.
    pub began: u64,
    pub now: u64,
}

/// A metric with some of its points.
#[must_use]
pub fn metric(name: &str, help: &str, kind: MetricKind, points: Vec<Message>) -> Message {
    let mut data = Message::default();
    for point in points {
        data.message(1, &point);
    }
    let field = match kind {
        MetricKind::Gauge => 5,
        MetricKind::Counter => {
            data.number(2, CUMULATIVE);
            data.number(3, 1);
            7
        }
        MetricKind::Histogram => {
            data.number(2, CUMULATIVE);
            9
        }
    };
    let mut metric = Message::default();
    metric.bytes(1, name.as_bytes());
    metric.bytes(2, help.as_bytes());
    metric.bytes(3, unit(name).as_bytes());
    metric.message(field, &data);
    metric
}

/// A number with its labels.
#[must_use]
pub fn number_point(
    labels: &[(&'static str, String)],
    value: &Attribute,
    times: MetricTimes,
) -> Message {
    let mut point = Message::default();
    point.fixed64(2, times.began);
    point.fixed64(3, times.now);
    match value {
        Attribute::Number(number) => point.fixed64(6, number.cast_unsigned()),
        Attribute::Real(number) => point.fixed64(4, number.to_bits()),
        Attribute::Text(_) => {}
    }
    add_labels(&mut point, 7, labels);
    point
}

/// The counts of a histogram, in seconds.
#[must_use]
pub fn histogram_point(
    labels: &[(&'static str, String)],
    counts: &HistogramCounts,
    times: MetricTimes,
) -> Message {
    let mut point = Message::default();
    point.fixed64(2, times.began);
    point.fixed64(3, times.now);
    point.fixed64(4, counts.count());
    point.fixed64(5, counts.sum.as_secs_f64().to_bits());
    let buckets: Vec<u8> = counts.buckets.iter().flat_map(|count| count.to_le_bytes()).collect();
    point.bytes(6, &buckets);
    let bounds = BOUNDS.iter().map(|nanos| std::time::Duration::from_nanos(*nanos).as_secs_f64());
    let bounds: Vec<u8> = bounds.flat_map(f64::to_le_bytes).collect();
    point.bytes(7, &bounds);
    add_labels(&mut point, 9, labels);
    point
}

fn add_labels(point: &mut Message, field: u32, labels: &[(&'static str, String)]) {
    for (name, value) in labels {
        point.message(field, &attribute(name, &Attribute::Text(value.clone())));
    }
}

/// The unit in UCUM's letters, which the name has at its end, too. Counts have none: with `1`
/// Prometheus would be given other names.
fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_that_of_the_name() {
        assert_eq!(unit("mooring_call_duration_seconds"), "s");
        assert_eq!(unit("mooring_call_sent_bytes_total"), "By");
        assert_eq!(unit("mooring_sessions"), "");
    }

    #[test]
    fn a_counter_is_a_growing_sum() {
        let times = MetricTimes { began: 1, now: 2 };
        let point = number_point(&[("a", "b".to_owned())], &Attribute::Number(3), times);
        let bytes = metric("x_total", "X", MetricKind::Counter, vec![point]).into_bytes();
        let expect = b"\x0a\x07x_total\x12\x01X\x3a\x2b\x0a\x25\
            \x11\x01\0\0\0\0\0\0\0\x19\x02\0\0\0\0\0\0\0\x31\x03\0\0\0\0\0\0\0\
            \x3a\x08\x0a\x01a\x12\x03\x0a\x01b\x10\x02\x18\x01";
        assert_eq!(bytes, expect);
    }
}
