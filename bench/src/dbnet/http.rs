//! Posts JSON over one connection that is kept (RFC 9112), as a client of the server does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a server, and the token that it is asked with.
pub struct Client {
    stream: BufReader<TcpStream>,
    address: String,
    token: String,
}

/// A good answer.
pub struct Answer {
    /// Its body.
    pub body: Value,
    /// How long the database took of it, ms, as the server says (`Server-Timing`).
    pub database_ms: Option<f64>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(address: &str, token: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (address, token) = (address.to_owned(), token.to_owned());
        Ok(Self { stream: BufReader::new(stream), address, token })
    }

    /// Posts a body, and reads the answer, which has to be a good one.
    ///
    /// # Errors
    /// The connection breaks, or the answer is a refusal, which is told.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<Answer> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let is_good = line.split(' ').nth(1) == Some("200");
        let first = line.trim_end().to_owned();
        let (mut len, mut database_ms) = (0, None);
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    len = value.trim().parse().map_err(io::Error::other)?;
                }
                Some((name, value)) if name.eq_ignore_ascii_case("server-timing") => {
                    let dur = value.trim().strip_prefix("db;dur=").map(str::parse).transpose();
                    database_ms = dur.map_err(io::Error::other)?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = vec![0; len];
        self.stream.read_exact(&mut answer)?;
        if !is_good {
            let said = String::from_utf8_lossy(&answer).into_owned();
            return Err(io::Error::other(format!("{path}: {first}: {said}")));
        }
        let body = serde_json::from_slice(&answer).map_err(io::Error::other)?;
        Ok(Answer { body, database_ms })
    }
}
