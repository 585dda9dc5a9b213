//! Opens a session at a server that has none: it is asked what it offers, and the gateway plays the
//! session from then on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::model::{Principal, QuotaKey, ServerName, SessionId};
use crate::net::Pool;
use crate::runner::admission::open_error::OpenError;
use crate::runner::bridge::discover::{self, Found, NotDiscovered};
use crate::runner::bridge::http::HttpServer;
use crate::runner::bridge::process::{ModernKey, ModernStart, UsedBy};
use crate::runner::bridge::server::ModernServer;
use crate::runner::bridge::session::{Beginning, Bridged};
use crate::runner::bridge::setting::EraSetting;
use crate::runner::channel::terms::SessionTerms;
use crate::runner::process::program::Program;
use crate::runner::remote::upstream::{Upstream, UpstreamClient};
use crate::runner::shared_process::process::Sharers;

use super::owner::SessionOwner;
use super::remote_opening;
use super::resources::Resources;
use super::served::{Recipe, Served};

/// How long it may take to find out that a server serves the revision without sessions.
const TRIAL: Duration = Duration::from_secs(10);

/// One opening.
pub struct ModernOpening<'a> {
    pub server: &'a ServerName,
    pub served: &'a Arc<Served>,
    /// The client's `initialize` parameters, and the revision that it asks for.
    pub params: &'a [u8],
    pub revision: &'a str,
    pub forwarded: &'a HeaderMap,
    /// `None` for a session of the gateway's own.
    pub owner: Option<SessionOwner<'a>>,
    pub terms: SessionTerms,
    pub pool: &'a Pool,
    pub resources: &'a Resources,
    /// Whether it is only tried: then a failure counts neither for the server nor against it.
    pub is_trial: bool,
}

impl ModernOpening<'_> {
    /// Asks the server, and begins the session.
    ///
    /// # Errors
    /// If it cannot be asked, or is of another era.
    pub async fn run(self) -> Result<Bridged, NotDiscovered> {
        let (server, patience) = (self.server, self.patience());
        let (at, found) = match &self.served.recipe {
            Recipe::Stdio(program) => self.process(program).await?,
            Recipe::Http(upstream) | Recipe::HttpOrSse(upstream) => {
                let asking = tokio::time::timeout(patience, self.http(upstream)).await;
                let silent = || OpenError::Silent { server: server.clone(), patience };
                asking.map_err(|_| silent())??
            }
            Recipe::Sse(_) => {
                let reason = "\"era\": \"modern\" needs another \"type\" than \"sse\"".to_owned();
                return Err(OpenError::Misconfigured { server: server.clone(), reason }.into());
            }
            Recipe::Broken(reason) => {
                let (server, reason) = (server.clone(), reason.clone());
                return Err(OpenError::Misconfigured { server, reason }.into());
            }
        };
        let Self { served, params, revision, terms, resources, owner, .. } = self;
        let eras = Arc::clone(&resources.eras);
        let tools = eras.tools(server, served);
        let found = &found;
        // Without a session there is none whose process it could be.
        let is_stdio = matches!(served.recipe, Recipe::Stdio(_));
        let takes_others = !is_stdio || served.modern_sharers != Sharers::Nobody;
        Ok(Bridged::begin(Beginning {
            server,
            at,
            found,
            params,
            revision,
            terms,
            takes_others,
            is_inner: owner.is_some_and(|owner| owner.is_inner),
            eras,
            tools,
        }))
    }

    fn patience(&self) -> Duration {
        let patience = self.served.start_timeout;
        if self.is_trial { patience.min(TRIAL) } else { patience }
    }

    async fn process(&self, program: &Program) -> Result<(ModernServer, Bytes), NotDiscovered> {
        let who = ProcessFor {
            server: self.server,
            served: self.served,
            principal: self.owner.map(|owner| owner.principal),
            session: self.owner.map_or_else(SessionId::mint, |owner| owner.session),
            quota: self.owner.map(|owner| owner.quota),
        };
        let resources = self.resources;
        let (mut key, with) =
            modern_start(&who, program, resources, self.patience(), self.is_trial);
        // The worker that starts a process also serves its pipes: a session of the gateway's own
        // starts none that others use.
        if self.owner.is_none() && !resources.modern_processes.is_running(&key) {
            key.1 = UsedBy::Session(who.session);
        }
        let (place, found) = resources.modern_processes.place(&key, with).await?;
        Ok((ModernServer::Process(place), found))
    }

    async fn http(&self, upstream: &Upstream) -> Result<(ModernServer, Bytes), NotDiscovered> {
        remote_opening::wait_for_token(self.server, upstream, self.forwarded, self.pool).await?;
        let line = self.terms.limits.line;
        let client = UpstreamClient::new(upstream.clone());
        let made = |client| {
            Arc::new(HttpServer::new(self.server, client, self.pool, self.forwarded, line))
        };
        let at = ModernServer::Http(made(client.clone()));
        let Found { result, moved: path } = discover::ask(self.server, &at).await?;
        let Some(path) = path else { return Ok((at, result)) };
        // A session is where it was opened.
        let mut moved = client;
        moved.move_to(path);
        Ok((ModernServer::Http(made(moved)), result))
    }
}

/// Whom a process serves.
pub struct ProcessFor<'a> {
    pub server: &'a ServerName,
    pub served: &'a Served,
    /// `None` for the gateway itself.
    pub principal: Option<&'a Principal>,
    pub session: SessionId,
    /// Whom it counts for.
    pub quota: Option<&'a QuotaKey>,
}

/// The process of a server, and what its start needs.
#[must_use]
pub fn modern_start(
    who: &ProcessFor<'_>,
    program: &Program,
    resources: &Resources,
    patience: Duration,
    is_trial: bool,
) -> (ModernKey, ModernStart) {
    let Resources { children, starts, journal, rules, .. } = resources;
    let used_by = match (who.served.modern_sharers, who.principal) {
        (Sharers::Nobody, _) | (Sharers::Principal, None) => UsedBy::Session(who.session),
        (Sharers::Principal, Some(principal)) => UsedBy::Principal(principal.clone()),
        (Sharers::All, _) => UsedBy::All,
    };
    let start = ModernStart {
        program: program.clone(),
        line: rules.line,
        children: children.clone(),
        starts: Arc::clone(starts),
        journal: journal.clone(),
        quota: who.quota.cloned(),
        patience,
        idle: who.served.sharing.idle,
        is_trial,
        is_pinned: who.served.era == EraSetting::Modern,
    };
    ((who.server.clone(), used_by), start)
}
