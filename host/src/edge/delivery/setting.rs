//! Notes the settings that messages make in their session, so that a new instance of the server
//! gets them again.

use http::Response;

use crate::net::Body;
use crate::seam::SettingChange;

use super::call::Call;

impl Call<'_> {
    /// Notes the setting that the runner reports in the head of its response, if there is one.
    pub fn note_setting(&self, response: &Response<Body>) {
        let (bindings, session) = (&self.worker.edge.bindings, self.session.id);
        let Some(change) = SettingChange::read(response.headers()) else { return };
        // The session may have been forgotten since its client was recognised.
        if let Some(client) = self.context {
            bindings.recognise(session, &client.quota);
        }
        match change {
            SettingChange::Level(level) => bindings.set_log_level(session, level),
            SettingChange::Subscribed(uri) => {
                bindings.subscribe(session, self.server, &uri);
            }
            SettingChange::Unsubscribed(uri) => {
                bindings.unsubscribe(session, self.server, &uri);
            }
        }
    }
}
