//! A call to a server at which its user has to be logged in.

use std::sync::Arc;

use http::HeaderValue;

use crate::edge::access::resource_metadata::{self, Reached};
use crate::edge::delivery::call::Call;
use crate::edge::refusal::Refusal;
use crate::model::Principal;
use crate::oauth::LoginTerms;
use crate::seam::UserTokenRefused;

use super::ended_elsewhere;
use super::invitation::LoginInvitation;
use super::login_refusal::LoginRefusal;
use super::login_routes;
use super::user_lists::LoginKey;
use super::user_tokens::{IsNew, NotReady};

impl Call<'_> {
    /// Makes sure that the client's user is logged in, where the server wants that.
    ///
    /// # Errors
    /// If not, with what the user can do.
    pub(in crate::edge) async fn check_login(&self) -> Result<(), Refusal> {
        match self.worker.edge.config.logins.get(self.server) {
            None => Ok(()),
            // Boxed, since few servers need it: every call creates this future.
            Some(terms) => Box::pin(self.log_in(terms)).await,
        }
    }

    async fn log_in(&self, terms: &Arc<LoginTerms>) -> Result<(), Refusal> {
        if self.session.principal == Principal::anonymous() {
            let refusal = LoginRefusal::Anonymous(self.server.clone());
            return Err(Refusal::LogIn(Box::new(refusal)));
        }
        let (key, pool) = (self.login_key(), self.worker.link.pool());
        match self.worker.edge.logins.ready(&key, terms, pool).await {
            Ok(()) => Ok(()),
            Err(NotReady::LoggedOut) => Err(self.invited(&key, terms, &[]).await),
            Err(NotReady::Failed { why, after }) => Err(Refusal::Unavailable {
                server: self.server.clone(),
                why,
                retry_after: Some(after),
                by_node: false,
            }),
        }
    }

    fn login_key(&self) -> LoginKey {
        (self.session.principal.clone(), self.server.clone())
    }

    /// The token of the client's user, if there is one and the server wants one.
    pub(in crate::edge) fn user_token(&self) -> Option<HeaderValue> {
        let edge = &self.worker.edge;
        let terms = edge.config.logins.get(self.server)?;
        if self.session.principal == Principal::anonymous() {
            return None;
        }
        edge.logins.token(&self.login_key(), terms)
    }

    /// The server has answered a request with this token.
    pub(in crate::edge) fn token_was_accepted(&self, used: &HeaderValue) {
        self.worker.edge.logins.accepted(&self.login_key(), used);
    }

    /// The server has refused the token that was sent: finds another one.
    ///
    /// # Errors
    /// If there is none, or its user has to allow more.
    pub(in crate::edge) async fn token_was_refused(
        &self,
        used: Option<&HeaderValue>,
        refused: &UserTokenRefused,
    ) -> Result<(), Refusal> {
        if !refused.scopes.is_empty()
            && let Some(terms) = self.worker.edge.config.logins.get(self.server)
        {
            // A renewed token is good for the same. What it is good for, it can still be sent for.
            return Err(self.asked_for_more(terms, &refused.scopes).await);
        }
        self.worker.edge.logins.refused(&self.login_key(), used).await;
        self.check_login().await
    }

    /// The refusal by which a user is invited to log in for more than before.
    async fn asked_for_more(&self, terms: &Arc<LoginTerms>, scopes: &[String]) -> Refusal {
        let key = self.login_key();
        if self.worker.edge.logins.was_asked_for(&key, scopes).await {
            let (server, scopes) = (self.server.clone(), scopes.to_vec());
            return Refusal::LogIn(Box::new(LoginRefusal::NotGranted { server, scopes }));
        }
        self.invited(&key, terms, scopes).await
    }

    /// The refusal by which a user is invited to log in, for these scopes beside the usual ones.
    async fn invited(&self, key: &LoginKey, terms: &Arc<LoginTerms>, more: &[String]) -> Refusal {
        let server = self.server.clone();
        let Some(base) = self.own_url() else {
            return Refusal::LogIn(Box::new(LoginRefusal::NoUrl(server)));
        };
        let edge = &self.worker.edge;
        let redirect = format!("{base}{}", login_routes::CALLBACK);
        let (asked, pool) = ((terms, &*redirect, more), self.worker.link.pool());
        match edge.logins.invite(key, asked, self.session.id, pool).await {
            Ok((login, is_new)) => {
                let id = login.id();
                if is_new == IsNew(true) && edge.sharing.is_some() {
                    ended_elsewhere::watch(self.worker, id.clone(), key.clone(), Arc::clone(terms));
                }
                let url = format!("{base}{}?id={id}", login_routes::LOGIN);
                let scopes = if more.is_empty() { Vec::new() } else { login.more_scopes };
                let invitation = LoginInvitation { server, id, url, scopes };
                let opens_urls = self.session.client_set().opens_urls();
                Refusal::LogIn(Box::new(LoginRefusal::LogIn { invitation, opens_urls }))
            }
            Err(denied) => {
                tracing::warn!(server = %server, "its users cannot log in: {}", denied.why);
                let why = format!("its users cannot log in: {}", denied.why);
                Refusal::Unavailable { server, why, retry_after: denied.after, by_node: false }
            }
        }
    }

    /// The gateway's own URL for the client's user, with the base path.
    fn own_url(&self) -> Option<String> {
        let edge = &self.worker.edge;
        let origin = match (&edge.config.public_url, self.context) {
            (Some(url), _) => url.clone(),
            (None, Some(client)) => {
                let reached = Reached { peer: client.peer, is_tls: edge.tls.is_some() };
                resource_metadata::origin(&edge.config, &client.headers, reached)?
            }
            (None, None) => return None,
        };
        Some(format!("{origin}{}", edge.config.base_path))
    }
}
