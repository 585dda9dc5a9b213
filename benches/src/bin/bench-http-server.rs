//! The echo server over Streamable HTTP, with JSON answers only. It answers 404 to session ids that
//! it did not mint: a back end that accepts any id would hide wrong routing. With `--alone` it serves
//! the revision without sessions, and opens none.

#![forbid(unsafe_code)]

use std::sync::Arc;

use clap::Parser;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mooring_benches::echo::Message;
use mooring_benches::listen::{Answer, Listen, json, session_id, status, with_session};
use mooring_benches::minted::Minted;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    listen: Listen,
    /// Serve requests without a session (2026-07-28), and open no session.
    #[arg(long)]
    alone: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let minted = Arc::new(Minted::default());
    match options.alone {
        true => options.listen.serve(answer_alone)?,
        false => options.listen.serve(move |request| answer(Arc::clone(&minted), request))?,
    }
    Ok(())
}

/// Answers one request that belongs to no session, whose headers repeat what its body says.
async fn answer_alone(request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let repeats = ["mcp-protocol-version", "mcp-method"];
    let is_whole = repeats.iter().all(|name| request.headers().contains_key(*name));
    if !is_whole || session_id(&request).is_some() {
        return status(StatusCode::BAD_REQUEST);
    }
    let Ok(body) = request.into_body().collect().await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let Some(message) = Message::parse(&body) else {
        return status(StatusCode::BAD_REQUEST);
    };
    if !message.is_request() {
        return status(StatusCode::ACCEPTED);
    }
    let mut out = Vec::with_capacity(body.len() + 128);
    let is_known = message.answer_alone(&mut out);
    let mut answer = json(out);
    if !is_known {
        *answer.status_mut() = StatusCode::NOT_FOUND;
    }
    answer
}

async fn answer(minted: Arc<Minted>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let known = session_id(&request).map(|id| minted.knows(id));
    let Ok(body) = request.into_body().collect().await else {
        return status(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let Some(message) = Message::parse(&body) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let mut out = Vec::with_capacity(body.len() + 128);
    match known {
        _ if message.is_initialize() => {
            message.answer(&mut out);
            with_session(json(out), &minted.mint())
        }
        None => status(StatusCode::BAD_REQUEST),
        Some(false) => status(StatusCode::NOT_FOUND),
        Some(true) if message.is_request() => {
            message.answer(&mut out);
            json(out)
        }
        Some(true) => status(StatusCode::ACCEPTED),
    }
}
