//! TLS with a remote server: `tls`.

use std::path::PathBuf;

use base64::Engine as _;

use super::servers::{only, server};
use super::*;

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

/// A folder with a certificate and its key, `name.pem` and `name.key`, for each name.
fn made(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let made = rcgen::generate_simple_self_signed(vec![(*name).to_owned()]).unwrap();
        let at = |ending: &str| folder.path().join(format!("{name}.{ending}"));
        std::fs::write(at("pem"), pem("CERTIFICATE", made.cert.der())).unwrap();
        let key = made.signing_key.serialize_der();
        std::fs::write(at("key"), pem("PRIVATE KEY", &key)).unwrap();
    }
    folder
}

fn tls(config: Config) -> Option<ServerTls> {
    match only(config).transport {
        Some(Transport::Http(remote) | Transport::HttpOrSse(remote)) => remote.tls,
        other => panic!("{other:?}"),
    }
}

#[test]
fn authorities_and_a_certificate_are_read_and_watched() {
    let folder = made(&["ca", "own"]);
    let at = folder.path().display();
    let entry = |tls: &str| format!(r#"{{"url": "https://b/mcp", "tls": {tls}}}"#);
    let both =
        entry(r#"{"ca": "${DIR}/ca.pem", "cert": "${DIR}/own.pem", "key": "${DIR}/own.key"}"#);
    let config = server(&both).env("DIR", &at.to_string()).warns(&[]);
    let paths = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| folder.path().join(name)).collect()
    };
    assert_eq!(config.named_files, paths(&["ca.pem", "own.key", "own.pem"]));
    assert_eq!(config.secret_files, paths(&["own.key"]));
    let read = tls(config).unwrap();
    assert_eq!(read.authorities.as_ref().map(Vec::len), Some(1));
    assert!(read.identity.is_some());
    let shown = format!("{read:?}");
    assert_eq!(shown, "ServerTls { authorities: Some(1), has_identity: true }");

    let only_ca = tls(server(&entry(&format!(r#"{{"ca": "{at}/ca.pem", "key": ""}}"#))).warns(&[]));
    assert!(only_ca.is_some_and(|tls| tls.identity.is_none()));
    assert_eq!(tls(server(&entry("null")).warns(&[])), None);
    // Another content is another configuration.
    let load = || server(&both).env("DIR", &at.to_string()).config();
    let before = load();
    assert_eq!(before, load());
    let next = made(&["ca"]);
    std::fs::copy(next.path().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
    assert_ne!(before, load());
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let folder = made(&["ca", "own"]);
    let at = folder.path().display();
    std::fs::write(folder.path().join("noise"), "-----BEGIN X-----\nsecret").unwrap();
    for (tls, reason) in [
        (r#"{"ca": "DIR/none"}"#, "tls.ca DIR/none: No such file or directory (os error 2)"),
        (
            r#"{"ca": "DIR/own.key"}"#,
            "tls.ca DIR/own.key: has no certificate (a block BEGIN CERTIFICATE)",
        ),
        (r#"{"ca": "DIR"}"#, "tls.ca DIR: is not a file"),
        (r#"{"cert": "DIR/own.pem"}"#, "tls.key is missing"),
        (r#"{"key": "DIR/own.key"}"#, "tls.cert is missing"),
        (
            r#"{"cert": "DIR/own.pem", "key": "DIR/noise"}"#,
            "tls.key DIR/noise: has no private key (a block BEGIN PRIVATE KEY)",
        ),
        (
            r#"{"cert": "DIR/ca.pem", "key": "DIR/own.key"}"#,
            "tls.key DIR/own.key: is not the key of the certificate",
        ),
        (r#"{"ca": 5}"#, "tls.ca must be a string, not a number"),
        (r#""ca.pem""#, "tls must be an object, not a string"),
    ] {
        let path = at.to_string();
        let entry = format!(r#"{{"url": "https://b", "tls": {}}}"#, tls.replace("DIR", &path));
        let config = server(&entry).config();
        let expect = reason.replace("DIR", &path);
        assert_eq!(only(config).misconfigured.as_deref(), Some(&*expect), "{tls}");
    }
}

#[test]
fn tls_where_there_is_none_is_pointed_out() {
    let folder = made(&["ca"]);
    let at = folder.path().display();
    let warned = |entry: String, part: &str| {
        let warnings = server(&entry).load().unwrap().warnings;
        assert!(warnings[0].to_string().contains(part), "{warnings:?}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    };
    warned(
        format!(r#"{{"url": "http://b", "tls": {{"ca": "{at}/ca.pem"}}}}"#),
        "mcpServers.a.tls: has no effect, since the url begins with http://",
    );
    warned(
        format!(r#"{{"command": "x", "tls": {{"ca": "{at}/ca.pem"}}}}"#),
        "mcpServers.a.tls: is not used by a server of this type",
    );
    warned(
        r#"{"url": "https://b", "tls": {"ca": ""}}"#.to_owned(),
        "mcpServers.a.tls: names no file",
    );
    warned(
        format!(r#"{{"url": "https://b", "tls": {{"ca": "{at}/ca.pem", "certs": "x"}}}}"#),
        "mcpServers.a.tls.certs: is not a known key",
    );
}
