//! What all that goes to a collector over OTLP (1.x) has in common: protobuf, its envelope, where it is
//! sent, and the queue of what waits for that.

mod attributes;
mod collector;
mod counts;
mod envelope;
mod exporter;
mod metric;
pub mod protobuf;

pub use attributes::{Attribute, Attributes, attribute, cut};
pub use collector::Collector;
pub use counts::ExportCounts;
pub use envelope::envelope;
pub use exporter::{ExportOrder, ExportQueue, Exported, StartExport, flush};
pub use metric::{MetricKind, MetricTimes, histogram_point, metric, number_point};
