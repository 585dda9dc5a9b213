//! Where users log in, as servers and their issuers say it in all the ways that the standards allow.

use mooring_tests::authorization_server::invited;
use mooring_tests::scripted::{Asked, Out};
use mooring_tests::{
    AuthorizationServer, Gateway, OddServer, Request, Scripted, Way, eventually, settings,
};
use serde_json::{Value, json};

use super::logins::{ANN, TOOL, entry, far, gateway, keys, log_in, session};
use crate::remote::upstreams::{ask, text};

/// An issuer with a path, whose metadata is at this place alone; everywhere else it has a page.
fn front_of(issuer: &AuthorizationServer, place: &'static str) -> Scripted {
    let at = issuer.url("");
    let front = Scripted::start(move |asked: &Asked, out: Out| {
        let own = format!("http://{}/tenant", asked.header("host").unwrap_or(""));
        if asked.path == place {
            out.json(&json!({
                "issuer": own, "authorization_endpoint": format!("{at}/authorize"),
                "token_endpoint": format!("{at}/token"),
                "registration_endpoint": format!("{at}/register"),
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
            }));
        } else {
            out.reply("200 OK", &["Content-Type: text/html"], b"<html>Welcome</html>");
        }
        None
    });
    issuer.calls_itself(&front.url("/tenant"));
    front
}

/// A server that refuses by this challenge, and whose metadata is at this place alone. One that has no
/// event stream for GET says so before anything else.
fn server(
    issuer: &AuthorizationServer,
    front: &str,
    (place, challenge): (&'static str, &'static str),
    takes_get: bool,
) -> OddServer {
    let (guard, front) = (issuer.guard(), front.to_owned());
    OddServer::guarded(Way::Http, None, move |asked, out| {
        let own = format!("http://{}", asked.header("host").unwrap_or(""));
        if asked.path == place {
            out.json(&json!({
                "resource": format!("{own}/mcp"), "authorization_servers": [front],
                "scopes_supported": ["of.metadata"],
            }));
            return None;
        }
        if asked.method == "GET" && !takes_get {
            out.reply("405 Method Not Allowed", &[], b"");
            return None;
        }
        if asked.path != "/mcp" {
            out.reply("404 Not Found", &[], b"");
            return None;
        }
        if asked.header("authorization").is_some() {
            return guard(asked, out);
        }
        let challenge = challenge.replace("OWN", &own);
        out.reply("401 Unauthorized", &[&format!("WWW-Authenticate: {challenge}")], b"");
        None
    })
}

#[test]
fn metadata_is_found_where_the_standards_let_it_be() {
    let resource = "/.well-known/oauth-protected-resource";
    let issuers = [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ];
    let named = "Bearer error=\"invalid_token\", resource_metadata=\"OWN/elsewhere\"";
    let scoped = "Bearer scope=\"of.challenge more\", resource_metadata=\"OWN/elsewhere\"";
    for (at_issuer, at_server, takes_get, scope) in [
        (issuers[0], ("/.well-known/oauth-protected-resource/mcp", "Bearer"), true, "of.metadata"),
        (issuers[1], (resource, "Bearer realm=\"x\""), false, "of.metadata"),
        (issuers[2], ("/elsewhere", named), true, "of.metadata"),
        (issuers[0], ("/elsewhere", named), false, "of.metadata"),
        (issuers[1], ("/elsewhere", scoped), false, "of.challenge+more"),
    ] {
        let issuer = AuthorizationServer::start();
        let front = front_of(&issuer, at_issuer);
        let far = server(&issuer, &front.url("/tenant"), at_server, takes_get);
        let gateway = gateway(&far, json!({}));
        let session = session(&gateway, ANN);
        let (url, _) = invited(&ask(&session, TOOL));
        let place = mooring_tests::authorization_server::target(&url);
        let page = Request::get(place).send(gateway.address()).expect(200);
        let page = page.text();
        assert!(page.contains(&format!("scope={scope}\"")), "{at_server:?}: {page}");
        log_in(&gateway, &issuer, &session, "ann");
        assert_eq!(text(&ask(&session, "ask")), "as usual", "{at_issuer} {at_server:?}");
    }
}

#[test]
fn what_cannot_be_read_now_is_told_and_asked_for_again() {
    let issuer = AuthorizationServer::start();
    let is_down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (guard, down) = (issuer.guard(), std::sync::Arc::clone(&is_down));
    let far = OddServer::guarded(Way::Http, None, move |asked, out| {
        let is_metadata = asked.path.contains("/.well-known/");
        if is_metadata && down.load(std::sync::atomic::Ordering::Acquire) {
            out.reply("503 Service Unavailable", &["Retry-After: 1"], b"");
            return None;
        }
        guard(asked, out)
    });
    let gateway = gateway(&far, json!({}));
    let session = session(&gateway, ANN);
    let error = ask(&session, TOOL);
    let words = error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}"));
    assert!(words.contains("its users cannot log in") && words.contains("503"), "{words}");
    is_down.store(false, std::sync::atomic::Ordering::Release);
    let invitation = eventually("it is asked again", || {
        let answer = ask(&session, TOOL);
        (answer["error"]["code"] == -32042).then(|| invited(&answer))
    });
    issuer.log_in(&gateway, "ann", &invitation.0).expect(200);
}

#[test]
fn a_gateway_that_its_issuer_has_forgotten_registers_again() {
    let issuer = AuthorizationServer::start();
    let far = far(&issuer);
    let server = entry(&far, json!({}));
    let alone: Value = settings::merged(settings::standalone(json!({"far": server})), keys());
    let gateway = Gateway::start_with(&alone);
    let session = session(&gateway, ANN);
    log_in(&gateway, &issuer, &session, "ann");
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    issuer.forget_clients();
    issuer.revoke_access();
    let (url, _) = invited(&ask(&session, "ask"));
    assert_eq!(issuer.registrations(), 2);
    issuer.log_in(&gateway, "ann", &url).expect(200);
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    issuer.revoke_access();
    assert_eq!(text(&ask(&session, "ask")), "as usual");
    assert_eq!(issuer.registrations(), 2);
}
