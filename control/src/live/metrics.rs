//! The books of a live run over HTTP, for Prometheus: `GET /metrics`, nothing else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use wt_engine::live::Handle;

use super::show;
use crate::failure::Failure;

/// Most bytes of a request that are read.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// How long a client may take.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);

/// Serves the books on a thread of its own.
///
/// # Errors
/// The address cannot be listened on.
pub fn serve(address: SocketAddr, handle: Arc<Handle>) -> Result<(), Failure> {
    let failed =
        |e: io::Error| Failure::Environment(format!("cannot serve metrics on {address}: {e}"));
    let listener = TcpListener::bind(address).map_err(failed)?;
    if let (Ok(bound), 0) = (listener.local_addr(), address.port()) {
        eprintln!("wiretable: metrics on http://{bound}/metrics");
    }
    let serve = move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away has no use for an answer.
            let _ = answer(stream, &handle);
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(failed)?;
    Ok(())
}

fn answer(mut stream: TcpStream, handle: &Handle) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut buffer)? {
            0 => break,
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let (status, kind, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", "text/plain; version=0.0.4", show::prometheus(&handle.ledger()))
    } else {
        ("404 Not Found", "text/plain", "only GET /metrics is served\n".to_owned())
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}
