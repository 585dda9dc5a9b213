//! `initialize`: begins a session, over either transport.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::edge::client_request::ClientRequest;
use crate::edge::delivery::call::Call;
use crate::edge::delivery::tried::Tried;
use crate::edge::observed::call::ObservedCall;
use crate::edge::observed::notes::CallOrigin;
use crate::edge::refusal::{Refusal, Refused, malformed};
use crate::edge::relay::json;
use crate::edge::routing::affinity::Token;
use crate::edge::scope;
use crate::edge::session::client_session::Session;
use crate::edge::worker::Worker;
use crate::model::{Principal, Scope};
use crate::net::Body;
use crate::protocol::initialize::{self, Granted, InitializeParams};
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::version::Version;
use crate::protocol::{headers, methods};
use crate::seam::Handshake;

/// Largest parameters of `initialize`, in bytes. They are kept while the session may live; most
/// clients send a few hundred bytes.
pub const MAX_PARAMS: usize = 64 * 1024;
/// Largest message of a client without a session: an `initialize` with such parameters. 4 KiB for
/// its other members is ten times what clients send.
pub const MAX_FIRST: usize = MAX_PARAMS + 4 * 1024;

/// The parameters of an `initialize`, byte for byte but for a revision that no session can have, or
/// that is none.
pub(in crate::edge) fn params_of(initialize: &Envelope<'_>) -> Result<Bytes, Refusal> {
    let params = initialize.params.ok_or_else(invalid_params)?;
    if params.get().len() > MAX_PARAMS {
        return Err(Refusal::ParamsTooLarge(MAX_PARAMS));
    }
    let params = Bytes::copy_from_slice(params.get().as_bytes());
    let params = initialize::params_within(params).ok_or_else(invalid_params)?;
    let _: InitializeParams<'_> = serde_json::from_slice(&params).map_err(|_| invalid_params())?;
    Ok(params)
}

pub fn invalid_params() -> Refusal {
    Refusal::InvalidParams("initialize needs params, an object with one protocolVersion".into())
}

impl Worker {
    /// Takes a request without a session: `initialize`. Any other message gets `otherwise`.
    pub(in crate::edge) async fn first(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: Principal,
        body: Body,
        otherwise: Refusal,
    ) -> Result<Response<Body>, Refused> {
        let message = match self.whole_first(body, context).await {
            Ok(message) => message,
            // Too large for an `initialize`, so its session is what counts.
            Err((Refusal::FirstTooLarge(..), id))
                if matches!(otherwise, Refusal::UnknownSession) =>
            {
                let mut response = otherwise.response(id.as_deref());
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                return Ok(response);
            }
            Err(refused) => return Err(refused),
        };
        let envelope = Envelope::parse(&message).map_err(|e| malformed(e, &message))?;
        self.first_message(context, scope, principal, (&message, &envelope), otherwise).await
    }

    /// The same for a message that was read.
    pub(in crate::edge) async fn first_message(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: Principal,
        (message, envelope): (&Bytes, &Envelope<'_>),
        otherwise: Refusal,
    ) -> Result<Response<Body>, Refused> {
        if envelope.kind() != Kind::Request {
            return Err((otherwise, None));
        }
        let id = envelope.id_text().map(str::to_owned);
        if envelope.method() != methods::INITIALIZE {
            return Err((otherwise, id));
        }
        self.initialize(context, scope, principal, message, envelope)
            .await
            .map_err(|refusal| (refusal, id))
    }

    async fn initialize(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        principal: Principal,
        message: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let is_single_server = scope::pass_through_server(&self.edge, scope).is_some();
        let mut session = Session::mint(principal, params_of(envelope)?, is_single_server);
        let origin = CallOrigin { context: Some(context), session: &session, scope };
        let call = ObservedCall::begin(self, origin, message);
        let begun = self.begin(context, scope, &session, (message, &call)).await;
        let (result, token) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                call.refused(&refusal, envelope.id_text());
                return Err(refusal);
            }
        };
        let Granted { result, version, named } = initialize::granted(result, &session.params);
        (session.version, session.named) = (version, named.map(Into::into));
        let sealed = session.seal(&self.edge, scope, &context.quota)?;
        if let Some(sharing) = self.edge.sharing.as_ref().filter(|_| session.is_large()) {
            sharing.keep_params(session.id, &session.params, None).await;
        }
        self.edge.metrics.opened();
        let id = envelope.id_text().unwrap_or("null");
        let mut response = json(StatusCode::OK, jsonrpc::result(id, &result));
        let headers = response.headers_mut();
        // A sealed id is visible ASCII by construction.
        let sealed = HeaderValue::from_str(&sealed).map_err(|_| Refusal::NoKey)?;
        headers.insert(headers::SESSION, sealed);
        self.edge.write_token(token.as_ref(), headers);
        Ok(call.answered(response))
    }

    /// Begins a session whose uuid and parameters are known. Returns its `InitializeResult`, and
    /// the affinity token for the client, if there is one.
    pub(in crate::edge) async fn begin(
        &self,
        context: &ClientRequest,
        scope: &Scope,
        session: &Session,
        (message, observed): (&Bytes, &ObservedCall<'_>),
    ) -> Result<(Bytes, Option<Token>), Refusal> {
        let admitted = self.admit_session(context, session)?;
        if self.edge.sharing.is_some() {
            // Nobody else can know of it yet.
            self.edge.bindings.learned(session.id);
        }
        let Some(server) = scope::pass_through_server(&self.edge, scope) else {
            let requested: InitializeParams<'_> =
                serde_json::from_slice(&session.params).map_err(|_| invalid_params())?;
            let version = Version::negotiate(&requested.protocol_version);
            admitted.stays();
            let result = Box::pin(self.own_result(scope, session, version)).await;
            return Ok((result, None));
        };
        observed.is_for(server, b"");
        let (handshake, mut tried) = (Handshake::Client, Tried::default());
        let call = Call::of_client(self, context, session, server);
        let opened = call.establish(message, handshake, &mut tried).await?;
        observed.was_at(&opened.node.id);
        admitted.stays();
        Ok((opened.result, opened.token))
    }
}
