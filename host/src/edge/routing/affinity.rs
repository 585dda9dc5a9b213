//! The affinity token in a cookie or header: a node's id, signed if the operator wants that.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;

use crate::model::NodeId;
use crate::protocol::headers;
use crate::protocol::proof::mac;

/// Bytes of the signature in a token, as hexadecimal: 64 bits.
const SIGNATURE: usize = 8;

/// Where the strategy wants the token carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    None,
    Cookie { name: String, max_age: u32 },
    Header(HeaderName),
}

/// The change of the client's token after a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Pin(NodeId),
    Clear,
}

/// The node that the request's token names. `None` if there is no valid token.
pub fn read(carrier: &Carrier, headers: &HeaderMap, key: Option<&[u8]>) -> Option<NodeId> {
    let value = match carrier {
        Carrier::None => return None,
        Carrier::Cookie { name, .. } => headers::cookie(headers, name)?,
        Carrier::Header(name) => headers::text(headers, name)?,
    };
    let id = match key {
        None => value,
        Some(key) => {
            // Node ids have no colon.
            let (id, signature) = value.rsplit_once(':')?;
            let expected = sign(key, id);
            if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
                return None;
            }
            id
        }
    };
    NodeId::parse(id).ok()
}

/// Puts the token onto a response. A cookie is for the paths below the base path.
pub fn write(
    carrier: &Carrier,
    token: &Token,
    headers: &mut HeaderMap,
    key: Option<&[u8]>,
    base_path: &str,
) {
    let value = match token {
        Token::Clear => String::new(),
        Token::Pin(node) => match key {
            None => node.to_string(),
            Some(key) => format!("{node}:{}", sign(key, node.as_str())),
        },
    };
    match carrier {
        Carrier::None => {}
        Carrier::Cookie { name, max_age } => {
            let max_age = if *token == Token::Clear { 0 } else { *max_age };
            let path = if base_path.is_empty() { "/" } else { base_path };
            let text =
                format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={max_age}");
            if let Ok(cookie) = HeaderValue::from_str(&text) {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        Carrier::Header(name) => {
            if let (Token::Pin(_), Ok(value)) = (token, HeaderValue::from_str(&value)) {
                headers.insert(name.clone(), value);
            }
        }
    }
}

fn sign(key: &[u8], id: &str) -> String {
    let code = mac::hmac_sha256(key, &[b"mooring affinity", id.as_bytes()]);
    mac::hex(&code[..SIGNATURE])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie() -> Carrier {
        Carrier::Cookie { name: "MCPHUB_NODE".into(), max_age: 3600 }
    }

    fn sent_back(headers: &HeaderMap) -> HeaderMap {
        let set = headers[header::SET_COOKIE].to_str().unwrap();
        let pair = set.split(';').next().unwrap();
        HeaderMap::from_iter([(header::COOKIE, pair.parse().unwrap())])
    }

    #[test]
    fn a_token_comes_back_as_the_node_it_was_made_for() {
        let node = NodeId::parse("node-1").unwrap();
        for key in [None, Some(b"key".as_slice())] {
            let mut headers = HeaderMap::new();
            write(&cookie(), &Token::Pin(node.clone()), &mut headers, key, "");
            let back = sent_back(&headers);
            assert_eq!(read(&cookie(), &back, key), Some(node.clone()));
        }
    }

    #[test]
    fn a_forged_or_invalid_token_is_none() {
        let header = Carrier::Header(HeaderName::from_static("x-mcphub-node"));
        let with = |value: &str| {
            HeaderMap::from_iter([(
                HeaderName::from_static("x-mcphub-node"),
                value.parse().unwrap(),
            )])
        };
        assert_eq!(read(&header, &with("node-1"), Some(b"key")), None);
        assert_eq!(read(&header, &with("node-1:0000000000000000"), Some(b"key")), None);
        assert_eq!(read(&header, &with("a b"), None), None);
        assert!(read(&header, &with("node-1"), None).is_some());
    }

    #[test]
    fn a_cookie_has_the_promised_attributes() {
        let mut headers = HeaderMap::new();
        let node = NodeId::parse("node-1").unwrap();
        write(&cookie(), &Token::Pin(node), &mut headers, None, "");
        assert_eq!(
            headers[header::SET_COOKIE],
            "MCPHUB_NODE=node-1; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"
        );
    }
}
