//! One type for several kinds of connections.

/// Makes an enum, each of whose variants holds a stream, a stream itself.
macro_rules! stream_of_kinds {
    ($name:ident: $($variant:ident),+ $(,)?) => {
        const _: () = {
            use std::io::{IoSlice, Result};
            use std::pin::Pin;
            use std::task::{Context, Poll};

            use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

            impl AsyncRead for $name {
                fn poll_read(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    buffer: &mut ReadBuf<'_>,
                ) -> Poll<Result<()>> {
                    match self.get_mut() {
                        $(Self::$variant(stream) => Pin::new(stream).poll_read(cx, buffer),)+
                    }
                }
            }

            impl AsyncWrite for $name {
                fn poll_write(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bytes: &[u8],
                ) -> Poll<Result<usize>> {
                    match self.get_mut() {
                        $(Self::$variant(stream) => Pin::new(stream).poll_write(cx, bytes),)+
                    }
                }

                fn poll_write_vectored(
                    self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    parts: &[IoSlice<'_>],
                ) -> Poll<Result<usize>> {
                    match self.get_mut() {
                        $(Self::$variant(stream) => {
                            Pin::new(stream).poll_write_vectored(cx, parts)
                        })+
                    }
                }

                // Those of the system and of TLS all are.
                fn is_write_vectored(&self) -> bool {
                    true
                }

                fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                    match self.get_mut() {
                        $(Self::$variant(stream) => Pin::new(stream).poll_flush(cx),)+
                    }
                }

                fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                    match self.get_mut() {
                        $(Self::$variant(stream) => Pin::new(stream).poll_shutdown(cx),)+
                    }
                }
            }
        };
    };
}

pub(crate) use stream_of_kinds;
