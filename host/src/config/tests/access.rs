//! Hosts, origins, proxies and routes. Who may come in is in `lock` and `keys`.

use super::*;

fn routing(section: &str) -> Case {
    file(&format!(r#"{{"systemConfig": {{"routing": {section}}}}}"#))
}

#[test]
fn everything_is_open_by_default() {
    let access = file("{}").warns(&[]).access;
    assert_eq!(access.lock, Lock::Open);
    assert!(access.allowed_hosts.is_empty() && access.allowed_origins.is_empty());
    assert!(access.enable_global_route && access.enable_group_name_route);
}

#[test]
fn routes_can_be_switched_off() {
    let access =
        routing(r#"{"enableGlobalRoute": false, "enableGroupNameRoute": false}"#).warns(&[]).access;
    assert!(!access.enable_global_route && !access.enable_group_name_route);
}

#[test]
fn proxies_are_addresses_and_networks() {
    let config = file(
        r#"{"systemConfig": {"trustedProxies": ["10.0.0.7", "192.168.1.9/16", "fd00::/8", "::1", "::ffff:10.1.0.0/112"]}}"#,
    )
    .warns(&[]);
    let shown: Vec<String> =
        config.access.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.7/32", "192.168.0.0/16", "fd00::/8", "::1/128", "10.1.0.0/16"]);
    assert!(file("{}").warns(&[]).access.trusted_proxies.is_empty());

    let advice = "is not an address or a network; write it like 10.0.0.7, 10.0.0.0/8 or fd00::/8";
    let all =
        "would believe every client whatever it says; name the networks that your proxies are in";
    file(r#"{"systemConfig": {"trustedProxies": ["proxy.example", "10.0.0.0/33", "10.0.0", "0.0.0.0/0", "::/0"]}}"#)
        .errors(&[
            &format!("1:38: systemConfig.trustedProxies[0]: {advice}"),
            &format!("1:55: systemConfig.trustedProxies[1]: {advice}"),
            &format!("1:70: systemConfig.trustedProxies[2]: {advice}"),
            &format!("1:80: systemConfig.trustedProxies[3]: {all}"),
            &format!("1:93: systemConfig.trustedProxies[4]: {all}"),
        ]);
}

#[test]
fn hosts_and_origins_must_be_able_to_match() {
    let config = file(
        r#"{"systemConfig": {"allowedHosts": ["Example.com", "a.b:8080"], "allowedOrigins": ["https://App.example.com"]}}"#,
    )
    .warns(&[]);
    assert_eq!(config.access.allowed_hosts, ["example.com", "a.b:8080"]);
    assert_eq!(config.access.allowed_origins, ["https://app.example.com"]);

    file(r#"{"systemConfig": {"allowedHosts": ["http://a", "*", ""], "allowedOrigins": ["a.com", "https://a/", "*"]}}"#)
        .errors(&[
            "1:36: systemConfig.allowedHosts[0]: can never match; write it like example.com",
            "1:48: systemConfig.allowedHosts[1]: can never match; write it like example.com",
            "1:53: systemConfig.allowedHosts[2]: can never match; write it like example.com",
            "1:77: systemConfig.allowedOrigins[0]: can never match; write it like https://example.com, without a path",
            "1:86: systemConfig.allowedOrigins[1]: can never match; write it like https://example.com, without a path",
            "1:100: systemConfig.allowedOrigins[2]: can never match; write it like https://example.com, without a path",
        ]);
}
