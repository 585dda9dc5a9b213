//! How one server is reached: a child process or a URL. A mistake stops this server only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue, Uri, header};

use crate::config::reader::expand::{Missing, Unexpanded, Values, expand};
use crate::config::reader::item::Item;
use crate::config::reader::secret::Secret;
use crate::config::reader::secret_files::SecretSource;
use crate::config::reader::section::Section;
use crate::config::reader::source::Sources;
use crate::config::reader::urls::proxy_url::ProxySettings;
use crate::config::reader::urls::url::{self, UrlPurpose};
use crate::config::reader::{headers, shown};
use crate::config::sections::proxy::{self, OwnProxy};
use crate::config::sections::state::{self, StateSettings};

use super::confinement::{self, ConfinementSettings};
use super::kind::{self, TransportKind};
use super::login::LoginSettings;
use super::oauth::{self, OauthSettings, TokenSettings};
use super::sandbox::{self, SandboxSettings};
use super::server_tls::{self, ServerTls};
use super::{entry_env, other_systems};

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
    /// What TLS with it takes beside the usual.
    pub tls: Option<ServerTls>,
    /// How access tokens for it are fetched; `None`: they are not.
    pub tokens: Option<TokenSettings>,
    /// How each user logs in; `None`: nobody does.
    pub login: Option<LoginSettings>,
}

/// The result of reading an entry.
pub(in crate::config) struct ParsedTransport {
    /// `None` if there is a mistake, which becomes a finding.
    pub transport: Option<Transport>,
    pub shown: String,
    /// Which state comes along.
    pub state: Option<StateSettings>,
}

pub(in crate::config) fn read(
    entry: &Section<'_>,
    sources: &Sources<'_>,
    base: &Path,
) -> ParsedTransport {
    let mut reader =
        EntryReader { entry, sources, own: BTreeMap::new(), missing: Missing::default() };
    let transport =
        entry.object.and_then(|_| kind::of(entry)).and_then(|kind| reader.transport(kind, base));
    let is_process = matches!(transport, Some(Transport::Stdio { .. }) | None);
    let state = state::read(entry, is_process, |item| reader.word(item));
    reader.tell_of_missing();
    ParsedTransport { transport, shown: shown::entry(entry), state }
}

struct EntryReader<'r, 'd> {
    entry: &'r Section<'d>,
    sources: &'r Sources<'r>,
    /// The entry's own `env`, expanded: what the rest of the entry may refer to first.
    own: BTreeMap<String, String>,
    /// References of the entry that have no value.
    missing: Missing,
}

