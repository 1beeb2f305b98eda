//! A client of one request for each connection (RFC 9112), as small as tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// A server, and the token that requests carry.
#[derive(Clone, Debug)]
pub struct Http {
    /// ADDRESS:PORT.
    pub address: String,
    /// Sent as a bearer token.
    pub token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Lines of the head behind the first, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// The same server, asked with another token.
    pub fn with(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same server, asked without a token.
    pub fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Sends a request; the connection, with the answer to be read.
    ///
    /// # Panics
    /// When there is no server.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        head += &format!("Content-Length: {}\r\n", body.len());
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        // A server that refuses early does not read all.
        let _ = stream
            .write_all(format!("{head}\r\n").as_bytes())
            .and_then(|()| stream.write_all(body));
        stream
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut reader = BufReader::new(self.begin(method, path, headers, body));
        let mut answer = head(&mut reader);
        match answer.header("content-length") {
            Some(len) => {
                answer.body = vec![0; len.parse().expect("a number")];
                reader.read_exact(&mut answer.body).expect("the whole body");
            }
            None => drop(reader.read_to_end(&mut answer.body).expect("a body")),
        }
        answer
    }

    /// Posts JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("Content-Type", "application/json")],
            body.to_string().as_bytes(),
        )
    }

    /// Gets a page.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }
}

/// Reads the head of an answer.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn head(reader: &mut impl BufRead) -> Answer {
    let mut line = String::new();
    let mut next = || {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    };
    let first = next();
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no answer: `{first}`"));
    let mut headers = Vec::new();
    while let Some((name, value)) = next().split_once(':') {
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    Answer { status, headers, body: Vec::new() }
}

impl Answer {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Fails unless the status is this one.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Fails unless the body says this.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_said(self, text: &str) -> Self {
        assert!(self.text().contains(text), "`{text}` is not said: {}", self.text());
        self
    }
}
