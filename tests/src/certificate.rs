//! A certificate for HTTPS on this machine, for `localhost` and `127.0.0.1`, good for one test. Out: a file that functions serve
//! with and clients trust.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::scratch::Scratch;

/// Its files are removed with the value.
#[derive(Debug)]
pub struct Certificate {
    scratch: Scratch,
}

impl Certificate {
    pub fn new() -> Result<Self> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)?;
        let certificate = Self {
            scratch: Scratch::new()?,
        };
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        std::fs::write(certificate.path(), pem)?;
        Ok(certificate)
    }

    /// The certificate and its key, PEM.
    pub fn path(&self) -> PathBuf {
        self.scratch.join("certificate.pem")
    }

    /// Has a function serve with it, see `tests/functions/CONTRACT.md`.
    pub fn variable(&self) -> (String, String) {
        ("CERTIFICATE".to_owned(), self.path().display().to_string())
    }

    /// For a client that trusts nobody else. It offers no protocol besides HTTP/1.1.
    pub fn trusted(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(self.path()).context("a certificate")?;
        roots.add(certificate)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_root_certificates(roots);
        Ok(Arc::new(config.with_no_client_auth()))
    }
}
