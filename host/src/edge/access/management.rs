//! Who may use the management API. Its refusals have another shape, and it takes the key of the local
//! command line too.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::{self, BoxFuture};
use http::{HeaderMap, StatusCode};

use crate::edge::refusal::Refusal;
use crate::edge::worker::Edge;
use crate::model::{PolicyRuling, Principal, Rights};

use super::admit::{check_key, check_site_or_own};
use super::by_token;
use super::identity::CallerIdentity;
use super::local_key::LocalKey;

/// The principal of the local command line.
const LOCAL: &str = "local";

/// Who uses the management API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    pub principal: Principal,
    /// What it may see; `None` if that is everything.
    pub rights: Option<Arc<Rights>>,
    /// The rule that lets it in; `None` where there is no table.
    pub ruling: Option<PolicyRuling>,
}

/// Why somebody may not use it.
#[derive(Debug, Clone)]
pub struct ManagerRefusal {
    pub status: StatusCode,
    pub text: String,
    /// Whose credential was right, but not for this.
    pub principal: Option<Principal>,
    /// What the operator's table says, if that is why.
    pub ruling: Option<PolicyRuling>,
}

type Admitted = Result<Manager, ManagerRefusal>;
/// Checks a request's headers, the address that it comes from, and the one that it came to.
type Admits =
    dyn Fn(&HeaderMap, SocketAddr, SocketAddr) -> BoxFuture<'static, Admitted> + Send + Sync;
type ChecksSite = dyn Fn(&HeaderMap, SocketAddr) -> Result<(), (StatusCode, String)> + Send + Sync;

/// Lets in who has a key for everything, or a credential to which the operator's rules open the API.
pub fn for_management(edge: Arc<Edge>, local_key: LocalKey) -> Box<Admits> {
    Box::new(move |headers, peer, local| {
        let edge = edge.now();
        let admitted: BoxFuture<'static, Admitted> =
            match at_once(&edge, &local_key, headers, (peer, local)) {
                Err(Denied { refusal: refusal @ Refusal::Unauthorized(_), .. })
                    if edge.config.issuers.is_some() =>
                {
                    let (edge, headers) = (edge, headers.clone());
                    Box::pin(async move {
                        let holder = by_token::manager(&edge, &headers, refusal).await;
                        let manager = holder.map_err(Denied::from).and_then(|holder| {
                            manager(holder.principal.clone(), Some(&holder.identity))
                        });
                        manager.map_err(told)
                    })
                }
                decided => Box::pin(future::ready(decided.map_err(told))),
            };
        admitted
    })
}

/// A refusal, with whose credential it was and what the table says.
struct Denied {
    refusal: Refusal,
    principal: Option<Principal>,
    ruling: Option<PolicyRuling>,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, principal: None, ruling: None }
    }
}

/// What can be decided without an issuer's keys.
fn at_once(
    edge: &Edge,
    local_key: &LocalKey,
    headers: &HeaderMap,
    (peer, local): (SocketAddr, SocketAddr),
) -> Result<Manager, Denied> {
    let (config, peer, local) = (&edge.config, peer.ip(), local.ip());
    check_site_or_own(config, headers, local)?;
    if local_key.admits(headers, peer, local) {
        let principal = Principal::named(LOCAL);
        return Ok(Manager { principal, rights: None, ruling: None });
    }
    if config.closed {
        return Err(Refusal::ClosedNode.into());
    }
    match check_key(config, headers)? {
        Some(key) if key.view.is_some() => {
            let principal = Some(key.principal.clone());
            Err(Denied { principal, ..Refusal::RestrictedKey.into() })
        }
        Some(key) => manager(key.principal.clone(), key.identity.as_deref()),
        None => manager(Principal::anonymous(), config.anyone.as_deref()),
    }
}

/// The holder of a right credential, if the table opens the API to it.
fn manager(principal: Principal, identity: Option<&CallerIdentity>) -> Result<Manager, Denied> {
    let Some(identity) = identity else {
        return Ok(Manager { principal, rights: None, ruling: None });
    };
    let ruling = identity.ruled.as_ref().map(|rights| rights.ruling_on_management());
    if identity.manages {
        return Ok(Manager { principal, rights: identity.rights.clone(), ruling });
    }
    Err(Denied { refusal: Refusal::NoManagement, principal: Some(principal), ruling })
}

fn told(denied: Denied) -> ManagerRefusal {
    let Denied { refusal, principal, ruling } = denied;
    let status = match &refusal {
        Refusal::Unauthorized(_) | Refusal::Uncertified => StatusCode::UNAUTHORIZED,
        Refusal::Token(token) => token.status(),
        _ => StatusCode::FORBIDDEN,
    };
    ManagerRefusal { status, text: refusal.to_string(), principal, ruling }
}

/// Checks Host and Origin alone: for pages that need no key.
pub fn site_for_management(edge: Arc<Edge>) -> Box<ChecksSite> {
    Box::new(move |headers, local| {
        check_site_or_own(&edge.now().config, headers, local.ip())
            .map_err(|refusal| (StatusCode::FORBIDDEN, refusal.to_string()))
    })
}
