//! What is said of a TLS handshake that fails: in which way, and what to do.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use crate::model::UnixMillis;

/// What is wrong with a certificate that is refused here; follows a word for the certificate.
#[must_use]
pub fn refusal_told(error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else { return format!("cannot be used: {error}") };
    match error {
        CertificateError::Expired => "has expired: renew it".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("has expired at {}: renew it", time(*not_after))
        }
        CertificateError::NotValidYet => {
            "is not valid yet: check the clocks of both machines".to_owned()
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "is not valid before {}: check the clocks of both machines",
            time(*not_before)
        ),
        CertificateError::Revoked => {
            "is revoked: make a new one, and find out who has had this one".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "is of another authority than those that are trusted here: use certificates of one \
             authority, or add its own to the file of authorities (ca)"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "is of another authority than those that are trusted here, one of the same name: use \
             certificates of one authority, or add its own to the file of authorities (ca)"
                .to_owned()
        }
        CertificateError::UnknownRevocationStatus => {
            "is of an authority of which the file of revoked certificates has no list: add its list \
             to that file (revoked)"
                .to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not made for this use: it needs the extended key usages serverAuth and clientAuth, \
             or none"
                .to_owned()
        }
        CertificateError::ApplicationVerificationFailure => {
            "does not name who its holder is: a process of a cluster needs mooring:coordinator or \
             mooring:node: with the node's id among its alternative names, as a URI; a client needs \
             a name of at most 200 bytes"
                .to_owned()
        }
        other => format!("cannot be used: {other:?}"),
    }
}

/// To the minute.
fn time(time: UnixTime) -> String {
    let text = UnixMillis(time.as_secs().saturating_mul(1000)).iso8601();
    let minute = text.get(..16).unwrap_or(&text);
    format!("{minute}Z")
}

/// What the other side says with the alert that has ended a connection, if it is about certificates.
#[must_use]
pub fn alert_told(error: &io::Error) -> Option<&'static str> {
    let Some(Error::AlertReceived(alert)) = inner(error) else { return None };
    Some(match alert {
        AlertDescription::CertificateExpired => {
            "it refuses this process's certificate, which has expired, or is not valid yet by its \
             clock: renew it, or check both clocks"
        }
        AlertDescription::CertificateRevoked => {
            "it refuses this process's certificate, which is revoked: make a new one"
        }
        AlertDescription::UnknownCA => {
            "it refuses this process's certificate, which is of an authority that it does not \
             trust: use certificates of one authority on both sides"
        }
        AlertDescription::AccessDenied => {
            "it refuses this process's certificate, which does not name what this process is"
        }
        AlertDescription::UnsupportedCertificate => {
            "it refuses this process's certificate, which is not made for clients: it needs the \
             extended key usages serverAuth and clientAuth, or none"
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => "it refuses this process's certificate",
        AlertDescription::CertificateRequired => {
            "it wants a certificate of this process, which has none: set cluster.tls for a process \
             of the cluster"
        }
        AlertDescription::NoApplicationProtocol => {
            "it speaks TLS, but not the cluster's: set cluster.tls there, too"
        }
        _ => return None,
    })
}

/// Why a handshake with a process of the cluster has failed.
#[must_use]
pub fn handshake_told(error: &io::Error) -> String {
    if let Some(told) = alert_told(error) {
        return told.to_owned();
    }
    match inner(error) {
        Some(error @ Error::InvalidCertificate(_)) => {
            format!("the certificate of the process there {}", refusal_told(error))
        }
        Some(Error::NoCertificatesPresented) => {
            "it has shown no certificate, and needs one here".to_owned()
        }
        Some(Error::InvalidMessage(_)) => {
            "it does not speak TLS: set cluster.tls there, too".to_owned()
        }
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it has closed the connection within the TLS handshake: set cluster.tls there, too, if \
             it is not set"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// Whether a handshake has failed since the other side has shown no certificate.
#[must_use]
pub fn has_shown_none(error: &io::Error) -> bool {
    matches!(inner(error), Some(Error::NoCertificatesPresented))
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(error: impl Into<Error>) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error.into())
    }

    #[test]
    fn each_reason_has_a_sentence_of_its_own() {
        let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let (time, not_after, not_before) = (at(5), at(1_767_225_600), at(1_767_225_660));
        for (error, words) in [
            (
                CertificateError::ExpiredContext { time, not_after },
                "has expired at 2026-01-01T00:00Z",
            ),
            (
                CertificateError::NotValidYetContext { time, not_before },
                "not valid before 2026-01-01T00:01Z",
            ),
            (CertificateError::Revoked, "is revoked"),
            (CertificateError::UnknownIssuer, "another authority"),
            (CertificateError::BadSignature, "another authority"),
            (CertificateError::UnknownRevocationStatus, "no list"),
            (CertificateError::InvalidPurpose, "serverAuth and clientAuth"),
            (CertificateError::ApplicationVerificationFailure, "mooring:coordinator"),
        ] {
            let told = handshake_told(&wrapped(error));
            assert!(told.starts_with("the certificate of the process there "), "{told}");
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn alerts_about_certificates_are_told_and_others_are_left_as_they_are() {
        for (alert, words) in [
            (AlertDescription::CertificateExpired, "has expired"),
            (AlertDescription::CertificateRevoked, "revoked"),
            (AlertDescription::UnknownCA, "does not trust"),
            (AlertDescription::AccessDenied, "does not name"),
            (AlertDescription::CertificateRequired, "cluster.tls"),
            (AlertDescription::NoApplicationProtocol, "cluster.tls"),
        ] {
            let error = wrapped(Error::AlertReceived(alert));
            assert!(alert_told(&error).unwrap().contains(words), "{alert:?}");
            assert_eq!(handshake_told(&error), alert_told(&error).unwrap());
        }
        assert_eq!(
            alert_told(&wrapped(Error::AlertReceived(AlertDescription::InternalError))),
            None
        );
        assert_eq!(alert_told(&io::ErrorKind::ConnectionReset.into()), None);
    }
}
