//! The envelope of every answer: `{"success":true,"data":…}` or
//! `{"success":false,"message":…}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{Denied, Rejected};
use crate::model::visible::page;

/// Bytes of the message of a failure.
const MAX_MESSAGE: usize = 2048;

pub enum ApiAnswer {
    Data(Value),
    Failure(StatusCode, String),
}

impl IntoResponse for ApiAnswer {
    fn into_response(self) -> Response {
        match self {
            Self::Data(data) => Json(json!({"success": true, "data": data})).into_response(),
            Self::Failure(status, message) => {
                let mut response =
                    (status, Json(json!({"success": false, "message": shown(&message)})))
                        .into_response();
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    let soon = http::HeaderValue::from_static("1");
                    response.headers_mut().insert(http::header::RETRY_AFTER, soon);
                }
                if status == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(
                        http::header::WWW_AUTHENTICATE,
                        http::HeaderValue::from_static("Bearer"),
                    );
                }
                response
            }
        }
    }
}

impl ApiAnswer {
    pub fn failure(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Failure(status, message.into())
    }
}

/// The message may quote what the caller, a node or a server has sent.
fn shown(message: &str) -> String {
    page(message, MAX_MESSAGE).to_string()
}

/// The answer to a node whose request is refused.
pub fn refusal(rejected: &Rejected) -> ApiAnswer {
    let status = match rejected {
        Rejected::Denied(Denied::Token) => StatusCode::UNAUTHORIZED,
        Rejected::Denied(Denied::Unproved | Denied::Address(_)) | Rejected::Certificate(_) => {
            StatusCode::FORBIDDEN
        }
        Rejected::BadRequest(_) => StatusCode::BAD_REQUEST,
        Rejected::Unknown(_) => StatusCode::NOT_FOUND,
        Rejected::InUse(_) | Rejected::Elsewhere(_) => StatusCode::CONFLICT,
        Rejected::Full(_) | Rejected::Busy => StatusCode::SERVICE_UNAVAILABLE,
    };
    ApiAnswer::failure(status, rejected.to_string())
}

pub async fn not_found() -> ApiAnswer {
    let text = "Not found: this API shows /api/cluster/status, /api/cluster/nodes, \
                /api/cluster/instances, /api/cluster/explain, /api/events and /api/logs; of MCPHub's API nothing else is there: servers \
                and groups are written into the settings file, tools are called at /mcp";
    ApiAnswer::failure(StatusCode::NOT_FOUND, text)
}

/// The router adds the `Allow` header.
pub async fn method_not_allowed() -> ApiAnswer {
    ApiAnswer::failure(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}
