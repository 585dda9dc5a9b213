//! Proves knowledge of the cluster's token without sending it.

use crate::protocol::mac;

/// HMAC-SHA256 over nonce, id and incarnation, as hexadecimal. Without a token the key
/// is empty: the proof then shows only that the address answers.
#[must_use]
pub fn prove(token: &[u8], nonce: &str, id: &str, incarnation: &str) -> String {
    let texts = ["mooring proof", nonce, id, incarnation].map(str::as_bytes);
    let lengths = texts.map(|text| (text.len() as u64).to_be_bytes());
    let parts: Vec<&[u8]> =
        lengths.iter().zip(texts).flat_map(|(length, text)| [&length[..], text]).collect();
    mac::hex(&mac::hmac_sha256(token, &parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_token_one_nonce_and_one_node() {
        let proof = prove(b"t", "n", "id", "i");
        assert_eq!(proof, prove(b"t", "n", "id", "i"));
        for other in [
            prove(b"u", "n", "id", "i"),
            prove(b"t", "m", "id", "i"),
            prove(b"t", "ni", "d", "i"),
            prove(b"t", "n", "id", "j"),
        ] {
            assert_ne!(proof, other);
        }
    }
}
