//! Connections of clients, in TLS or without. A client that takes its time over a handshake is in nobody's way, and a certificate that is replaced on
//! disk is the server's from the next connection on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::tls::{TlsError, certificates, private_key, provider};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way; further connections wait.
const HANDSHAKES_MAX: usize = 256;
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a listener rests that has no more descriptors.
const REST: Duration = Duration::from_millis(100);

/// A server's certificate and key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, then those that issued it (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

impl Identity {
    /// Reads both.
    ///
    /// # Errors
    /// As [`TlsError`] says.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        let pair = |source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
        let mut config =
            builder.with_no_client_auth().with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// When the files were changed last.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| std::fs::metadata(path).ok()?.modified().ok())
    }
}

/// Connections without TLS.
pub(super) struct Plain(pub(super) TcpListener);

impl Listener for Plain {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        next(&self.0).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The next connection.
async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are written whole.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                // A client that has gone already costs nothing; without descriptors, some have to end first.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// Connections in TLS.
pub(super) struct Secret {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Secret {
    /// Takes connections of a listener, as this identity. What takes them ends with the value.
    pub(super) fn new(
        listener: TcpListener,
        identity: Identity,
        config: Arc<ServerConfig>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(1);
        let current = Arc::new(Mutex::new(config));
        let reloading = tokio::spawn(reload(identity, Arc::clone(&current)));
        tokio::spawn(async move {
            let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
            loop {
                let permit = Arc::clone(&handshakes).acquire_owned();
                let (stream, peer) = tokio::select! {
                    next = next(&listener) => next,
                    () = sender.closed() => break,
                };
                let Ok(permit) = permit.await else { break };
                let config = Arc::clone(&current.lock().unwrap_or_else(PoisonError::into_inner));
                let sender = sender.clone();
                tokio::spawn(async move {
                    let handshake = TlsAcceptor::from(config).accept(stream);
                    // Whoever cannot agree with us on TLS has been told so, in TLS.
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
                        drop(permit);
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
            reloading.abort();
        });
        Ok(Self { address, ready })
    }
}

impl Listener for Secret {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // What takes connections lasts as long as this value.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Takes over what is on disk once it has changed, if it is whole; else what was there stays, and the reason is said.
async fn reload(identity: Identity, current: Arc<Mutex<Arc<ServerConfig>>>) {
    let mut known = identity.changed();
    loop {
        tokio::time::sleep(LOOK).await;
        let now = identity.changed();
        if now == known {
            continue;
        }
        known = now;
        match identity.load() {
            Ok(config) => {
                *current.lock().unwrap_or_else(PoisonError::into_inner) = config;
                eprintln!("wiretable: {} is in use", identity.certificate.display());
            }
            Err(error) => {
                eprintln!("wiretable: the certificate before stays in use: {error}");
            }
        }
    }
}
