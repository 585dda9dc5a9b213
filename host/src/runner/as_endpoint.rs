//! The runner as the seam sees it.

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};

use crate::model::ServerName;
use crate::net::Body;
use crate::protocol::initialize::ClientSet;
use crate::seam::{CatalogQuery, Endpoint, Facts};
use crate::streams::response as events;

use super::endpoint::Runner;
use super::unserved::plain;

impl Endpoint for Runner {
    fn call(
        &self,
        server: ServerName,
        facts: Facts,
        mut request: Request<Body>,
    ) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move { self.answer(server, facts, &mut request).await })
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

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
