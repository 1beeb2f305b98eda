//! An HTTP service in a test's own process, which answers as the test wants it to: in time, late, not at all, or after it has done what it was asked for and broken off.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, PUT, …
    pub method: String,
    /// Path without what follows `?`.
    pub path: String,
    /// By name in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Value>,
}

impl Answer {
    /// An answer without a body.
    pub fn of(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: None }
    }

    /// An answer with one.
    pub fn json(status: u16, body: Value) -> Self {
        Self { body: Some(body), ..Self::of(status) }
    }

    /// With a header.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// How an answer gets to whoever asked.
#[derive(Clone, Debug)]
pub enum Reply {
    /// At once.
    Now(Answer),
    /// After a while.
    Late(Duration, Answer),
    /// Not at all, and the connection stays open for so long.
    Hang(Duration),
    /// The connection is closed instead.
    Close,
}

/// A service that runs as long as the value lives.
pub struct Service {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Service {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// There is no port to be had.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, answer) = (Arc::clone(&is_over), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let answer = Arc::clone(&answer);
                // A client that goes away has no use for an answer.
                std::thread::spawn(move || drop(serve(&stream, &*answer)));
            }
        });
        Self { address, is_over }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Reply) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(request) = read(stream)? else { return Ok(()) };
    match answer(&request) {
        Reply::Now(answer) => write(stream, &answer),
        Reply::Late(after, answer) => {
            std::thread::sleep(after);
            write(stream, &answer)
        }
        Reply::Hang(long) => {
            std::thread::sleep(long);
            Ok(())
        }
        Reply::Close => Ok(()),
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body: serde_json::from_slice(&body).ok() }))
}

fn write(mut stream: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    let body = answer.body.as_ref().map_or_else(String::new, Value::to_string);
    let mut text = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, body.len());
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("Content-Type: application/json\r\nConnection: close\r\n\r\n");
    text.push_str(&body);
    stream.write_all(text.as_bytes())
}

/// What a device does with a change beside making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers as it should.
    None,
    /// It makes the change and answers too late.
    Late(Duration),
    /// It hangs and makes no change.
    Hang(Duration),
    /// It makes the change and closes the connection.
    DoneAndGone,
    /// It makes the change and says that it failed.
    DoneAndFailed,
    /// It makes no change and says that it did.
    Lie,
    /// It is away: the connection is closed.
    Away,
}

/// A device that keeps the last generation of each object, and ignores what is not newer.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// By path: the generation, and the state.
    pub objects: BTreeMap<String, (u64, Option<Value>)>,
    /// Changes that were made: path and generation.
    pub effects: Vec<(String, u64)>,
    /// Changes that were asked for.
    pub asked: usize,
}

impl Device {
    /// A service in front of a device; `fault` says what goes wrong with a change.
    pub fn serve(
        device: &Arc<Mutex<Self>>,
        fault: impl Fn(&Request) -> Fault + Send + Sync + 'static,
    ) -> Service {
        let device = Arc::clone(device);
        Service::start(move |request| {
            let fault = if request.method == "GET" { Fault::None } else { fault(request) };
            match fault {
                Fault::Away => return Reply::Close,
                Fault::Hang(long) => return Reply::Hang(long),
                _ => {}
            }
            let mut device = device.lock().expect("no test panics here");
            let answer = device.answer(request, fault == Fault::Lie);
            match fault {
                Fault::Late(after) => Reply::Late(after, answer),
                Fault::DoneAndGone => Reply::Close,
                Fault::DoneAndFailed => Reply::Now(Answer::json(500, json!({"error": "it broke"}))),
                _ => Reply::Now(answer),
            }
        })
    }

    fn answer(&mut self, request: &Request, is_lie: bool) -> Answer {
        let (known, state) = self.objects.get(&request.path).cloned().unwrap_or((0, None));
        let generation = "X-Wiretable-Generation";
        if request.method == "GET" {
            return match state {
                Some(state) => Answer::json(200, state),
                None => Answer::of(404),
            }
            .with(generation, known);
        }
        self.asked += 1;
        let asked = request.headers.get("x-wiretable-generation").and_then(|g| g.parse().ok());
        let asked: u64 = asked.unwrap_or(0);
        if asked <= known {
            return Answer::of(409).with(generation, known);
        }
        let wanted = request.body.clone().filter(|_| request.method == "PUT");
        if !is_lie {
            self.objects.insert(request.path.clone(), (asked, wanted.clone()));
            self.effects.push((request.path.clone(), asked));
        }
        match wanted {
            Some(state) => Answer::json(200, state),
            None => Answer::of(204),
        }
        .with(generation, asked)
    }

    /// The state of an object.
    pub fn state(&self, path: &str) -> Option<Value> {
        self.objects.get(path).and_then(|(_, state)| state.clone())
    }

    /// A change that was made twice, or after a newer one.
    pub fn repeated(&self) -> Option<(String, u64)> {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        self.effects
            .iter()
            .find(|(path, generation)| {
                let before = newest.insert(path, *generation);
                before.is_some_and(|before| before >= *generation)
            })
            .cloned()
    }
}
