//! TLS as corosync-qnetd wants it: a certificate of each side, signed by the server's own authority; the server's has the name "Qnetd
//! Server" in its subject and nowhere else, so chain and name are looked at apart. The chain, all signatures and the protocol are rustls's.

use std::fs;
use std::sync::Arc;

use cmm_conf::QuorumServer;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The name of every qnetd server.
const SERVER: &[u8] = b"Qnetd Server";

/// From the files that the configuration names.
pub(super) fn config(server: &QuorumServer) -> Result<Arc<ClientConfig>, String> {
    let remedy = "bring the certificates with \"holdfast qnet import-certificates\", or write \"tls: off\"";
    let read = |path: &str| fs::read(path).map_err(|e| format!("{path}: {e}; {remedy}"));
    let bad = |path: &str, e: &dyn std::fmt::Display| format!("{path}: {e}; {remedy}");
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&read(&server.ca)?) {
        let cert = cert.map_err(|e| bad(&server.ca, &e))?;
        roots.add(cert).map_err(|e| bad(&server.ca, &e))?;
    }
    if roots.is_empty() {
        return Err(bad(&server.ca, &"no certificate in it"));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&server.cert)?).collect();
    let chain = chain.map_err(|e| bad(&server.cert, &e))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&server.key)?).map_err(|e| bad(&server.key, &e))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier { roots, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .map_err(|e| bad(&server.cert, &e))?;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        let known = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&cert, &self.roots, intermediates, now, known)?;
        if common_name(end_entity) == Some(SERVER) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The only common name in the subject of a certificate whose form and signature have been looked at.
fn common_name(cert: &[u8]) -> Option<&[u8]> {
    let (SEQUENCE, cert, _) = element(cert)? else { return None };
    let (SEQUENCE, mut rest, _) = element(cert)? else { return None };
    // [0] version; then serial number, algorithm, issuer, validity.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (SEQUENCE, mut subject, _) = element(rest)? else { return None };
    let mut name = None;
    while !subject.is_empty() {
        let (_, mut set, more) = element(subject)?;
        subject = more;
        while !set.is_empty() {
            let (_, attribute, more) = element(set)?;
            set = more;
            let (_, kind, value) = element(attribute)?;
            if kind == COMMON_NAME && name.replace(element(value)?.1).is_some() {
                return None;
            }
        }
    }
    name
}

/// Tag and contents of the first element of a DER encoding, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, more) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(b, _)| b.len() <= 4)?;
        rest = more;
        bytes.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b))
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

const SEQUENCE: u8 = 0x30;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate without signature: version, serial number, algorithm, issuer, validity, subject.
    fn with_subject(subject: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, contents: &[u8]| {
            let mut out = vec![tag, u8::try_from(contents.len()).unwrap()];
            out.extend(contents);
            out
        };
        let mut tbs = wrap(0xa0, &[2, 1, 2]);
        tbs.extend([2, 1, 9, 0x30, 0, 0x30, 0, 0x30, 0]);
        tbs.extend(wrap(0x30, subject));
        wrap(0x30, &wrap(0x30, &tbs))
    }

    fn name(text: &[u8]) -> Vec<u8> {
        let n = u8::try_from(text.len()).unwrap();
        let mut out = vec![0x31, n + 9, 0x30, n + 7, 6, 3, 0x55, 4, 3, 0x0c, n];
        out.extend(text);
        out
    }

    #[test]
    fn the_common_name_is_found_and_two_are_none() {
        assert_eq!(common_name(&with_subject(&name(b"Qnetd Server"))), Some(SERVER));
        assert_eq!(common_name(&with_subject(&name(b"alpha"))), Some(&b"alpha"[..]));
        let two = [name(b"alpha"), name(b"Qnetd Server")].concat();
        assert_eq!(common_name(&with_subject(&two)), None);
        assert_eq!(common_name(&with_subject(&[])), None);
        let whole = with_subject(&name(b"Qnetd Server"));
        for length in 0..whole.len() {
            assert_eq!(common_name(&whole[..length]), None, "cut off");
        }
    }
}
