//! A connection that has come, and whose certificate is judged.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::alerts::{handshake_told, has_shown_none, refusal_told};
use super::judged::Judged;

/// How long, and for how many bytes, a refused connection is read: closed with unread bytes, the
/// alert that tells the other side why would be lost.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAccepted {
    pub why: String,
    /// Whether the reason is the certificate of the other side, or that it has shown none.
    pub is_denied: bool,
}

impl NotAccepted {
    /// For another reason than a certificate.
    pub fn failed(why: impl ToString) -> Self {
        Self { why: why.to_string(), is_denied: false }
    }
}

/// Finishes the handshake. Returns the certificate of the other side with its chain; empty if it has
/// shown none.
///
/// # Errors
/// Why there is no connection.
pub async fn accept<S>(
    begun: StartHandshake<S>,
    judged: &Judged,
    config: Arc<ServerConfig>,
) -> Result<(TlsStream<S>, Vec<CertificateDer<'static>>), NotAccepted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match begun.into_stream(config).into_fallible().await {
        Ok(stream) => {
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
            Ok((stream, chain))
        }
        Err((error, socket)) => {
            let denied = match judged.refused() {
                Some((names, error)) => NotAccepted {
                    why: format!("the certificate of {names} {}", refusal_told(&error)),
                    is_denied: true,
                },
                None => {
                    NotAccepted { why: handshake_told(&error), is_denied: has_shown_none(&error) }
                }
            };
            linger(socket).await;
            Err(denied)
        }
    }
}

/// Lets the other side read what it was told last.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) {
    let reading = async {
        let _ = socket.shutdown().await;
        let (mut buffer, mut left) = ([0; 2048], LINGER_BYTES);
        while let (true, Ok(read @ 1..)) = (left > 0, socket.read(&mut buffer).await) {
            left = left.saturating_sub(read);
        }
    };
    let _ = tokio::time::timeout(LINGER, reading).await;
}
