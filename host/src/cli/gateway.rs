//! The running gateway that a subcommand calls: its address, and the key that
//! it requires.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};

use crate::config::{self, KeyReach, Loaded, Secret};
use crate::net::{Body, Pool, Target, collect};
use crate::protocol::proof::mac;
use crate::store::{DataFolder, LOCAL_KEY};

/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer. A page with the most instances and stderr lines fits.
const MAX_ANSWER: usize = 64 << 20;
/// Environment variable with the bearer key; overrides `bearerAuthKey` of the
/// settings file.
const KEY: &str = "MOORING_KEY";
/// How a gateway refuses what only gateways of another mode have: no key opens that.
const OF_OTHERS: &str = "This endpoint is only available on";
/// Default port, from the cluster guide.
const PORT: u16 = 3000;

pub struct Gateway {
    base: String,
    /// The Unix socket that it listens on, which this client does not reach.
    on_a_file: Option<String>,
    key: Option<Secret>,
    /// The header that the gateway reads keys from, beside that of the local command line.
    header: HeaderName,
}

impl Gateway {
    /// The gateway at `url`; without one, at the address in the settings or `PORT`. Of several
    /// keys the first is sent: `MOORING_KEY`, the settings' own, that in the data folder.
    pub fn find(url: Option<&str>, settings: Option<&Loaded>, folder: &Path) -> Self {
        let config = settings.map(|loaded| &loaded.config);
        let on_a_file = config.filter(|_| url.is_none()).and_then(|c| c.listen.file.as_ref());
        let on_a_file = on_a_file.map(|file| file.path.display().to_string());
        let base = match (url, config) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(config)) => base(&config.listen),
            (None, None) => {
                let port = std::env::var("PORT").ok().and_then(|port| port.trim().parse().ok());
                let path = std::env::var("BASE_PATH").unwrap_or_default();
                let path = path.trim().trim_matches('/');
                let path = if path.is_empty() { String::new() } else { format!("/{path}") };
                format!("http://127.0.0.1:{}{path}", port.unwrap_or(PORT))
            }
        };
        let given = config::secret_variable(KEY, |name| std::env::var(name).ok());
        let given = given.unwrap_or_else(|problem| {
            super::terminal::warn(format!("mooring: {problem}"));
            None
        });
        let given = given.map(Secret::new);
        // Both keys belong to a gateway of this machine: they are not sent to another one that
        // `--url` names.
        let is_own = url.is_none() || is_loopback(&base);
        let of_settings = config.filter(|_| is_own).and_then(|config| {
            let mut keys = config.access.lock.keys().iter();
            keys.find(|key| key.reach == KeyReach::All).map(|key| key.token.clone())
        });
        let header = config.filter(|_| is_own).map(|config| config.access.key_header.clone());
        let key = given.or(of_settings).or_else(|| is_own.then(|| local_key(folder)).flatten());
        Self { base, on_a_file, key, header: header.unwrap_or(header::AUTHORIZATION) }
    }

    /// Sends one request and returns the text of the answer, within 5 seconds.
    pub fn call(&self, method: Method, path: &str) -> Result<String, String> {
        self.call_with(method, path, None)
    }

    /// The same with a body of JSON.
    pub fn call_with(
        &self,
        method: Method,
        path: &str,
        json: Option<&str>,
    ) -> Result<String, String> {
        runtime()?.block_on(self.text(TIMEOUT, method, path, json))
    }

    /// The same for an answer that may take longer.
    pub fn call_within(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
    ) -> Result<String, String> {
        runtime()?.block_on(self.text(patience, method, path, None))
    }

    async fn text(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        json: Option<&str>,
    ) -> Result<String, String> {
        let exchange = async {
            let response = self.send(method, path, json, HeaderMap::new()).await?;
            let body =
                collect(response.into_body(), MAX_ANSWER).await.map_err(|e| e.to_string())?;
            Ok(String::from_utf8_lossy(&body).trim().to_owned())
        };
        tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| {
            Err(format!("{} did not answer within {} s", self.base, patience.as_secs()))
        })
    }

    /// Sends one request; the body of the response can be read as it arrives.
    pub async fn open(&self, method: Method, path: &str) -> Result<Response<Body>, String> {
        self.send(method, path, None, HeaderMap::new()).await
    }

    /// Sends one request with these headers. What is no success is an error.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        json: Option<&str>,
        headers: HeaderMap,
    ) -> Result<Response<Body>, String> {
        if let Some(file) = &self.on_a_file {
            return Err(format!(
                "the gateway listens on the Unix socket {file}: ask it with another program, as \
                 curl --unix-socket {file} http://localhost{path}, or name the URL of a proxy in \
                 front of it with --url"
            ));
        }
        let base = &self.base;
        let uri: Uri =
            format!("{base}{path}").parse().map_err(|_| format!("{base} is not a URL"))?;
        let target =
            Target::of(&uri).ok_or_else(|| format!("{base} is not an http or https URL"))?;
        let mut request = Request::new(Body::Empty);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        if let Some(json) = json {
            *request.body_mut() = Body::from(bytes::Bytes::from(json.to_owned()));
            let json = HeaderValue::from_static(crate::protocol::headers::JSON);
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        let asked = uri.path_and_query().cloned();
        *request.uri_mut() = asked.map_or_else(Uri::default, Uri::from);
        if let Some(key) = &self.key {
            let value = format!("Bearer {}", key.expose());
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| "the key has characters that cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            request.headers_mut().insert(self.header.clone(), value.clone());
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let pool = Pool::new(crate::net::client_config().map_err(|error| error.to_string())?);
        let response = pool
            .send(&target, request)
            .await
            .map_err(|failure| format!("no gateway answers at {base}: {failure}"))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = collect(response.into_body(), MAX_ANSWER).await.map_err(|e| e.to_string())?;
        let said = said(&body);
        let advice = match status {
            http::StatusCode::FORBIDDEN if self.key.is_some() || said.starts_with(OF_OTHERS) => {
                String::new()
            }
            http::StatusCode::UNAUTHORIZED | http::StatusCode::FORBIDDEN => format!(
                "; set {KEY} to the key, or MOORING_DATA to the gateway's data folder, where its \
                 {LOCAL_KEY} is"
            ),
            _ => String::new(),
        };
        Err(format!("{base}{path} answered {status}: {said}{advice}"))
    }
}

/// The key that a gateway with this data folder has put there.
fn local_key(folder: &Path) -> Option<Secret> {
    let key = DataFolder::existing(folder).read(LOCAL_KEY).filter(|key| !key.is_empty())?;
    Some(Secret::new(mac::hex(&key)))
}

pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(|error| error.to_string())
}

