//! Which inputs of a plan are credentials of clients.
//!
//! A strategy decides by what it is shown, and may write it into the log. What clients authenticate
//! with is shown to it only if the operator has said so.

use http::HeaderName;

use crate::protocol::passthrough::is_credential;

use super::refusal::PluginRefusal;
use crate::wasm::vocabulary::Input;

/// The clients' credentials that a strategy may read.
#[derive(Debug, Clone, Default)]
pub struct Readable {
    /// Names of headers, in lower case; `cookie` stands for all cookies.
    pub headers: Vec<String>,
    /// The cookie that carries affinity, which the gateway itself has set.
    pub affinity_cookie: String,
    /// The header that carries affinity, which the operator has named.
    pub affinity_header: String,
}

/// Refuses inputs that read other credentials than these.
pub(in crate::wasm) fn check(inputs: &[Input], readable: &Readable) -> Result<(), PluginRefusal> {
    let asked = |input: &Input| match input {
        Input::Header(name) if name.eq_ignore_ascii_case(&readable.affinity_header) => None,
        Input::Header(name) => HeaderName::from_bytes(name.as_bytes())
            .is_ok_and(|name| is_credential(&name))
            .then(|| (name.clone(), format!("header {name}"))),
        Input::Cookie(name) if *name == readable.affinity_cookie => None,
        Input::Cookie(name) => Some(("cookie".to_owned(), format!("cookie {name}"))),
        _ => None,
    };
    let asked = inputs.iter().filter_map(asked);
    let refused: Vec<String> = asked
        .filter(|(name, _)| !readable.headers.contains(name))
        .map(|(_, shown)| shown)
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(PluginRefusal::ReadsCredentials(refused.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::vocabulary::{Carrier, Plan};

    fn refused(input: Input, carrier: Carrier, headers: &[&str]) -> Option<String> {
        let inputs = vec![Input::SessionId, input];
        let plan = Plan { inputs, carrier, wants_loads: false, affinity_ttl_seconds: 1 };
        let headers = headers.iter().map(|name| (*name).to_owned()).collect();
        let readable = Readable {
            headers,
            affinity_cookie: "NODE".to_owned(),
            affinity_header: "x-node-key".to_owned(),
        };
        check(&plan.inputs, &readable).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn credentials_are_read_only_where_the_operator_says_so() {
        let header = |name: &str| Input::Header(name.to_owned());
        for (input, name) in [
            (header("authorization"), "authorization"),
            (header("proxy-authorization"), "proxy-authorization"),
            (header("x-api-key"), "x-api-key"),
            (header("cookie"), "cookie"),
            (Input::Cookie("session".to_owned()), "cookie"),
        ] {
            // A plan that calls it its own affinity reads it all the same.
            for carrier in [
                Carrier::None,
                Carrier::Header("authorization".to_owned()),
                Carrier::Cookie("session".to_owned()),
            ] {
                let text = refused(input.clone(), carrier, &["x-other"]).unwrap();
                assert!(text.contains("stickySession.credentials"), "{text}");
            }
            assert_eq!(refused(input, Carrier::None, &[name]), None);
        }
        assert_eq!(refused(header("x-zone"), Carrier::None, &[]), None);
        assert_eq!(refused(header("x-node-key"), Carrier::None, &[]), None);
        assert_eq!(refused(Input::Cookie("NODE".to_owned()), Carrier::None, &[]), None);
    }
}
