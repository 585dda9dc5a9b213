//! Shared by both HTTP fixtures: a loopback listener, a runtime with N threads, hyper on each
//! connection, and the answers of a server with sessions.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;

use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

pub const SESSION_ID: &str = "mcp-session-id";

pub type Answer = Response<Full<Bytes>>;

#[derive(Args)]
pub struct Listen {
    /// Port on 127.0.0.1; 0 takes a free one. The port is printed as one line.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// 1 is a current-thread runtime, more is a work-stealing one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

impl Listen {
    /// Serves until the process ends.
    pub fn serve<H, F>(&self, handle: H) -> io::Result<()>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.runtime()?.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await?;
            println!("{}", listener.local_addr()?.port());
            // Spawned, so that a runtime worker accepts and not this thread.
            tokio::spawn(accept(listener, handle)).await?
        })
    }

    fn runtime(&self) -> io::Result<Runtime> {
        let mut builder = match self.threads {
            0 | 1 => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        builder.worker_threads(self.threads.max(1)).enable_all().build()
    }
}

/// Serves on a free port, which it returns, for as long as the runtime lives.
pub async fn in_background<H, F>(handle: H) -> io::Result<u16>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(accept(listener, handle));
    Ok(port)
}

async fn accept<H, F>(listener: TcpListener, handle: H) -> io::Result<()>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handle = handle.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that leaves is not an error for a fixture.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The session id of a request, if it has one.
pub fn session_id(request: &Request<Incoming>) -> Option<&str> {
    request.headers().get(SESSION_ID)?.to_str().ok()
}

/// A JSON-RPC response as JSON.
pub fn json(body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// An answer without a body.
pub fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// Adds a newly minted session id to the answer to `initialize`.
pub fn with_session(mut answer: Answer, id: &str) -> Answer {
    if let Ok(value) = id.parse() {
        answer.headers_mut().insert(SESSION_ID, value);
    }
    answer
}
