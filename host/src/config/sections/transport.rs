//! How one server is reached: a child process or a URL. A mistake of the environment
//! (an unset variable, a value that does not fit) stops this server only; a mistake of
//! the file stops the load.

use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Uri, header};

use crate::config::reader::expand::expand;
use crate::config::reader::item::Item;
use crate::config::reader::place::Place;
use crate::config::reader::proxy_url::ProxySettings;
use crate::config::reader::secret::Secret;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::url::{self, UrlPurpose};
use crate::config::reader::{headers, shown};

use super::confinement::{self, ConfinementSettings};
use super::proxy::{self, OwnProxy};
use super::sandbox::{self, SandboxSettings};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    Stdio {
        command: String,
        args: Vec<String>,
        /// Variables in file order, added to the few that every child gets.
        env: Vec<(String, Secret)>,
        /// The working directory; the gateway's own if absent.
        cwd: Option<PathBuf>,
        /// The proxy that its variables name.
        proxy: OwnProxy,
        confinement: ConfinementSettings,
    },
    /// Streamable HTTP.
    Http(Remote),
    /// HTTP+SSE of protocol revision 2024-11-05.
    Sse(Remote),
    /// A `url` without `type`: Streamable HTTP is tried first, then HTTP+SSE.
    HttpOrSse(Remote),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub url: Uri,
    /// Headers of every request, in file order; their values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The proxy through which it is reached, by its own `proxy` or the environment.
    pub proxy: Option<ProxySettings>,
}

