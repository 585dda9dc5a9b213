//! What all that goes to a collector over OTLP (1.x) has in common: protobuf, its envelope, where it is
//! sent over HTTP or gRPC, what becomes of it there, and the queue of what waits for that.

mod attributes;
mod collector;
mod counts;
mod envelope;
mod exporter;
mod fields;
mod grpc;
mod grpc_status;
mod http_request;
mod metric;
mod outcome;
pub mod protobuf;

pub use attributes::{Attribute, Attributes, attribute, cut};
pub use collector::{Collector, OtlpTransport};
pub use counts::ExportCounts;
pub use envelope::envelope;
pub use exporter::{ExportOrder, ExportQueue, Exported, StartExport, flush};
pub use grpc::GrpcChannel;
pub use metric::{MetricKind, MetricTimes, histogram_point, metric, number_point};
