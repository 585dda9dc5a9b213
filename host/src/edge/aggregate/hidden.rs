//! Which rule hides from a client what it has asked for. The client is told what it would be told of
//! something that is not there; the audit log is told this.

use crate::edge::catalog::merge::Asked;
use crate::edge::config::Member;
use crate::edge::observed::ruling::{RuledEntry, ruling};
use crate::edge::refusal::Refusal;
use crate::edge::worker::Worker;
use crate::model::{EntryKind, PolicyRuling, Scope};
use crate::protocol::methods::{self, Destination};

use super::requested::Requested;
use super::requests::AggregateRequest;

impl Worker {
    /// Notes the rule by which a request was refused, if it was one and somebody reads it.
    pub(in crate::edge) fn note_hiding_rule(
        &self,
        request: &AggregateRequest<'_>,
        refusal: &Refusal,
    ) {
        let is_of_unknown =
            matches!(refusal, Refusal::InvalidParams(_) | Refusal::ResourceNotFound(_));
        if is_of_unknown && let Some(found) = self.hiding_rule(request) {
            request.call.ruled_by(found);
        }
    }

    fn hiding_rule(&self, request: &AggregateRequest<'_>) -> Option<PolicyRuling> {
        let AggregateRequest { scope, session, envelope, params, .. } = *request;
        let rights = request.call.ruled()?;
        let destination = methods::destination(envelope.method());
        let names_entry = matches!(
            destination,
            Destination::Tool
                | Destination::Prompt
                | Destination::Resource
                | Destination::Completion
        );
        let requested = Requested::of(destination, params).ok().filter(|_| names_entry)?;
        let kind = match requested.asked {
            Asked::Tool => EntryKind::Tool,
            Asked::Prompt => EntryKind::Prompt,
            Asked::Resource | Asked::Template => EntryKind::Resource,
        };
        // What it would be without any rules.
        let whole = scope.of_url();
        let known = self.scope_catalog_now(whole, self.set_of(session));
        let find = |name: &str| known.owner(requested.asked, name);
        let owner = find(&requested.name).or_else(|| {
            let Scope::Server(server) = whole else { return None };
            let prefixes = Member::whole(server.clone()).prefixes(&self.edge.config.separator);
            prefixes.stripped(&requested.name).find_map(find)
        })?;
        let about = RuledEntry { server: &owner.server, entry: Some((kind, &owner.name)) };
        let found = ruling(&self.edge, whole, rights, about);
        // What is allowed was refused for another reason.
        (!matches!(found, PolicyRuling::Allowed(_))).then_some(found)
    }
}
