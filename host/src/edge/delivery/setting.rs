//! What a message has set in its session: a new instance of the server is told again.

use http::Response;

use crate::net::Body;
use crate::seam::SettingChange;

use super::call::Call;

impl Call<'_> {
    /// Remembers the setting that the runner has noted on its answer.
    pub fn note_setting(&self, response: &Response<Body>) {
        let (bindings, session) = (&self.worker.edge.bindings, self.session.id);
        match SettingChange::read(response.headers()) {
            None => {}
            Some(SettingChange::Level(level)) => bindings.set_log_level(session, &level),
            Some(SettingChange::Subscribed(uri)) => {
                bindings.subscribe(session, self.server, &uri);
            }
            Some(SettingChange::Unsubscribed(uri)) => {
                bindings.unsubscribe(session, self.server, &uri);
            }
        }
    }
}