impl<'d> EntryReader<'_, 'd> {
    fn transport(&mut self, kind: TransportKind, base: &Path) -> Option<Transport> {
        match kind {
            TransportKind::Stdio => {
                self.warn_of_unused("url");
                self.warn_of_unused("tls");
                self.warn_of_unused("headersFromClaims");
                self.stdio(base)
            }
            TransportKind::Http => self.remote().map(Transport::Http),
            TransportKind::Sse => self.remote().map(Transport::Sse),
            TransportKind::HttpOrSse => self.remote().map(Transport::HttpOrSse),
            TransportKind::Unsupported(why) => {
                if !self.entry.place.is_lenient() {
                    self.entry.refuse(why, "remove it or add \"enabled\": false");
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
        let env = self.env();
        let (command, first) = self.command().unzip();
        let args = self.entry.items("args").into_iter();
        let args: Vec<_> = args.map(|item| self.word(&item)).collect();
        let cwd = match self.entry.get("cwd") {
            Some(item) => Some(base.join(self.line(&item)?)),
            None => None,
        };
        let proxy = self.proxy();
        let confinement = confinement::read(self.entry);
        let is_foreign = sandbox::is_foreign(self.entry);
        let sandbox = match self.entry.get("sandbox").filter(|_| !is_foreign) {
            Some(item) => self.sandbox(&item.section(), base).map(Some),
            None => Some(None),
        };
        let confinement = confinement.zip(sandbox);
        let confinement =
            confinement.map(|(other, sandbox)| ConfinementSettings { sandbox, ..other });
        let (command, args): (_, Option<Vec<_>>) = (command?, args.into_iter().collect());
        let args = [first?, args?].concat();
        let env = env?;
        let folder = self.entry.get("cwd").and_then(|item| item.value.as_string_lit());
        let texts = args.iter().map(String::as_str).chain(folder.map(|folder| &*folder.value));
        let values = env.iter().map(|(_, value)| value.expose());
        other_systems::warn(self.entry, &command, texts.chain(values));
        Some(Transport::Stdio { command, args, env, cwd, proxy: proxy?, confinement: confinement? })
    }

    fn sandbox(&mut self, section: &Section<'_>, base: &Path) -> Option<SandboxSettings> {
        let mut missing = Vec::new();
        let note = |item: &Item<'_>, problem| missing.push((item.place.clone(), problem));
        let read = sandbox::read(section, base, |item| self.line(item), note);
        for (place, problem) in missing.into_iter().filter(|(place, _)| !place.is_lenient()) {
            self.entry.notes.refuse(&place, problem, "make it, or remove it from the list");
        }
        read
    }

    /// Program, arguments and variables in one object, as Zed has them: `"command": {"path": …}`.
    fn program(&self) -> Option<Section<'d>> {
        let item = self.entry.get("command")?;
        item.value.as_object().map(|_| item.section())
    }

    /// The path of such an object, and its arguments.
    fn program_with_args(&mut self, program: &Section<'_>) -> Option<(String, Vec<String>)> {
        let Some(item) = program.get("path") else {
            program.refuse_key("path", "is missing in the object", "give it the program's path");
            return None;
        };
        let path = self.line(&item)?;
        if path.is_empty() {
            return self.fits(&item, Err("is empty"), "give it a value");
        }
        if path.trim() != path {
            return self.fits(&item, Err("has spaces around it"), "remove them");
        }
        let args = program.items("args");
        let args: Vec<_> = args.iter().map(|item| self.word(item)).collect();
        Some((path, args.into_iter().collect::<Option<_>>()?))
    }

    /// The command, and the arguments that stand in one list or object with it.
    fn command(&mut self) -> Option<(String, Vec<String>)> {
        if let Some(program) = self.program() {
            return self.program_with_args(&program);
        }
        let listed = self.entry.get("command").filter(|item| item.value.as_array().is_some());
        let Some(item) = listed else {
            return Some((self.trimmed("command", Self::required)?, Vec::new()));
        };
        let words: Vec<_> = item.items().iter().map(|item| self.word(item)).collect();
        let mut words = words.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
        let Some(command) = words.next() else {
            item.refuse("is empty", "give it a value");
            return None;
        };
        Some((command, words.collect()))
    }

    /// The value of a key, unless it has spaces around it.
    fn trimmed(
        &mut self,
        key: &str,
        read: fn(&mut Self, &str) -> Option<String>,
    ) -> Option<String> {
        let text = read(self, key)?;
        match self.entry.get(key) {
            Some(item) if text.trim() != text => {
                self.fits(&item, Err("has spaces around it"), "remove them")
            }
            _ => Some(text),
        }
    }

    fn env(&mut self) -> Option<Vec<(String, Secret)>> {
        let mut is_whole = true;
        let mut entries: Vec<(&str, String)> = Vec::new();
        let of_entry = self.entry.entries("env");
        let of_program = self.program().map(|program| program.entries("env")).unwrap_or_default();
        // What stands in the entry itself counts.
        let is_other = |name: &str| of_entry.iter().all(|(own, _)| *own != name);
        let of_program: Vec<_> =
            of_program.into_iter().filter(|(name, _)| is_other(name)).collect();
        for (name, item) in of_program.into_iter().chain(of_entry) {
            if name.is_empty() || name.contains(|c: char| c == '=' || c.is_control()) {
                item.refuse("is not a valid variable name", "use letters, digits and _");
                is_whole = false;
            }
            match item.word() {
                Some(text) => entries.push((name, text)),
                None => is_whole = false,
            }
        }
        let (own, problems) = entry_env::expanded(&entries, self.sources);
        is_whole &= problems.is_empty();
        self.own = own;
        for problem in problems {
            self.note(problem, || self.entry.get("env"));
        }
        let value = |(name, _): &(&str, String)| {
            let value = self.own.get(*name)?;
            Some(((*name).to_owned(), Secret::new(value.as_str())))
        };
        entries.iter().map(value).collect::<Option<_>>().filter(|_| is_whole)
    }

    fn remote(&mut self) -> Option<Remote> {
        for key in ["command", "rlimits", "user", "allowPrivileges", "sandbox"] {
            self.warn_of_unused(key);
        }
        if self.entry.get("env").is_some_and(|item| item.value.as_object().is_some()) {
            self.own_of_remote();
        }
        let url = self.required("url");
        let headers = self.headers();
        let token = self.access_token();
        let own = self.proxy();
        let tls = self.tls();
        let oauth = self.oauth(own.as_ref().unwrap_or(&OwnProxy::Usual));
        let item = self.entry.get("url")?;
        let parsed = url::parse(&url?, UrlPurpose::Endpoint);
        let url = self.fits(&item, parsed, "write it like https://example.com/mcp")?;
        if let Some(item) = self.entry.get("tls").filter(|_| url.scheme_str() == Some("http")) {
            item.warn("has no effect, since the url begins with http://", "write https://");
        }
        let proxy = proxy::proxy_of(&url, &own?, self.sources);
        let headers = headers?.into_iter().chain(token?).collect();
        let (tokens, login) = match oauth? {
            Some(OauthSettings::Tokens(tokens)) => (Some(tokens), None),
            Some(OauthSettings::Login(login)) => {
                let proxy = login.proxy.clone().or_else(|| proxy.clone());
                (None, Some(LoginSettings { proxy, ..login }))
            }
            None => (None, None),
        };
        Some(Remote { url, headers, proxy, tls: tls?, tokens, login })
    }

    /// The server's own `proxy`.
    fn proxy(&mut self) -> Option<OwnProxy> {
        let Some(item) = self.entry.get("proxy") else { return Some(OwnProxy::Usual) };
        let parsed = proxy::own(&item, |item| self.line(item))?;
        match parsed {
            Ok(own) => Some(own),
            Err(problem) => {
                let advice = "write it like http://user:password@proxy.example:3128, or false";
                item.refuse(problem, advice);
                None
            }
        }
    }

    /// The server's own `tls`.
    fn tls(&mut self) -> Option<Option<ServerTls>> {
        let Some(item) = self.entry.get("tls") else { return Some(None) };
        let files = self.sources.secrets.clone();
        server_tls::read(&item, |item| self.line(item), &files).map(Some)
    }

    /// Where the server's tokens come from.
    fn oauth(&mut self, own_proxy: &OwnProxy) -> Option<Option<OauthSettings>> {
        let (entry, sources) = (self.entry, self.sources);
        oauth::read(entry, &mut |item| self.line(item), sources, own_proxy)
    }

    /// The header of `oauth.accessToken`, if there is one and no other Authorization is set.
    fn access_token(&mut self) -> Option<Option<(HeaderName, HeaderValue)>> {
        // Some clients only switch it on or off.
        if let Some(item) = self.entry.get("oauth").filter(|_| oauth::is_switch(self.entry)) {
            if item.is_true() {
                let advice = "give a token in \"oauth\": { \"accessToken\": … } or in \"headers\"";
                item.warn("is true, but the gateway asks nobody for a token", advice);
            }
            return Some(None);
        }
        let Some(item) = self.entry.section("oauth").get("accessToken") else { return Some(None) };
        let token = self.line(&item)?;
        // With a grant, or a refresh token that can be used, another one is fetched.
        if token.is_empty() || oauth::fetches(self.entry) {
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

    /// Reads `env` for what the entry refers to. A remote server has no use for the rest of it.
    fn own_of_remote(&mut self) {
        let entries = self.entry.entries("env");
        let text = |(name, item): (_, Item<'_>)| Some((name, item.word()?));
        let entries: Vec<_> = entries.into_iter().filter_map(text).collect();
        self.own = entry_env::expanded(&entries, self.sources).0;
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
        match expand(text, &self.values()) {
            Ok(text) => Some(text),
            Err(problem) => {
                self.note(problem, || Some(item.clone()));
                None
            }
        }
    }

    fn values(&self) -> EntryValues<'_> {
        EntryValues { own: &self.own, sources: self.sources }
    }

    fn note<'i>(&mut self, problem: Unexpanded, item: impl FnOnce() -> Option<Item<'i>>) {
        match problem {
            Unexpanded::Missing(missing) => self.missing.extend(missing),
            Unexpanded::TooLong => {
                if let Some(item) = item() {
                    item.refuse(problem.to_string(), problem.advice());
                }
            }
        }
    }

    /// Names all references without a value in one finding. A server that is off needs none.
    fn tell_of_missing(&self) {
        if self.entry.place.is_lenient() {
            return;
        }
        let Missing { unset, foreign, unread } = &self.missing;
        for missing in [
            Missing { unset: unset.clone(), ..Missing::default() },
            Missing { foreign: foreign.clone(), ..Missing::default() },
            Missing { unread: unread.clone(), ..Missing::default() },
        ] {
            if !missing.is_empty() {
                self.entry.refuse(missing.to_string(), missing.advice());
            }
        }
    }

    /// The value of a check.
    fn fits<T>(&mut self, item: &Item<'_>, result: Result<T, &str>, advice: &str) -> Option<T> {
        let problem = match result {
            Ok(value) => return Some(value),
            Err(problem) => problem,
        };
        let written = item.word();
        let expanded = written.as_deref().map(|text| expand(text, &self.values()));
        if expanded.and_then(Result::ok) == written {
            item.refuse(problem, advice);
        } else if !item.place.is_lenient() {
            let advice = "check the variables it refers to";
            item.refuse(format!("{problem} once expanded"), advice);
        }
        None
    }
}

/// What an entry refers to: variables in its own `env` first.
struct EntryValues<'e> {
    own: &'e BTreeMap<String, String>,
    sources: &'e Sources<'e>,
}

impl Values for EntryValues<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.own.get(name).cloned().or_else(|| self.sources.referred(name))
    }

    fn secret(&self, source: SecretSource, name: &str) -> Result<String, String> {
        self.sources.secret(source, name)
    }
}
