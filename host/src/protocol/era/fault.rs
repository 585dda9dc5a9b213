//! Why a request without a session is refused: its HTTP status, JSON-RPC code and data
//! (2026-07-28, basic, "Error Codes"; basic/transports/streamable-http, "Server Validation").

use http::StatusCode;

use crate::protocol::jsonrpc::code;
use crate::protocol::splice;

use super::{REVISION, tasks};

/// Why the request is not served. The client reads the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraFault {
    /// `_meta` lacks what every request has to say, or says it wrongly.
    #[error("Invalid params: {0}")]
    Meta(String),
    /// A header is missing, unreadable, or says something else than the body.
    #[error("Header mismatch: {0}")]
    Header(String),
    /// The request names a revision that is not served.
    #[error("Unsupported protocol version: {0:?}")]
    Version(String),
    /// There is no such method, or not in this revision.
    #[error("Method not found: {0}")]
    Method(String),
    /// The client has not declared the extension of tasks, which the method is of.
    #[error("Missing required client capability: extensions[{:?}]", tasks::EXTENSION)]
    NoTasks,
    /// The client has not declared that it opens URLs, which a server wants first.
    #[error("Missing required client capability: elicitation.url")]
    NoUrls,
}

impl EraFault {
    /// The code of the error.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Meta(_) => code::INVALID_PARAMS,
            Self::Header(_) => code::HEADER_MISMATCH,
            Self::Version(_) => code::UNSUPPORTED_VERSION,
            Self::Method(_) => code::METHOD_NOT_FOUND,
            Self::NoTasks | Self::NoUrls => code::MISSING_CAPABILITY,
        }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The error's data, as JSON.
    #[must_use]
    pub fn data(&self) -> Option<String> {
        match self {
            Self::Version(requested) => {
                let requested = splice::quoted(requested);
                Some(format!("{{\"supported\":[\"{REVISION}\"],\"requested\":{requested}}}"))
            }
            Self::NoTasks => Some(tasks::REQUIRED.to_owned()),
            Self::NoUrls => {
                Some(r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#.to_owned())
            }
            Self::Meta(_) | Self::Header(_) | Self::Method(_) => None,
        }
    }
}

/// The status of a server's error in a response without an event stream. `None` stands for that of
/// an answer: an error of the server is one.
#[must_use]
pub fn status_of(code: i64) -> Option<StatusCode> {
    (code == code::MISSING_CAPABILITY).then_some(StatusCode::BAD_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_the_status_and_code_of_the_specification() {
        for (fault, status, code) in [
            (EraFault::Meta("x".into()), 400, -32602),
            (EraFault::Header("x".into()), 400, -32020),
            (EraFault::Version("x".into()), 400, -32022),
            (EraFault::Method("x".into()), 404, -32601),
            (EraFault::NoTasks, 400, -32021),
            (EraFault::NoUrls, 400, -32021),
        ] {
            assert_eq!((fault.status().as_u16(), fault.code()), (status, code), "{fault}");
        }
        assert_eq!(status_of(-32021).unwrap().as_u16(), 400);
        assert_eq!(status_of(-32602), None);
    }

    #[test]
    fn the_client_learns_which_revisions_are_served() {
        let data = EraFault::Version("v\"9".into()).data().unwrap();
        let data: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["supported"], serde_json::json!([REVISION]));
        assert_eq!(data["requested"], "v\"9");
        assert_eq!(EraFault::Meta(String::new()).data(), None);
    }
}
