//! Waits for a small answer that comes in pieces, so that it is judged as a whole.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::{Response, header};
use http_body::Body as _;

use crate::net::Body;
use crate::streams::response::OPEN_AFTER;

/// Bytes up to which an answer is small.
const SMALL: usize = 64 * 1024;

/// What has come of a body.
#[derive(Debug)]
pub enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// The beginning, and the rest: it is larger, or takes longer than the client waits for a head.
    More(Body),
    /// It has broken off.
    Broken(String),
}

/// Whether the answer is known to be larger than what is waited for.
#[must_use]
pub fn is_large(response: &Response<Body>) -> bool {
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    length.is_some_and(|length| length > SMALL) || response.body().beginning().len() > SMALL
}

/// Waits for the body as long as it may be small.
pub async fn gather(mut body: Body) -> Gathered {
    let mut read = Vec::new();
    let reading = async {
        while read.len() <= SMALL {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                None => return Ok(true),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        read.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
        Ok(false)
    };
    match tokio::time::timeout(OPEN_AFTER, reading).await {
        Ok(Ok(true)) => Gathered::Whole(read.into()),
        Ok(Ok(false)) | Err(_) => Gathered::More(Body::Begun(read.into(), Box::new(body))),
        Ok(Err(why)) => Gathered::Broken(why),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn in_pieces(pieces: &[&'static [u8]]) -> (mpsc::Sender<Bytes>, Body) {
        let (sender, receiver) = mpsc::channel(16);
        for piece in pieces {
            sender.try_send(Bytes::from_static(piece)).unwrap();
        }
        (sender, Body::Channel(receiver))
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_is_waited_for_and_no_other() {
        let (sender, body) = in_pieces(&[b"{", b"}"]);
        drop(sender);
        assert!(matches!(gather(body).await, Gathered::Whole(text) if text == b"{}"[..]));
        let (_sender, body) = in_pieces(&[b"{", b"\"a\""]);
        let Gathered::More(body) = gather(body).await else { panic!("it has not ended") };
        assert_eq!(body.beginning(), b"{\"a\"");
        let large: &[u8] = vec![b' '; SMALL].leak();
        let (sender, body) = in_pieces(&[large, b"{", b"}"]);
        drop(sender);
        let Gathered::More(body) = gather(body).await else { panic!("it is large") };
        assert_eq!(body.beginning().len(), SMALL + 1);
    }
}
