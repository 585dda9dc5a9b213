//! Lets in who has a token, where no key has let it in.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, header};

use crate::edge::config::EdgeConfig;
use crate::edge::refusal::Refusal;
use crate::edge::worker::Edge;
use crate::model::{QuotaKey, SUBJECT_TOKEN};
use crate::net::Body;

use super::admit::Caller;
use super::issuers::{Issuers, TokenHolder};
use super::resource_metadata::{self, Reached};
use super::token_refusal::{TokenFault, TokenRefusal};

/// The caller of a request that was refused for the lack of a key, if it has a token. The token ends
/// here: it is for the gateway, and no server gets it (MCP 2025-11-25, basic/authorization, "Token
/// Passthrough").
pub async fn caller(
    edge: &Edge,
    request: &mut Request<Body>,
    reached: Reached,
    refusal: Refusal,
) -> Result<Caller, Refusal> {
    let (Refusal::Unauthorized(_), Some(issuers)) = (&refusal, &edge.config.issuers) else {
        return Err(refusal);
    };
    let path = request.uri().path();
    match holder(issuers, request.headers(), path).await {
        Ok(holder) => {
            let token = request.headers_mut().remove(header::AUTHORIZATION);
            if edge.config.exchanges_tokens
                && let Some(subject) = token.as_ref().and_then(subject_of)
            {
                // In place of what the client itself may have sent under that name.
                request.headers_mut().insert(SUBJECT_TOKEN, subject);
            }
            let principal = holder.principal.clone();
            Ok(Caller {
                quota: QuotaKey::Credential(principal.clone()),
                principal,
                peer: reached.peer,
                view: None,
                identity: Some(Arc::clone(&holder.identity)),
            })
        }
        Err(fault) => {
            Err(refused(&edge.config, issuers, (request.headers(), reached, path), fault))
        }
    }
}

/// The token alone, for servers that get another one in exchange.
fn subject_of(authorization: &HeaderValue) -> Option<HeaderValue> {
    let (_, token) = authorization.to_str().ok()?.split_once(' ')?;
    let mut subject = HeaderValue::from_str(token.trim()).ok()?;
    subject.set_sensitive(true);
    Some(subject)
}

/// A caller of the management API, which no path of a resource belongs to.
pub async fn manager(
    edge: &Edge,
    headers: &HeaderMap,
    refusal: Refusal,
) -> Result<Arc<TokenHolder>, Refusal> {
    let (Refusal::Unauthorized(_), Some(issuers)) = (&refusal, &edge.config.issuers) else {
        return Err(refusal);
    };
    match holder(issuers, headers, "").await {
        Ok(holder) => Ok(holder),
        // It says how to come in by a key, which is the usual way here.
        Err(TokenFault::Missing) => Err(refusal),
        Err(fault) => {
            let scopes = issuers.scopes();
            Err(Refusal::Token(Box::new(TokenRefusal { fault, scopes, metadata: None })))
        }
    }
}

async fn holder(
    issuers: &Issuers,
    headers: &HeaderMap,
    path: &str,
) -> Result<Arc<TokenHolder>, TokenFault> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    issuers.admit(token.filter(|token| !token.is_empty()).ok_or(TokenFault::Missing)?, path).await
}

fn refused(
    config: &EdgeConfig,
    issuers: &Issuers,
    (headers, reached, path): (&HeaderMap, Reached, &str),
    fault: TokenFault,
) -> Refusal {
    let metadata = resource_metadata::url_for(config, headers, reached, path);
    Refusal::Token(Box::new(TokenRefusal { fault, scopes: issuers.scopes(), metadata }))
}
