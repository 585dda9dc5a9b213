//! The same families as OTLP has them, with the same names.

use crate::model::UnixMillis;
use crate::telemetry::{Attribute, Message, MetricTimes, histogram_point, metric, number_point};

use super::exposition::{Exposition, Family, Number, SampleValue};

/// Points of one metric in one message: a family may have one for each method of each server.
const AT_ONCE: usize = 500;

/// All metrics, as messages that can go in any number of requests. Counting began with the process.
pub fn metrics(exposition: &Exposition, began: UnixMillis) -> Vec<Message> {
    let times = MetricTimes { began: nanos(began), now: nanos(UnixMillis::now()) };
    exposition.families().iter().flat_map(|family| of_family(family, times)).collect()
}

fn of_family(family: &Family, times: MetricTimes) -> Vec<Message> {
    let Family { name, help, kind, samples } = family;
    let parts = samples.chunks(AT_ONCE).map(|samples| {
        let points = samples.iter().map(|sample| match &sample.value {
            SampleValue::Number(number) => number_point(&sample.labels, &value(*number), times),
            SampleValue::Histogram(counts) => histogram_point(&sample.labels, counts, times),
        });
        metric(name, help, *kind, points.collect())
    });
    parts.collect()
}

fn value(number: Number) -> Attribute {
    match number {
        Number::Whole(number) => Attribute::Number(i64::try_from(number).unwrap_or(i64::MAX)),
        Number::Real(number) => Attribute::Real(number),
    }
}

fn nanos(time: UnixMillis) -> u64 {
    time.0.saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_family_is_in_several_messages_and_an_empty_one_in_none() {
        let mut page = Exposition::default();
        page.gauge("empty", "E");
        let servers = page.counter("calls_total", "C");
        for number in 0..AT_ONCE + 1 {
            servers.add(&[("server", &number.to_string())], 1_u8);
        }
        page.gauge("one", "O").is(0.5);
        let metrics = metrics(&page, UnixMillis(1));
        assert_eq!(metrics.len(), 3);
        assert!(metrics[0].size() > 100 * metrics[1].size());
        let one = metrics.into_iter().next_back().unwrap().into_bytes();
        assert!(one.windows(8).any(|bytes| bytes == 0.5_f64.to_le_bytes()));
    }
}
