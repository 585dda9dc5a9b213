//! What a runner does while the state of a session is brought back to a new instance, or saved
//! before: see [`StateStep`].

use std::sync::Arc;

use http::{Request, Response, StatusCode};

use crate::net::{Body, collect};
use crate::seam::{StateStep, mark_asked};
use crate::streams::response as events;

use super::channel::responses;
use super::endpoint::{Asks, Runner};
use super::session::state_program::{self, StateOwner};
use super::session::table::{InHand, InstanceKey};
use super::unserved::{plain, unknown_session, unreadable};

impl Runner {
    /// Takes one step at an instance that is held; a saving also at one that serves its client.
    pub(super) async fn restoration(
        &self,
        key: &InstanceKey,
        asks: Asks,
        step: StateStep,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let Some(instance) = self.shared.table.here(key) else {
            return unknown_session();
        };
        match step {
            // It is no open, and no message of the client.
            StateStep::Hold | StateStep::Change => {
                plain(StatusCode::BAD_REQUEST, "only an open is held")
            }
            StateStep::Own => self.own_message(key, asks, instance, request).await,
            StateStep::SaveCall if instance.is_held() => unknown_session(),
            StateStep::SaveCall => {
                let (saving, mark) = (Arc::clone(&instance), instance.unsaved.mark());
                let response = self.post_to(key, asks, instance, request).await;
                saving.unsaved.cover(mark);
                response
            }
            StateStep::Release => {
                instance.hold(false);
                responses::accepted()
            }
            StateStep::Save | StateStep::Restore => {
                self.run_state_program(key, step, &instance, request).await
            }
        }
    }

    async fn own_message(
        &self,
        key: &InstanceKey,
        asks: Asks,
        instance: InHand,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        instance.begin_restoration();
        let held = Arc::clone(&instance);
        held.take_asked();
        let mut response = self.post_to(key, asks, instance, request).await;
        if held.take_asked() {
            mark_asked(response.headers_mut());
        }
        response
    }

    async fn run_state_program(
        &self,
        key: &InstanceKey,
        step: StateStep,
        instance: &InHand,
        request: &mut Request<Body>,
    ) -> Response<Body> {
        let served = self.shared.servers.load().get(&key.1).map(Arc::clone);
        let programs = served.as_ref().and_then(|served| served.state.as_ref());
        let program = programs.and_then(|programs| match step {
            StateStep::Save => programs.save.as_ref(),
            _ => programs.restore.as_ref(),
        });
        let (Some(programs), Some(program)) = (programs, program) else {
            return plain(StatusCode::NOT_FOUND, "this node's settings have no program for that");
        };
        if step == StateStep::Restore {
            instance.begin_restoration();
        }
        let body = std::mem::take(request.body_mut());
        let input = match collect(body, programs.most_bytes).await {
            Ok(input) => input,
            Err(error) => return unreadable(&error, None),
        };
        let owner = StateOwner { server: &key.1, session: key.0, pid: instance.pid() };
        let (resources, mark) = (&self.shared.resources, instance.unsaved.mark());
        let ran = state_program::run(program, programs, owner, input, resources).await;
        if step == StateStep::Save {
            instance.unsaved.cover(mark);
        }
        match ran {
            Ok(written) => events::json(written),
            Err(why) => plain(StatusCode::BAD_GATEWAY, &why),
        }
    }

    /// Ends an instance whose restoration was left in its middle: the next one begins anew.
    pub(super) async fn end_left_restoration(&self, key: &InstanceKey) {
        let Some(instance) = self.shared.table.peek(key) else { return };
        if instance.is_held()
            && !instance.begin_restoration()
            && self.shared.table.remove_if(key, &instance)
        {
            tracing::debug!(
                session = %key.0.short(), server = %key.1,
                "a restoration of its state was left: it is started again"
            );
            instance.close(&self.pool).await;
        }
    }
}
