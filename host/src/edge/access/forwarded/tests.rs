use http::HeaderValue;

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Who counts for a request of the proxy 10.0.0.1, where 10.0.0.0/8 is trusted.
fn behind(lines: &[(&'static str, &str)]) -> String {
    let trusted = nets(&["10.0.0.0/8", "fd00::/8"]);
    client(&trusted, &headers(lines), "10.0.0.1".parse().unwrap()).to_string()
}

const XFF: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";
const PROXY: &str = "10.0.0.1";

#[test]
fn the_rightmost_address_that_is_not_trusted_counts() {
    for (value, expect) in [
        ("192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.9.9.9", "192.0.2.1"),
        ("6.6.6.6,192.0.2.1 ,\t10.9.9.9,fd00::7", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.7, ::ffff:10.0.0.8", "10.0.0.7"),
        ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
        ("nonsense, 192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(behind(&[(XFF, value)]), expect, "{value}");
    }
    assert_eq!(behind(&[(XFF, "6.6.6.6"), (XFF, "192.0.2.1, 10.0.0.2")]), "192.0.2.1");
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    for (value, expect) in [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.43, FOR=198.51.100.17", "198.51.100.17"),
        ("for=6.6.6.6, for=192.0.2.43;host=\"a,b;for=7.7.7.7\", for=10.1.1.1", "192.0.2.43"),
        ("proto=https;for=\"192.0.2.1:99\"", "192.0.2.1"),
        ("for=\"192.0\\.2.1\"", "192.0.2.1"),
        ("for = 192.0.2.1 ; proto = http", "192.0.2.1"),
    ] {
        assert_eq!(behind(&[(FORWARDED, value)]), expect, "{value}");
    }
}

#[test]
fn what_cannot_be_read_counts_as_the_proxy() {
    for value in [
        "",
        " ",
        "unknown",
        "_hidden",
        "192.0.2.1, unknown",
        "192.0.2.1,",
        "192.0.2.1 6.6.6.6",
        "192.0.2.256",
        "fe80::1%eth0",
        "[192.0.2.1]",
        "[2001:db8::1",
        "2001:db8::1]",
        "192.0.2.1:99999",
        "\"192.0.2.1\"",
        "0x7f.1",
        "for=192.0.2.1",
    ] {
        assert_eq!(behind(&[(XFF, value)]), PROXY, "{value:?}");
    }
    for value in [
        "",
        "192.0.2.1",
        "for=unknown",
        "for=_hidden",
        "for=192.0.2.1, by=10.0.0.1",
        "for=\"192.0.2.1",
        "for=\"192.0.2.1\\",
        "for=192.0.2.1;for=6.6.6.6",
        "for=\"192.0.2.1\"6.6.6.6",
        "for=6.6.6.6\", for=192.0.2.1",
        "for",
        "=192.0.2.1",
        ";;;,,,",
    ] {
        assert_eq!(behind(&[(FORWARDED, value)]), PROXY, "{value:?}");
    }
    let long = format!("{}192.0.2.1", "6.6.6.6, ".repeat(1000));
    assert_eq!(behind(&[(XFF, &long)]), PROXY);
    let mut odd = HeaderMap::new();
    odd.insert(XFF, HeaderValue::from_bytes(b"192.0.2.1, \xff").unwrap());
    let trusted = nets(&["10.0.0.0/8"]);
    assert_eq!(client(&trusted, &odd, PROXY.parse().unwrap()).to_string(), PROXY);
}

#[test]
fn two_headers_count_only_if_they_agree() {
    let both = |forwarded, list| behind(&[(FORWARDED, forwarded), (XFF, list)]);
    assert_eq!(both("for=192.0.2.1", "6.6.6.6, 192.0.2.1"), "192.0.2.1");
    assert_eq!(both("for=6.6.6.6", "192.0.2.1"), PROXY);
    assert_eq!(both("for=192.0.2.1", "unknown"), PROXY);
    assert_eq!(both("nonsense", "192.0.2.1"), PROXY);
}

#[test]
fn only_a_trusted_peer_is_believed() {
    let named = headers(&[(XFF, "192.0.2.1")]);
    let of = |trusted: &[&str], peer: &str| {
        client(&nets(trusted), &named, peer.parse().unwrap()).to_string()
    };
    assert_eq!(of(&[], "10.0.0.1"), "10.0.0.1");
    assert_eq!(of(&["10.0.0.0/8"], "11.0.0.1"), "11.0.0.1");
    assert_eq!(of(&["10.0.0.0/8"], "::ffff:10.0.0.1"), "192.0.2.1");
    assert_eq!(of(&["::1/128"], "::1"), "192.0.2.1");
    assert!(is_forwarded(&named) && !is_forwarded(&HeaderMap::new()));
}
