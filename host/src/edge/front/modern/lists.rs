//! The four lists, from the scope's catalog: no server is opened for them.

use http::Response;

use crate::edge::refusal::Refusal;
use crate::edge::session::client_session::Session;
use crate::net::Body;
use crate::protocol::methods::List;
use crate::protocol::strict::StrictParams;

use super::request::ModernRequest;

impl ModernRequest<'_> {
    /// The page that the request asks for.
    ///
    /// # Errors
    /// If there is no such list or page.
    pub async fn list(&self, list: List) -> Result<Response<Body>, Refusal> {
        let session = self.session()?;
        self.observed(&session, self.page(list, &session)).await
    }

    async fn page(&self, list: List, session: &Session) -> Result<Response<Body>, Refusal> {
        let params = StrictParams::of(self.envelope.params).map_err(Refusal::from)?;
        let page = self.worker.list(self.scope, session, list, &params).await?;
        // The server's lists are known by now, and so are its capabilities.
        self.check_capability(session)?;
        Ok(self.answer(&page, &self.additions(session)))
    }
}
