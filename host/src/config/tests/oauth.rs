//! Tokens that are fetched: `oauth` with a client's credentials.

use super::servers::{only, server};
use super::*;

#[track_caller]
fn remote(config: Config) -> Remote {
    match only(config).transport {
        Some(Transport::Http(remote) | Transport::HttpOrSse(remote)) => remote,
        other => panic!("{other:?}"),
    }
}

fn with(oauth: &str) -> Case {
    server(&format!(r#"{{"url": "https://b/mcp", "oauth": {oauth}}}"#)).env("SECRET", "s3cret")
}

#[test]
fn a_clients_credentials_and_a_token_server_fetch_tokens() {
    let read = remote(
        with(
            r#"{"clientId": "c", "clientSecret": "${SECRET}", "tokenUrl": "https://l/t?x=1",
                "scopes": ["read", "write"], "resource": "https://b/mcp", "audience": "api",
                "authMethod": "post"}"#,
        )
        .warns(&[]),
    );
    let tokens = read.tokens.unwrap();
    assert_eq!(tokens.place, TokenPlaceSettings::Endpoint("https://l/t?x=1".parse().unwrap()));
    assert_eq!((tokens.client_id.as_str(), tokens.client_secret.expose()), ("c", "s3cret"));
    assert_eq!((tokens.scope.as_str(), tokens.audience.as_str()), ("read write", "api"));
    assert_eq!((tokens.resource.as_str(), tokens.is_posted), ("https://b/mcp", Some(true)));
    assert!(!format!("{tokens:?}").contains("s3cret"));
    assert!(read.headers.is_empty());
    // MCPHub's words, and other spellings.
    for (oauth, place, scope) in [
        (
            r#"{"clientId": "c", "clientSecret": "s", "tokenEndpoint": "https://l/t", "scope": "a b"}"#,
            TokenPlaceSettings::Endpoint("https://l/t".parse().unwrap()),
            "a b",
        ),
        (
            r#"{"grant": "client_credentials", "clientId": "c", "clientSecret": "s", "issuer": "https://l/r",
                "scopes": "a", "authMethod": "client_secret_basic"}"#,
            TokenPlaceSettings::Issuer("https://l/r".parse().unwrap()),
            "a",
        ),
    ] {
        let tokens = remote(with(oauth).warns(&[])).tokens.unwrap();
        assert_eq!((tokens.place, tokens.scope.as_str()), (place, scope), "{oauth}");
    }
}

#[test]
fn what_fetches_nothing_is_pointed_out() {
    for (oauth, warning) in [
        (r#"{"clientId": "c"}"#, Some("clientId: fetches no token: that takes")),
        (r#"{"clientId": "c", "clientSecret": "s"}"#, Some("clientId: fetches no token")),
        (
            r#"{"clientSecret": "s", "tokenUrl": "https://l"}"#,
            Some("clientSecret: fetches no token"),
        ),
        (
            r#"{"accessToken": "t", "clientId": "c", "clientSecret": "s", "tokenEndpoint": "https://l"}"#,
            Some("clientId: fetches no token: that of \"accessToken\" is sent"),
        ),
        (r#"{"accessToken": "t"}"#, None),
        (r#"{}"#, None),
    ] {
        let loaded = with(oauth).load().unwrap();
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), usize::from(warning.is_some()), "{oauth}: {warnings:?}");
        if let Some(part) = warning {
            assert!(warnings[0].contains(part), "{warnings:?}");
        }
        assert!(remote(loaded.config).tokens.is_none(), "{oauth}");
    }
    let both = server(
        r#"{"url": "https://b", "headers": {"authorization": "Basic x"},
            "oauth": {"clientId": "c", "clientSecret": "s", "tokenUrl": "https://l"}}"#,
    );
    let loaded = both.load().unwrap();
    assert!(loaded.warnings[0].to_string().contains("headers.authorization: is sent, so that no"));
    assert!(remote(loaded.config).tokens.is_none());
    let insecure = with(r#"{"clientId": "c", "clientSecret": "s", "tokenUrl": "http://l/t"}"#);
    let loaded = insecure.load().unwrap();
    assert!(
        loaded.warnings[0].to_string().contains("begins with http://"),
        "{:?}",
        loaded.warnings
    );
    assert!(remote(loaded.config).tokens.is_some());
    with(r#"{"clientId": "c", "clientSecret": "s", "tokenUrl": "http://127.0.0.1:9/t"}"#)
        .warns(&[]);
}

#[test]
fn what_cannot_fetch_stops_the_server_and_shows_no_secret() {
    for (oauth, reason) in [
        (
            r#"{"grant": "client-credentials", "clientId": "c", "tokenUrl": "https://l"}"#,
            "oauth.clientSecret is required to fetch tokens",
        ),
        (
            r#"{"grant": "client-credentials", "clientId": "c", "clientSecret": "s3cret"}"#,
            "oauth.tokenUrl is required to fetch tokens",
        ),
        (
            r#"{"clientId": "c", "clientSecret": "s3cret", "tokenUrl": "https://u:s3cret@l"}"#,
            "oauth.tokenUrl must not carry a user name or password",
        ),
        (
            r#"{"clientId": "c", "clientSecret": "s3cret", "issuer": "https://l?key=s3cret"}"#,
            "oauth.issuer must not carry a query",
        ),
        (
            r#"{"clientId": "c", "clientSecret": "${ABSENT}", "tokenUrl": "https://l"}"#,
            "environment variable ABSENT is not set",
        ),
        (r#"{"grant": "implicit"}"#, "oauth.grant \"implicit\" is not a grant"),
        (
            r#"{"clientId": "c", "clientSecret": "s", "tokenUrl": "https://l", "authMethod": "jwt"}"#,
            "oauth.authMethod \"jwt\" is not a way to show a client's secret",
        ),
        (
            r#"{"clientId": "c", "clientSecret": "s", "tokenUrl": "https://l", "tls": {"cert": "x"}}"#,
            "oauth.tls.key is missing",
        ),
    ] {
        let loaded = with(oauth).load().unwrap();
        let told = format!("{:?}", loaded.warnings);
        assert!(!told.contains("s3cret"), "{told}");
        assert_eq!(only(loaded.config).misconfigured.as_deref(), Some(reason), "{oauth}");
    }
}
