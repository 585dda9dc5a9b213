//! The runner as the seam sees it.

use std::mem::MaybeUninit;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};

use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::initialize::ClientSet;
use crate::seam::{CatalogQuery, Endpoint, Facts, Outcome, write_node_answer};
use crate::streams::response as events;
use crate::telemetry::watched;

use super::channel::answer::{RunnerAnswer, Uncounted};
use super::channel::error_counts::is_result;
use super::endpoint::Runner;
use super::unserved::plain;

impl Endpoint for Runner {
    fn call(
        &self,
        server: ServerName,
        facts: Facts,
        mut request: Request<Body>,
    ) -> BoxFuture<'_, Response<Body>> {
        boxed(Box::new_uninit(), async move {
            let is_stateless = facts.is_stateless;
            let key = (facts.session, server);
            let mut response = self.answer(&key, facts, &mut request).await;
            self.mark_own(&key.1, &mut response);
            if is_stateless { self.counted(&key.1, response) } else { response }
        })
    }

    fn catalog(&self, server: ServerName, query: CatalogQuery) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            let CatalogQuery { set, extensions, session } = query;
            let set = ClientSet::from_bits(set).with_extensions(extensions.as_deref());
            if let Some(session) = session {
                let instance = self.shared.table.peek(&(session, server));
                let own = match &instance {
                    Some(instance) => instance.own_lists().await,
                    None => None,
                };
                return match own {
                    Some(own) => events::json(own.json.clone()),
                    None => no_content(),
                };
            }
            match self.shared.discovery.catalog(&self.pool, &server, set, extensions).await {
                Ok(found) => events::json(found.json.clone()),
                Err(reason) => plain(StatusCode::BAD_GATEWAY, &reason),
            }
        })
    }
}

impl Runner {
    /// Says of an answer in the server's place whose it is, and counts its error where that was not done.
    fn mark_own(&self, server: &ServerName, response: &mut Response<Body>) {
        if response.extensions().get::<RunnerAnswer>().is_none() {
            return;
        }
        let uncounted = response.extensions_mut().remove::<Uncounted>();
        // With an outcome it is no answer yet: the edge may have another one.
        let outcome = Outcome::read(response.headers());
        let is_last = outcome.is_none_or(|outcome| outcome == Outcome::Sent);
        if let Some(Uncounted(code)) = uncounted.filter(|_| is_last)
            && let Some(errors) = self.shared.errors().get(server)
        {
            errors.note_own(code);
        }
        write_node_answer(response.headers_mut());
    }

    /// Counts the errors of a server without sessions, which no instance stands for.
    fn counted(&self, server: &ServerName, response: Response<Body>) -> Response<Body> {
        if let Body::Full(answer) = response.body()
            && is_result(answer)
        {
            return response;
        }
        if response.extensions().get::<RunnerAnswer>().is_some()
            || Outcome::read(response.headers()).is_some()
        {
            return response;
        }
        let Some(errors) = self.shared.errors().get(server).map(Arc::clone) else {
            return response;
        };
        match response.body() {
            Body::Full(answer) => {
                errors.note_text(answer);
                response
            }
            _ => watched(response, false, move |end, _| {
                if let Some((emitter, kind)) = end.error {
                    errors.note_kind(emitter, kind);
                }
            }),
        }
    }
}

/// Boxes a future in a place that is there before it: one that is made first is copied to its place as a
/// whole, and of a large one nothing but what it begins with is there yet.
fn boxed<'a, F: Future<Output = Response<Body>> + Send + 'a>(
    place: Box<MaybeUninit<F>>,
    future: F,
) -> BoxFuture<'a, Response<Body>> {
    Box::<F>::into_pin(Box::write(place, future))
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
