//! Why a request does not reach a server at which each user logs in.

use std::fmt;

use crate::model::ServerName;
use crate::protocol::jsonrpc::code;

use super::invitation::LoginInvitation;

/// The refusal, for the request's client.
#[derive(Debug, Clone)]
pub enum LoginRefusal {
    /// Its user has not logged in, or has to again.
    LogIn {
        invitation: LoginInvitation,
        /// Whether the client opens URLs for its user.
        opens_urls: bool,
    },
    /// It has no credential: nobody would know whose token it is.
    Anonymous(ServerName),
    /// The gateway does not know by which URL users reach it.
    NoUrl(ServerName),
    /// The server wants scopes for which its user has logged in just now.
    NotGranted { server: ServerName, scopes: Vec<String> },
}

impl LoginRefusal {
    #[must_use]
    pub fn server(&self) -> &ServerName {
        match self {
            Self::LogIn { invitation, .. } => &invitation.server,
            Self::Anonymous(server) | Self::NoUrl(server) | Self::NotGranted { server, .. } => {
                server
            }
        }
    }

    /// The code of its error. A client that does not open URLs gets one that asks for nothing: it has
    /// not said that it knows the other.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::LogIn { opens_urls: true, .. } => code::URL_REQUIRED,
            _ => code::UNAVAILABLE,
        }
    }

    /// The data of its error, as JSON.
    #[must_use]
    pub fn data(&self) -> Option<String> {
        match self {
            Self::LogIn { invitation, opens_urls: true } => Some(invitation.data()),
            _ => None,
        }
    }
}

impl fmt::Display for LoginRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LogIn { invitation: LoginInvitation { server, url, scopes, .. }, .. } => {
                write!(f, "server {server} wants its user to log in")?;
                if !scopes.is_empty() {
                    write!(f, " once more, for the scopes \"{}\"", scopes.join(" "))?;
                }
                write!(
                    f,
                    ": open {url} in a browser within 10 minutes, then send the request again"
                )
            }
            Self::NotGranted { server, scopes } => write!(
                f,
                "server {server} wants the scopes \"{}\", for which its user has logged in just now and \
                 which were not granted, or do not suffice; nothing has run",
                scopes.join(" ")
            ),
            Self::Anonymous(server) => write!(
                f,
                "server {server} acts for each user by that user's own login, and this client has come \
                 in without a credential: connect with a key (bearerKeys) or a token (systemConfig.auth) \
                 of your own"
            ),
            Self::NoUrl(server) => write!(
                f,
                "server {server} wants its user to log in, and the gateway does not know by which URL \
                 users reach it: its operator sets systemConfig.publicUrl"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_opens_urls_is_asked_to_and_another_is_told_in_words() {
        let server = ServerName::parse("crm").unwrap();
        let url = "https://gw.example/oauth/login?id=1".to_owned();
        let invitation =
            LoginInvitation { server: server.clone(), id: "1".to_owned(), url, scopes: Vec::new() };
        let refusal =
            |opens_urls| LoginRefusal::LogIn { invitation: invitation.clone(), opens_urls };
        assert_eq!(refusal(true).code(), -32042);
        let data: serde_json::Value = serde_json::from_str(&refusal(true).data().unwrap()).unwrap();
        let asked = &data["elicitations"][0];
        assert_eq!((&asked["mode"], &asked["elicitationId"]), (&"url".into(), &"1".into()));
        assert_eq!(asked["url"], "https://gw.example/oauth/login?id=1");
        assert_eq!((refusal(false).code(), refusal(false).data()), (code::UNAVAILABLE, None));
        let words = refusal(false).to_string();
        assert!(words.contains("open https://gw.example/oauth/login?id=1 in"), "{words}");
        assert_eq!(LoginRefusal::Anonymous(server).data(), None);
        let invitation = LoginInvitation { scopes: vec!["a".into(), "b".into()], ..invitation };
        let words = LoginRefusal::LogIn { invitation, opens_urls: false }.to_string();
        assert!(words.contains("once more, for the scopes \"a b\": open https"), "{words}");
    }
}