/// The result of reading an entry.
pub(in crate::config) struct ParsedTransport {
    pub transport: Option<Transport>,
    pub shown: String,
    pub misconfigured: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TransportKind {
    Stdio,
    Http,
    Sse,
    HttpOrSse,
    /// A type that MCPHub runs and Mooring does not; with the reason for the operator.
    Unsupported(&'static str),
}

const OPENAPI: TransportKind = TransportKind::Unsupported("openapi servers are not supported");

/// The values of `type`, including spellings of other programs.
const KINDS: [(&str, TransportKind); 7] = [
    ("stdio", TransportKind::Stdio),
    ("sse", TransportKind::Sse),
    ("streamable-http", TransportKind::Http),
    ("streamableHttp", TransportKind::Http),
    ("http", TransportKind::Http),
    ("openapi", OPENAPI),
    ("builtin", TransportKind::Unsupported("builtin servers are not supported")),
];

pub(in crate::config) fn read(
    entry: &Section<'_>,
    sources: &Sources<'_>,
    base: &Path,
) -> ParsedTransport {
    let mut reader = EntryReader { entry, sources, problems: Vec::new() };
    let transport = kind(entry).and_then(|kind| reader.transport(kind, base));
    let problems = reader.problems;
    let misconfigured = match (problems.is_empty(), &transport) {
        (false, _) => Some(problems.join("; ")),
        // The server is disabled or the load fails; the findings have the details.
        (true, None) => Some("the entry has mistakes".to_owned()),
        (true, Some(_)) => None,
    };
    ParsedTransport {
        transport: transport.filter(|_| misconfigured.is_none()),
        shown: shown::entry(entry),
        misconfigured,
    }
}

/// The kind of an entry; `None` if there is a mistake, which becomes a finding.
fn kind(entry: &Section<'_>) -> Option<TransportKind> {
    let has = |key| entry.get(key).is_some();
    if has("type") {
        return entry.choice("type", "type of server", &KINDS);
    }
    match (has("command"), has("url")) {
        (true, false) => return Some(TransportKind::Stdio),
        (false, true) => return Some(TransportKind::HttpOrSse),
        (false, false) if has("openapi") => return Some(OPENAPI),
        (false, false) => entry.notes.refuse(
            &entry.place,
            "has neither a command nor a url",
            "add one of the two",
        ),
        (true, true) => entry.notes.refuse(
            &entry.place,
            "has both a command and a url",
            "add \"type\", or remove one of them",
        ),
    }
    None
}

struct EntryReader<'r, 'd> {
    entry: &'r Section<'d>,
    sources: &'r Sources<'r>,
    /// Problems that stop this server only.
    problems: Vec<String>,
}

impl EntryReader<'_, '_> {
    fn transport(&mut self, kind: TransportKind, base: &Path) -> Option<Transport> {
        match kind {
            TransportKind::Stdio => {
                self.warn_of_unused("url");
                self.stdio(base)
            }
            TransportKind::Http => self.remote().map(Transport::Http),
            TransportKind::Sse => self.remote().map(Transport::Sse),
            TransportKind::HttpOrSse => self.remote().map(Transport::HttpOrSse),
            TransportKind::Unsupported(why) => {
                self.problems.push(why.to_owned());
                if !self.entry.place.lenient {
                    let advice = "the other servers start; remove it or add \"enabled\": false";
                    self.entry.notes.warn(&self.entry.place, why, advice);
                }
                None
            }
        }
    }

    /// Warns of a key that the type does not use, such as `command` beside a URL.
    fn warn_of_unused(&self, key: &str) {
        if let Some(item) = self.entry.get(key) {
            item.warn("is not used by a server of this type", "remove it");
        }
    }

    fn stdio(&mut self, base: &Path) -> Option<Transport> {
        let command = self.required("command");
        let args = self.entry.items("args").into_iter();
        let args: Vec<_> = args.map(|item| self.word(&item)).collect();
        let env = self.env();
        let cwd = match self.entry.get("cwd") {
            Some(item) => Some(base.join(self.line(&item)?)),
            None => None,
        };
        let proxy = self.proxy();
        let confinement = confinement::read(self.entry);
        let sandbox = match self.entry.get("sandbox") {
            Some(item) => self.sandbox(&item.section(), base).map(Some),
            None => Some(None),
        };
        let confinement = confinement.zip(sandbox);
        let confinement =
            confinement.map(|(other, sandbox)| ConfinementSettings { sandbox, ..other });
        Some(Transport::Stdio {
            command: command?,
            args: args.into_iter().collect::<Option<_>>()?,
            env: env?,
            cwd,
            proxy: proxy?,
            confinement: confinement?,
        })
    }

    fn sandbox(&mut self, section: &Section<'_>, base: &Path) -> Option<SandboxSettings> {
        let mut missing = Vec::new();
        let note = |item: &Item<'_>, problem| missing.push((item.place.clone(), problem));
        let read = sandbox::read(section, base, |item| self.line(item), note);
        for (place, problem) in missing {
            let advice = "make it, or remove it from the list; until then this server does not run";
            self.stop_at(&place, problem, advice);
        }
        read
    }

    fn env(&mut self) -> Option<Vec<(String, Secret)>> {
        let mut env = Some(Vec::new());
        for (name, item) in self.entry.entries("env") {
            if name.is_empty() || name.contains(|c: char| c == '=' || c.is_control()) {
                let advice = "use letters, digits and _";
                item.refuse("is not a valid variable name", advice);
            }
            match self.word(&item) {
                Some(value) => env
                    .iter_mut()
                    .for_each(|env| env.push((name.to_owned(), Secret::new(value.as_str())))),
                None => env = None,
            }
        }
        env
    }

    fn remote(&mut self) -> Option<Remote> {
        for key in ["command", "rlimits", "user", "allowPrivileges", "sandbox"] {
            self.warn_of_unused(key);
        }
        let url = self.required("url");
        let headers = self.headers();
        let token = self.access_token();
        let own = self.proxy();
        let item = self.entry.get("url")?;
        let parsed = url::parse(&url?, UrlPurpose::Endpoint);
        let url = self.fits(&item, parsed, "write it like https://example.com/mcp")?;
        let proxy = proxy::proxy_of(&url, &own?, self.sources);
        let headers = headers?.into_iter().chain(token?).collect();
        Some(Remote { url, headers, proxy })
    }

    /// The server's own `proxy`.
    fn proxy(&mut self) -> Option<OwnProxy> {
        let Some(item) = self.entry.get("proxy") else { return Some(OwnProxy::Usual) };
        let parsed = proxy::own(&item, |item| self.line(item))?;
        match parsed {
            Ok(own) => Some(own),
            Err(problem) => {
                let advice = "write it like http://user:password@proxy.example:3128, or false; until \
                              then this server does not run";
                self.stop(&item, format!("its proxy {problem}"), advice);
                None
            }
        }
    }

    /// The header of `oauth.accessToken`, if there is one and no other Authorization is set.
    fn access_token(&mut self) -> Option<Option<(HeaderName, HeaderValue)>> {
        let Some(item) = self.entry.section("oauth").get("accessToken") else { return Some(None) };
        let token = self.line(&item)?;
        if token.is_empty() {
            return Some(None);
        }
        let headers = self.entry.entries("headers");
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            item.warn(
                "is not sent: the server's own Authorization header is",
                "remove one of them",
            );
            return Some(None);
        }
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let value = value.map_err(|_| "cannot be sent in a header");
        let mut value = self.fits(&item, value, "use visible ASCII characters")?;
        value.set_sensitive(true);
        Some(Some((header::AUTHORIZATION, value)))
    }

    fn headers(&mut self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let mut headers = Some(Vec::new());
        for (name, item) in self.entry.entries("headers") {
            let name = headers::parse(name);
            if let Err(problem) = name {
                item.refuse(problem, "remove it");
            }
            let value = self.line(&item).and_then(|text| {
                let value = HeaderValue::from_str(&text).map_err(|_| "cannot be sent in a header");
                self.fits(&item, value, "use visible ASCII characters")
            });
            match (name, value) {
                (Ok(name), Some(mut value)) => {
                    value.set_sensitive(true);
                    headers
                        .iter_mut()
                        .for_each(|headers| headers.push((name.clone(), value.clone())));
                }
                _ => headers = None,
            }
        }
        headers
    }

    fn required(&mut self, key: &str) -> Option<String> {
        let Some(item) = self.entry.get(key) else {
            let advice = format!("add \"{key}\", or change \"type\"");
            self.entry.refuse_key(key, "is required for this type", &advice);
            return None;
        };
        let line = self.line(&item)?;
        if line.is_empty() {
            return self.fits(&item, Err("is empty"), "give it a value");
        }
        Some(line)
    }

    /// A text of one line, with its variables replaced.
    fn line(&mut self, item: &Item<'_>) -> Option<String> {
        let line = self.expand(item, &item.text()?)?;
        if line.contains(char::is_control) {
            return self.fits(item, Err("contains control characters"), "remove them");
        }
        Some(line)
    }

    /// An argument or a value of `env`, with its variables replaced.
    fn word(&mut self, item: &Item<'_>) -> Option<String> {
        self.expand(item, &item.word()?)
    }

    fn expand(&mut self, item: &Item<'_>, text: &str) -> Option<String> {
        let expanded = expand(text, self.sources.env);
        if let Err(problem) = &expanded {
            let advice = "set it, or write ${NAME:-default}; until then this server does not run";
            self.stop(item, problem.to_string(), advice);
        }
        expanded.ok()
    }

    /// The value of a check. A failure is an error of the file; if expansion changed the
    /// text, it stops this server only.
    fn fits<T>(&mut self, item: &Item<'_>, result: Result<T, &str>, advice: &str) -> Option<T> {
        let problem = match result {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        let written = item.word();
        let expanded = written.as_deref().map(|text| expand(text, self.sources.env));
        if expanded.and_then(Result::ok) == written {
            item.refuse(problem, advice);
        } else {
            let advice = "check the variables it refers to; until then this server does not run";
            self.stop(item, format!("{problem} once expanded"), advice);
        }
        None
    }

    fn stop(&mut self, item: &Item<'_>, problem: String, advice: &str) {
        self.stop_at(&item.place, problem, advice);
    }

    fn stop_at(&mut self, place: &Place, problem: String, advice: &str) {
        if !place.lenient {
            self.entry.notes.warn(place, problem.as_str(), advice);
        }
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
