//! `/metrics` in Prometheus' text format. Values are read for each request.

mod calls;
mod connections;
mod exposition;
mod places;
mod process;
mod sessions;
mod settings;
mod store;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use self::exposition::Exposition;
use super::Admin;

pub async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut page = Exposition::default();
    process::add(&admin, &mut page);
    calls::add(&admin, &mut page);
    sessions::add(&admin, &mut page);
    store::add(&admin, &mut page);
    settings::add(&admin, &mut page);
    connections::add(&admin, &mut page);
    places::add(&admin, &mut page);
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], page.into_text()).into_response()
}
