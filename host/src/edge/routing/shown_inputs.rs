//! What of a strategy's inputs may be shown later: names, and values that are no secrets.

use http::HeaderName;

use crate::model::SessionId;
use crate::model::visible::visible;
use crate::protocol::passthrough::is_credential;
use crate::wasm::vocabulary::Input;

use super::decision::{InputValue, ShownInput};

/// Bytes of a name or value.
const MAX: usize = 200;

/// What carries affinity, which the gateway itself has set or the operator has named.
#[derive(Clone, Copy)]
pub struct AffinityNames<'a> {
    pub cookie: &'a str,
    pub header: &'a str,
}

/// The inputs with what may be shown of their values.
pub fn shown(
    inputs: &[Input],
    values: &[Option<String>],
    session: SessionId,
    affinity: AffinityNames<'_>,
) -> Vec<ShownInput> {
    let one = |(input, value): (&Input, &Option<String>)| ShownInput {
        name: name(input),
        value: match value {
            None => InputValue::Missing,
            // The rest of the uuid is the key to the session's entries.
            Some(_) if *input == Input::SessionId => InputValue::Shown(session.short()),
            Some(value) if is_secret(input, value, affinity) => InputValue::Hidden,
            Some(value) => InputValue::Shown(visible(value, MAX).to_string()),
        },
    };
    inputs.iter().zip(values).map(one).collect()
}

fn name(input: &Input) -> String {
    let (kind, name) = match input {
        Input::SessionId => ("session-id", None),
        Input::Header(name) => ("header", Some(name)),
        Input::Cookie(name) => ("cookie", Some(name)),
        Input::Query(name) => ("query", Some(name)),
        Input::RpcMethod => ("rpc-method", None),
        Input::RpcTarget => ("rpc-target", None),
        Input::Body(pointer) => ("body", Some(pointer)),
        Input::Principal => ("principal", None),
        Input::ClientAddress => ("client-address", None),
    };
    match name {
        Some(name) => format!("{kind}:{}", visible(name, MAX)),
        None => kind.to_owned(),
    }
}

/// Whether a value is likely a secret, by the name that it has. Cookies are, unless they carry
/// affinity; a URI may have a credential in its authority or query.
fn is_secret(input: &Input, value: &str, affinity: AffinityNames<'_>) -> bool {
    match input {
        Input::Header(name) => {
            !name.eq_ignore_ascii_case(affinity.header) && names_credential(name)
        }
        Input::Cookie(name) => name != affinity.cookie,
        Input::Query(name) => names_credential(name),
        Input::Body(pointer) => pointer.split('/').any(names_credential),
        Input::RpcTarget => value.contains(['@', '?']),
        Input::SessionId | Input::RpcMethod | Input::Principal | Input::ClientAddress => false,
    }
}

/// Names are judged as those of headers are. One that cannot be a header's is not understood, and
/// hides its value.
fn names_credential(name: &str) -> bool {
    !name.is_empty()
        && HeaderName::from_bytes(name.as_bytes()).map_or(true, |name| is_credential(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(input: Input, value: &str) -> InputValue {
        let affinity = AffinityNames { cookie: "NODE", header: "x-node-key" };
        let values = [Some(value.to_owned())];
        shown(&[input], &values, SessionId::mint(), affinity).remove(0).value
    }

    #[test]
    fn values_of_credentials_are_hidden() {
        let own = str::to_owned;
        for (input, value, is_shown) in [
            (Input::Header(own("x-tenant")), "acme", true),
            (Input::Header(own("X-Node-Key")), "a", true),
            (Input::Header(own("authorization")), "Bearer s3cret", false),
            (Input::Header(own("x-api-key")), "s3cret", false),
            (Input::Header(own("cookie")), "a=s3cret", false),
            (Input::Cookie(own("NODE")), "a", true),
            (Input::Cookie(own("sid")), "s3cret", false),
            (Input::Query(own("tenant")), "acme", true),
            (Input::Query(own("api_key")), "s3cret", false),
            (Input::Query(own("a b")), "s3cret", false),
            (Input::Body(own("/params/arguments/tenant")), "acme", true),
            (Input::Body(own("/params/arguments/password")), "s3cret", false),
            (Input::Body(own("/params/token/0")), "s3cret", false),
            (Input::RpcTarget, "list_notes", true),
            (Input::RpcTarget, "https://u:p@host/x", false),
            (Input::RpcTarget, "https://host/x?sig=1", false),
            (Input::Principal, "ann", true),
            (Input::ClientAddress, "10.0.0.1", true),
        ] {
            let expect = match is_shown {
                true => InputValue::Shown(value.to_owned()),
                false => InputValue::Hidden,
            };
            assert_eq!(value_of(input.clone(), value), expect, "{input:?}");
        }
    }

    #[test]
    fn of_a_session_its_short_name_is_shown_and_texts_are_visible() {
        let session = SessionId::mint();
        let affinity = AffinityNames { cookie: "", header: "" };
        let inputs = [Input::SessionId, Input::Header("x\n".to_owned()), Input::RpcMethod];
        let values = [Some(session.to_string()), None, Some("a\u{202e}b".to_owned())];
        let seen = shown(&inputs, &values, session, affinity);
        assert_eq!(seen[0].value, InputValue::Shown(session.short()));
        assert_eq!((&*seen[1].name, &seen[1].value), ("header:x\\n", &InputValue::Missing));
        assert_eq!(seen[2].value, InputValue::Shown("a\\u{202e}b".to_owned()));
    }
}
