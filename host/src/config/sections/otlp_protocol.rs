//! What OTLP is spoken over, and where each kind of telemetry is taken then.

use http::Uri;
use http::uri::Authority;

/// Where collectors take gRPC, unless a URL says otherwise.
const GRPC_PORT: u16 = 4317;

/// What OTLP is spoken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1.
    #[default]
    Http,
    Grpc,
}

impl OtlpProtocol {
    /// By the names that OpenTelemetry has for them.
    pub(in crate::config) const NAMES: [(&'static str, Self); 2] =
        [("http/protobuf", Self::Http), ("grpc", Self::Grpc)];
}

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum OtlpSignal {
    Traces,
    Metrics,
    Logs,
}

impl OtlpSignal {
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// Where a collector takes it over HTTP, below its base URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// The method that takes it over gRPC.
    fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// OpenTelemetry's variable with the protocol of this kind alone.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            Self::Metrics => "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            Self::Logs => "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
        }
    }

    /// The URL of this kind at a collector; over HTTP below the collector's URL, unless it is that
    /// already.
    pub fn url(self, endpoint: &Uri, protocol: OtlpProtocol) -> Result<Uri, &'static str> {
        let path = endpoint.path().trim_end_matches('/');
        let mut parts = endpoint.clone().into_parts();
        let whole = match protocol {
            OtlpProtocol::Http if path.ends_with(self.path()) => return Ok(endpoint.clone()),
            OtlpProtocol::Http => format!("{path}{}", self.path()),
            OtlpProtocol::Grpc if path.is_empty() => {
                parts.authority = parts.authority.map(|it| with_port(it, endpoint.scheme_str()));
                self.method().to_owned()
            }
            OtlpProtocol::Grpc => return Err("has a path, which gRPC has no use for"),
        };
        parts.path_and_query = whole.parse().ok();
        Uri::from_parts(parts).map_err(|_| "is not a URL")
    }
}

/// Without TLS gRPC has a port of its own; with it, it may well share that of HTTPS.
fn with_port(authority: Authority, scheme: Option<&str>) -> Authority {
    if authority.port().is_some() || scheme != Some("http") {
        return authority;
    }
    format!("{}:{GRPC_PORT}", authority.host()).parse().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_place_in_each_protocol() {
        let url = |endpoint: &str, protocol| {
            OtlpSignal::Logs.url(&endpoint.parse().unwrap(), protocol).map(|url| url.to_string())
        };
        let over_http = |endpoint: &str| url(endpoint, OtlpProtocol::Http).unwrap();
        assert_eq!(over_http("http://c:4318"), "http://c:4318/v1/logs");
        assert_eq!(over_http("http://c/x/"), "http://c/x/v1/logs");
        assert_eq!(over_http("http://c/x/v1/logs"), "http://c/x/v1/logs");
        let method = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        for (endpoint, expect) in [
            ("http://c", "http://c:4317"),
            ("http://[::1]/", "http://[::1]:4317"),
            ("http://c:4319", "http://c:4319"),
            ("https://c", "https://c"),
        ] {
            let url = url(endpoint, OtlpProtocol::Grpc).unwrap();
            assert_eq!(url, format!("{expect}{method}"));
        }
        assert!(url("http://c/v1/logs", OtlpProtocol::Grpc).is_err());
    }
}
