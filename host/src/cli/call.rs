//! Subcommands that call a running gateway.

use std::process::ExitCode;
use std::time::Duration;

use http::{Method, Request, Uri};

use crate::seam::{Body, Pool, Target, collect};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 1 << 20;

pub fn join(url: Option<&str>) -> ExitCode {
    report(call(url, Method::POST, "/api/cluster/join"), true)
}

pub fn health(url: Option<&str>) -> ExitCode {
    report(call(url, Method::GET, "/health"), false)
}

fn report(answer: Result<String, String>, say: bool) -> ExitCode {
    match answer {
        Ok(text) => {
            if say {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("mooring: {why}");
            ExitCode::FAILURE
        }
    }
}

fn call(url: Option<&str>, method: Method, path: &str) -> Result<String, String> {
    let base = match url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
            format!("http://127.0.0.1:{port}")
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        tokio::time::timeout(TIMEOUT, exchange(&base, method, path))
            .await
            .unwrap_or_else(|_| Err(format!("{base} does not answer")))
    })
}

async fn exchange(base: &str, method: Method, path: &str) -> Result<String, String> {
    let uri: Uri = format!("{base}{path}").parse().map_err(|_| format!("{base} is no URL"))?;
    let target = Target::of(&uri).ok_or_else(|| format!("{base} is no http or https URL"))?;
    let mut request = Request::new(Body::Empty);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| format!("{path} is no path"))?;
    let response = Pool::new(crate::app::tls().map_err(|error| error.to_string())?)
        .send(&target, request)
        .await
        .map_err(|failure| format!("{base}: {failure}"))?;
    let status = response.status();
    let body = collect(response.into_body(), MAX_ANSWER).await.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("{base}{path} answers {status}: {text}"))
    }
}
