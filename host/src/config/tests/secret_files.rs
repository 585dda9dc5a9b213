//! Values that come from files: `${file:…}` and `${credential:…}`.

use super::servers::{only, server};
use super::*;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn header(config: &Config) -> &str {
    let Some(Transport::HttpOrSse(remote)) = &config.servers[0].transport else {
        panic!("{config:?}");
    };
    remote.headers[0].1.to_str().unwrap()
}

#[test]
fn a_file_stands_wherever_a_variable_may() {
    let secrets = folder(&[("key", "s3cret\n"), ("other", "0ther")]);
    let at = secrets.path().display();
    let (key, other) = (format!("${{file:{at}/key}}"), format!("${{file:{at}/other}}"));
    let entry = format!(
        r#"{{"url": "https://b/{key}", "headers": {{"Authorization": "Bearer {key}-{other}"}}}}"#
    );
    let config = server(&entry).warns(&[]);
    assert_eq!(header(&config), "Bearer s3cret-0ther");
    let Some(Transport::HttpOrSse(remote)) = &config.servers[0].transport else { panic!() };
    assert_eq!(remote.url, "https://b/s3cret");
    assert!(config.servers[0].shown.contains("${file:"), "{}", config.servers[0].shown);
    let named = [secrets.path().join("key"), secrets.path().join("other")];
    assert_eq!((&config.named_files[..], &config.secret_files[..]), (&named[..], &named[..]));

    let entry =
        format!(r#"{{"command": "x", "args": ["{key}"], "env": {{"A": "{other}", "B": "$A!"}}}}"#);
    let config = server(&entry).warns(&[]);
    let Some(Transport::Stdio { args, env, .. }) = only(config).transport else { panic!() };
    assert_eq!(args, ["s3cret"]);
    let values: Vec<&str> = env.iter().map(|(_, value)| value.expose()).collect();
    assert_eq!(values, ["0ther", "0ther!"]);

    let long = folder(&[("key", "a-key-of-more-than-sixteen-letters\n")]);
    let long = format!("${{file:{}/key}}", long.path().display());
    let text = format!(
        r#"{{"systemConfig": {{"routing": {{"enableBearerAuth": true, "bearerAuthKey": "{long}"}}}}}}"#
    );
    let config = file(&text).config();
    let keys = config.access.lock.keys();
    assert_eq!(keys[0].token.expose(), "a-key-of-more-than-sixteen-letters");
}

#[test]
fn a_credential_is_in_the_folder_of_systemd() {
    let secrets = folder(&[("key", "s3cret\n")]);
    let entry = r#"{"url": "https://b", "headers": {"k": "${credential:key}"}}"#;
    let at = secrets.path().to_str().unwrap();
    assert_eq!(header(&server(entry).env("CREDENTIALS_DIRECTORY", at).warns(&[])), "s3cret");
    let why = "${credential:key}: CREDENTIALS_DIRECTORY is not set, so there are none";
    assert_eq!(only(server(entry).config()).misconfigured.as_deref(), Some(why));
}

#[test]
fn a_file_that_cannot_be_read_stops_its_server_and_is_named() {
    let secrets = folder(&[("lines", "a\nb")]);
    let at = secrets.path().display();
    let advice = "check the path and its permissions; until then this server does not run";
    let why = format!("${{file:{at}/none}}: No such file or directory (os error 2)");
    let text = format!(
        r#"{{"mcpServers": {{"a": {{"url": "http://b/${{file:{at}/none}}"}}, "b": {{"command": "y"}}}}}}"#
    );
    let config = file(&text).warns(&[&format!("1:22: mcpServers.a: {why}; {advice}")]);
    assert_eq!(config.servers[0].misconfigured.as_deref(), Some(&*why));
    assert!(config.servers[1].misconfigured.is_none());
    // It may come to be there.
    assert_eq!(config.named_files, [secrets.path().join("none")]);

    let entry = format!(r#"{{"url": "http://b", "headers": {{"k": "${{file:{at}/lines}}"}}}}"#);
    let reason = "headers.k contains control characters once expanded";
    assert_eq!(only(server(&entry).config()).misconfigured.as_deref(), Some(reason));

    let text = format!(
        r#"{{"systemConfig": {{"cluster": {{"enabled": true, "mode": "coordinator",
            "token": "${{file:{at}/none}}"}}}}}}"#
    );
    let errors = file(&text).load().unwrap_err().errors;
    assert!(errors[0].to_string().contains(&why), "{errors:?}");
}

#[test]
fn a_variable_may_be_called_file() {
    let entry =
        r#"{"command": "x", "args": ["${file}", "${file:-d}", "${credential:-e}", "$file:/a"]}"#;
    let config = server(entry).env("file", "of").warns(&[]);
    let Some(Transport::Stdio { args, .. }) = only(config).transport else { panic!() };
    assert_eq!(args, ["of", "of", "e", "of:/a"]);
}
