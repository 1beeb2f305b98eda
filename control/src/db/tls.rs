//! TLS to Postgres, as the URL asks for it (libpq's `sslmode` and `sslrootcert`).
//!
//! | sslmode | encrypts | knows whom it speaks with |
//! |---|---|---|
//! | `disable` | no | no |
//! | `prefer` (default) | where the server does | no |
//! | `require` | yes | no |
//! | `verify-full` | yes | the server's certificate has been issued by one of `sslrootcert`, and to the host of the URL |
//!
//! Over a socket of the host nothing is encrypted, whatever the mode.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::tls::{certificates, provider};

/// Where distributions keep the certificates that they trust.
const SYSTEM: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// What a URL says about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// None.
    Disable,
    /// If the server has it.
    Prefer,
    /// Encryption, with anybody.
    Require,
    /// Encryption, with the host of the URL.
    VerifyFull,
}

/// Takes what is about TLS out of a URL: what is left of it, the mode, and where the trusted certificates are.
///
/// # Errors
/// What is wrong, in words.
pub fn take(url: &str) -> Result<(String, Mode, Option<PathBuf>), String> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots, mut rest) = (Mode::Prefer, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => {
                mode = match value {
                    "disable" => Mode::Disable,
                    "prefer" => Mode::Prefer,
                    "require" => Mode::Require,
                    "verify-full" => Mode::VerifyFull,
                    other => {
                        return Err(format!(
                            "sslmode={other} is not supported; there are disable, prefer, require (encrypts, with anybody) and verify-full"
                        ));
                    }
                }
            }
            Some(("sslrootcert", value)) => roots = Some(PathBuf::from(decoded(value))),
            Some((name @ ("sslcert" | "sslkey" | "sslcrl" | "sslpassword"), _)) => {
                return Err(format!(
                    "{name} is not supported: log in with a password, and check the server with sslmode=verify-full and sslrootcert"
                ));
            }
            _ => rest.push(pair),
        }
    }
    if roots.is_some() && mode != Mode::VerifyFull {
        return Err("sslrootcert is for sslmode=verify-full; other modes check nothing".to_owned());
    }
    let rest = rest.join("&");
    let url = if rest.is_empty() { place.to_owned() } else { format!("{place}?{rest}") };
    Ok((url, mode, roots))
}

/// A value of a URL without its escapes (RFC 3986, §2.1).
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = rest.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Makes connections to Postgres secret.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// As the mode says; `roots` is a file of certificates, `system` for those of the distribution, or that of libpq's default.
    ///
    /// # Errors
    /// There are no certificates to trust, in words.
    pub fn new(mode: Mode, roots: Option<&Path>) -> Result<Self, String> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let builder = match mode {
            Mode::VerifyFull => builder.with_root_certificates(trusted(roots)?),
            _ => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
        };
        Ok(Self(Arc::new(builder.with_no_client_auth())))
    }
}

fn trusted(roots: Option<&Path>) -> Result<RootCertStore, String> {
    let path = match roots {
        Some(path) if path == Path::new("system") => {
            let known = SYSTEM.iter().map(Path::new).find(|path| path.is_file());
            let known = known.ok_or_else(|| {
                format!(
                    "this system has no list of trusted certificates at {}",
                    SYSTEM.join(" or ")
                )
            })?;
            known.to_owned()
        }
        Some(path) => path.to_owned(),
        None => {
            let home = std::env::var_os("HOME").unwrap_or_default();
            let usual = Path::new(&home).join(".postgresql/root.crt");
            std::env::var_os("PGSSLROOTCERT").map_or(usual, PathBuf::from)
        }
    };
    let found = certificates(&path).map_err(|error| {
        format!("sslmode=verify-full needs certificates to trust: {error}; name a file with sslrootcert=FILE, or sslrootcert=system")
    })?;
    let mut store = RootCertStore::empty();
    let (taken, _) = store.add_parsable_certificates(found);
    match taken {
        0 => {
            Err(format!("no certificate of {} can be trusted: none is understood", path.display()))
        }
        _ => Ok(store),
    }
}

/// Takes any certificate: encryption against those who listen, not against those who stand between.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes one connection secret.
pub struct Connect {
    config: Arc<ClientConfig>,
    host: String,
}

/// A connection that is secret.
pub struct Secret<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Secret<S>;
    type TlsConnect = Connect;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Connect, InvalidDnsNameError> {
        Ok(Connect { config: Arc::clone(&self.0), host: host.to_owned() })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connect {
    type Stream = Secret<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secret<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            // Sockets of the host come here without a name, and never get as far as a handshake.
            let host = ServerName::try_from(self.host).map_err(io::Error::other)?;
            TlsConnector::from(self.config).connect(host, stream).await.map(Secret)
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Secret<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secret<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secret<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says_about_tls_is_taken_out_of_it() {
        let (url, mode, roots) =
            take("postgres://u@h/d?sslmode=verify-full&port=1&sslrootcert=/a%20b/c.pem").unwrap();
        assert_eq!((&*url, mode), ("postgres://u@h/d?port=1", Mode::VerifyFull));
        assert_eq!(roots, Some(PathBuf::from("/a b/c.pem")));
        let (url, mode, roots) = take("postgres://u@h/d").unwrap();
        assert_eq!((&*url, mode, roots), ("postgres://u@h/d", Mode::Prefer, None));
        for (url, why) in [
            ("postgres://u@h/d?sslmode=verify-ca", "verify-full"),
            ("postgres://u@h/d?sslmode=require&sslrootcert=x", "is for sslmode=verify-full"),
            ("postgres://u@h/d?sslkey=x", "sslkey is not supported"),
        ] {
            let said = take(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        }
    }

    #[test]
    fn escapes_are_undone_and_what_is_none_is_left() {
        assert_eq!(decoded("%2Fa%20b%zz%4"), "/a b%zz%4");
    }

    #[test]
    fn there_must_be_something_to_trust() {
        let said = Tls::new(Mode::VerifyFull, Some(Path::new("/nowhere.pem"))).unwrap_err();
        assert!(said.contains("/nowhere.pem") && said.contains("sslrootcert=system"), "{said}");
        assert!(Tls::new(Mode::Require, None).is_ok());
    }
}
