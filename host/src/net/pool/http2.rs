//! Connections for HTTP/2, which whoever opens one speaks by itself: the pool's own connections speak
//! HTTP/1.1.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::net::socket::{CONNECT_TIMEOUT, RawStream};
use crate::net::target::Target;
use crate::net::unreached::Unreached;

use super::Pool;

/// What both sides name HTTP/2 by during TLS (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";

/// A connection's bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

impl Pool {
    /// A new connection to a target that speaks HTTP/2, over TLS with the authorities of this pool. It
    /// does not come back to the pool.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn http2_stream(&self, target: &Target) -> Result<Box<dyn ByteStream>, Unreached> {
        let mut config = (**self.tls.config()).clone();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        let connecting = RawStream::connect(target, &tls, false);
        let stream =
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| {
                let why = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs_f32());
                Err(Unreached::silent(why))
            })?;
        if let RawStream::Tls(stream) = &stream
            && stream.get_ref().1.alpn_protocol() != Some(ALPN)
        {
            return Err("it does not speak HTTP/2 over TLS (ALPN h2)".to_owned().into());
        }
        Ok(Box::new(stream))
    }
}
