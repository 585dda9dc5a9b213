//! Showing that one knows the cluster's token without sending it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA256 over nonce, id and incarnation, as hexadecimal. Without a token
/// the key is empty: then it shows only that the address answers.
#[must_use]
pub fn prove(token: &[u8], nonce: &str, id: &str, incarnation: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token) else { return String::new() };
    for part in ["mooring proof", nonce, id, incarnation] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
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