/// The `data` member of an answer of the management API.
pub fn data(text: &str) -> Result<serde_json::Value, String> {
    let mut answer: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("the answer is not JSON: {error}"))?;
    match answer.get_mut("data") {
        Some(data) => Ok(data.take()),
        None => Err("the answer is not from a mooring gateway: it has no \"data\"".to_owned()),
    }
}

/// Plain HTTP, also where others need TLS: this machine may do without.
fn base(listen: &config::Listen) -> String {
    let host = match listen.host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => listen.host.clone(),
    };
    format!("http://{host}:{}{}", listen.port, listen.base_path)
}

fn is_loopback(base: &str) -> bool {
    let Ok(uri) = base.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The `message` of a failed answer, or of its JSON-RPC error, or the whole body if it has none.
fn said(body: &[u8]) -> String {
    let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = [&answer["message"], &answer["error"]["message"]];
    let message = messages.into_iter().find_map(|message| message.as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_stands_for_all_is_called_on_this_machine() {
        for (host, expect) in [
            ("0.0.0.0", "http://127.0.0.1:80"),
            ("::", "http://[::1]:80"),
            ("fd00::1", "http://[fd00::1]:80"),
            ("10.0.0.1", "http://10.0.0.1:80"),
            ("gw.example", "http://gw.example:80"),
        ] {
            let listen = |base_path: &str| {
                let base_path = base_path.to_owned();
                config::Listen {
                    host: host.into(),
                    host_key: Some("MOORING_HOST"),
                    port: 80,
                    port_key: "PORT",
                    base_path,
                    file: None,
                    tls: None,
                }
            };
            assert_eq!(base(&listen("")), expect);
            assert_eq!(base(&listen("/hub")), format!("{expect}/hub"));
        }
    }

    #[test]
    fn only_this_machine_gets_the_key_of_the_file() {
        for (base, expect) in [
            ("http://127.0.0.1:3000", true),
            ("http://localhost", true),
            ("http://[::1]:1", true),
            ("https://gw.example", false),
            ("http://localhost.example", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_loopback(base), expect, "{base}");
        }
    }
}
