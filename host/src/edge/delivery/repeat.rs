//! Which messages may be sent again after they have reached a server.

use http::Method;

use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::methods;
use crate::protocol::splice::{self, RequestTarget};

use super::call::Call;
use super::outgoing::Outgoing;

impl Call<'_> {
    /// Whether a second run of the message does no harm, according to its method or to the
    /// server's annotations of the tool.
    pub async fn is_safe_to_repeat(&self, outgoing: &Outgoing) -> bool {
        let Ok(envelope) = Envelope::parse(&outgoing.body) else { return false };
        if outgoing.method != Method::POST {
            return false;
        }
        match envelope.kind() {
            Kind::Request => {}
            // A runner passes on the first answer to a question, and no other one.
            Kind::Response => return true,
            Kind::Notification => return methods::is_safe_to_repeat(envelope.method()),
        }
        if methods::destination(envelope.method()) != methods::Destination::Tool {
            return methods::is_safe_to_repeat(envelope.method());
        }
        let name =
            RequestTarget::of(envelope.params).and_then(|target| splice::string(target.name?));
        let set = self.worker.set_of(self.session);
        match name {
            Some(name) => self.worker.is_harmless_tool(self.server, set, &name).await,
            None => false,
        }
    }
}
