//! Certificates for tests, made by openssl, and a client that looks at them.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::http::{Answer, head};

/// Somebody who issues certificates.
pub struct Authority {
    folder: PathBuf,
    /// Its own certificate.
    pub certificate: PathBuf,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// Runs openssl.
fn openssl(arguments: &[&str]) {
    let mut command = Command::new("openssl");
    let done = command.args(arguments).stdin(Stdio::null()).output();
    let done = done.expect("openssl starts: .ci/setup installs it");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Authority {
    /// Makes one, with its files in a folder.
    ///
    /// # Panics
    /// When openssl is not there.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let (key, certificate) = (folder.join("ca.key"), folder.join("ca.pem"));
        let (key, shown) = (key.display().to_string(), certificate.display().to_string());
        let curve = "ec_paramgen_curve:prime256v1";
        // Each has a name of its own, by which it is looked for.
        let name = format!("/CN={}", folder.file_name().unwrap_or_default().to_string_lossy());
        openssl(&[
            "req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "3", "-subj",
            &name, "-keyout", &key, "-out", &shown,
        ]);
        Self { folder: folder.to_owned(), certificate }
    }

    /// Issues a certificate for names, such as `DNS:localhost,IP:127.0.0.1`, whose time may be over already.
    ///
    /// # Panics
    /// When openssl refuses.
    pub fn issue(&self, file: &str, names: &str, is_over: bool) -> Issued {
        let path = |ending: &str| self.folder.join(format!("{file}.{ending}"));
        let shown = |path: &Path| path.display().to_string();
        let issued = Issued { certificate: path("pem"), key: path("key") };
        let (request, extensions) = (path("csr"), path("ext"));
        let curve = "ec_paramgen_curve:prime256v1";
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            curve,
            "-nodes",
            "-subj",
            "/CN=leaf",
            "-keyout",
            &shown(&issued.key),
            "-out",
            &shown(&request),
        ]);
        fs::write(&extensions, format!("subjectAltName={names}\n")).expect("a file");
        let authority = shown(&self.certificate);
        let key = shown(&self.folder.join("ca.key"));
        let (request, extensions, out) =
            (shown(&request), shown(&extensions), shown(&issued.certificate));
        if is_over {
            // Only `ca` says when a certificate begins and ends.
            let (config, index) = (path("cnf"), path("index"));
            let folder = shown(&self.folder);
            fs::write(&index, "").expect("a file");
            let text = format!(
                "[ca]\ndefault_ca=d\n[d]\ndatabase={}\nrand_serial=yes\nnew_certs_dir={folder}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
                shown(&index)
            );
            fs::write(&config, text).expect("a file");
            let (begin, end) = ("20200101000000Z", "20200102000000Z");
            openssl(&[
                "ca",
                "-batch",
                "-notext",
                "-config",
                &shown(&config),
                "-cert",
                &authority,
                "-keyfile",
                &key,
                "-in",
                &request,
                "-extfile",
                &extensions,
                "-startdate",
                begin,
                "-enddate",
                end,
                "-out",
                &out,
            ]);
        } else {
            openssl(&[
                "x509",
                "-req",
                "-days",
                "2",
                "-in",
                &request,
                "-CA",
                &authority,
                "-CAkey",
                &key,
                "-extfile",
                &extensions,
                "-out",
                &out,
            ]);
        }
        issued
    }
}

/// Asks for a page as somebody who trusts one authority and wants to speak with `name`; the answer, and the certificate that was shown.
///
/// # Errors
/// There is no agreement, or no answer.
///
/// # Panics
/// When the authority's certificate cannot be read.
pub fn get(address: &str, name: &str, trusted: &Path, path: &str) -> io::Result<(Answer, Vec<u8>)> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(trusted).expect("a certificate");
    roots.add(root).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut stream = StreamOwned::new(connection, socket);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let shown = stream.conn.peer_certificates().and_then(<[_]>::first).map(|c| c.to_vec());
    let mut reader = BufReader::new(stream);
    let mut answer = head(&mut reader);
    let length = answer.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    answer.body = vec![0; length];
    reader.read_exact(&mut answer.body)?;
    Ok((answer, shown.unwrap_or_default()))
}
