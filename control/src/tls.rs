//! TLS: what both ends of it have in common. The cryptography is that of `ring`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a key or a certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is nothing of the kind in it.
    #[error("{} has no {what} in PEM\n  help: it is a text with -----BEGIN {begin}-----", path.display())]
    Empty {
        /// What it should have.
        what: &'static str,
        /// How such a thing begins.
        begin: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("{what} {} is damaged: {why}", path.display())]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Key and certificate do not go together, or are not understood.
    #[error("{} and {} do not make a server: {source}\n  help: the key has to be that of the first certificate", certificate.display(), key.display())]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// What encrypts.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a file, at least one.
///
/// # Errors
/// As [`TlsError`] says.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let text = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| damaged(what, path, &error))?;
    match found.is_empty() {
        true => Err(TlsError::Empty { what, begin: "CERTIFICATE", path: path.to_owned() }),
        false => Ok(found),
    }
}

/// The private key of a file.
///
/// # Errors
/// As [`TlsError`] says.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let what = "private key";
    let text = read(what, path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            TlsError::Empty { what, begin: "PRIVATE KEY", path: path.to_owned() }
        }
        error => damaged(what, path, &error),
    })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
}

fn damaged(what: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Damaged { what, path: path.to_owned(), why: error.to_string() }
}
