//! Tokens of users: for the code that a login has brought (RFC 6749 §4.1.3), and later for the refresh
//! token that came with it (§6).

use std::time::Duration;

use http::Uri;
use url::form_urlencoded::Serializer;

use crate::config::Secret;
use crate::net::Pool;

use super::denied::Denied;
use super::fetch::{Granted, granted};
use super::terms::{ClientAuth, Origin, TokenWay};
use super::token_request::{TokenRequest, as_sent, basic};

/// Longest time for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The gateway, as a token server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserClient {
    pub id: String,
    pub secret: Option<Secret>,
    pub auth: ClientAuth,
}

/// What a token is given for.
pub enum UserGrant<'a> {
    Code { code: &'a str, verifier: &'a str, redirect: &'a str },
    Refresh(&'a Secret),
}

/// Where a user's tokens come from, and for what.
pub struct UserTokenServer<'a> {
    pub uri: &'a Uri,
    pub way: &'a TokenWay,
    pub client: &'a UserClient,
    pub resource: &'a str,
    pub audience: &'a str,
}

impl UserTokenServer<'_> {
    /// Asks for a token.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token(&self, grant: &UserGrant<'_>, pool: &Pool) -> Result<Granted, Denied> {
        let asking = self.asked(grant, pool);
        tokio::time::timeout(TIMEOUT, asking).await.unwrap_or_else(|_| {
            let seconds = TIMEOUT.as_secs();
            Err(format!("{} does not answer within {seconds} s", Origin(self.uri)).into())
        })
    }

    async fn asked(&self, grant: &UserGrant<'_>, pool: &Pool) -> Result<Granted, Denied> {
        let Self { uri, way, client, .. } = *self;
        let mut secrets = as_sent(&client.id, client.secret.as_ref());
        match grant {
            UserGrant::Code { code, verifier, .. } => {
                for text in [*code, *verifier] {
                    secrets.extend(as_sent("", Some(&Secret::new(text))));
                }
            }
            UserGrant::Refresh(token) => secrets.extend(as_sent("", Some(token))),
        }
        let authorization = match (client.auth, &client.secret) {
            (ClientAuth::Basic, Some(secret)) => Some(basic(&client.id, secret.expose())?),
            _ => None,
        };
        let form = self.form(grant);
        let answer = TokenRequest { way, uri, form, authorization, secrets }.answer(pool).await?;
        granted(uri, &answer)
    }

    fn form(&self, grant: &UserGrant<'_>) -> String {
        let mut form = Serializer::new(String::new());
        match grant {
            UserGrant::Code { code, verifier, redirect } => {
                form.append_pair("grant_type", "authorization_code");
                form.append_pair("code", code);
                form.append_pair("redirect_uri", redirect);
                form.append_pair("code_verifier", verifier);
            }
            UserGrant::Refresh(token) => {
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("refresh_token", token.expose());
            }
        }
        form.append_pair("resource", self.resource);
        if !self.audience.is_empty() {
            form.append_pair("audience", self.audience);
        }
        let client = self.client;
        let in_header = client.auth == ClientAuth::Basic && client.secret.is_some();
        if !in_header {
            form.append_pair("client_id", &client.id);
        }
        if let (ClientAuth::Post, Some(secret)) = (client.auth, &client.secret) {
            form.append_pair("client_secret", secret.expose());
        }
        form.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_refresh_tokens_are_sent_with_what_binds_them() {
        let uri = Uri::from_static("https://login.example/t");
        let form = |auth, secret: Option<&str>, grant: &UserGrant<'_>| {
            let secret = secret.map(Secret::new);
            let client = &UserClient { id: "c".to_owned(), secret, auth };
            let (way, uri) = (&TokenWay::default(), &uri);
            let resource = "https://a.example/mcp";
            UserTokenServer { uri, way, client, resource, audience: "" }.form(grant)
        };
        let code = UserGrant::Code { code: "x&y", verifier: "v", redirect: "https://g/cb" };
        let common = "grant_type=authorization_code&code=x%26y&redirect_uri=https%3A%2F%2Fg%2Fcb\
                      &code_verifier=v&resource=https%3A%2F%2Fa.example%2Fmcp";
        assert_eq!(form(ClientAuth::Basic, Some("s"), &code), common);
        assert_eq!(form(ClientAuth::Public, None, &code), format!("{common}&client_id=c"));
        let posted = format!("{common}&client_id=c&client_secret=s");
        assert_eq!(form(ClientAuth::Post, Some("s"), &code), posted);
        let token = Secret::new("r");
        let refresh = form(ClientAuth::Basic, Some("s"), &UserGrant::Refresh(&token));
        assert!(refresh.starts_with("grant_type=refresh_token&refresh_token=r&resource="));
    }
}
