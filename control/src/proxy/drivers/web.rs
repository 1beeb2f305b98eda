//! Calls over HTTP, as the drivers of web services have them in common: bounded in time and size, no redirects, no connection that is used twice.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request};

use crate::proxy::driver::DeviceError;

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What is asked.
pub struct Call<'a> {
    /// GET, PUT, …
    pub method: Method,
    /// Where.
    pub url: &'a str,
    /// Names and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: Option<&'a Value>,
    /// How long it may take.
    pub timeout: Duration,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// Status of HTTP.
    pub status: u16,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    headers: HeaderMap,
}

/// A client. A device whose connection is closed says so at once, and not at the next call.
pub fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .user_agent("wiretable")
        .build();
    config.into()
}

/// Checks a URL that calls go to: plain HTTP, as TLS is not built in; returns it without a slash at its end.
pub fn base(url: &str) -> Result<&str, DeviceError> {
    let plain = url.strip_prefix("http://").filter(|rest| !rest.is_empty());
    match plain {
        Some(rest) if !rest.starts_with('/') && !rest.contains(['?', '#', '@', ' ']) => {
            Ok(url.trim_end_matches('/'))
        }
        None if url.starts_with("https://") => Err(DeviceError::never(format!(
            "`{url}` asks for TLS, which is not built in; put a proxy beside this program (kubectl proxy, stunnel) and name that"
        ))),
        _ => Err(DeviceError::never(format!(
            "target `{url}` is no URL such as http://host:port/path"
        ))),
    }
}

/// As [`base`], of a URL that begins with one of a list, which `section` of the configuration has.
pub fn allowed<'u>(url: &'u str, list: &[String], section: &str) -> Result<&'u str, DeviceError> {
    let base = base(url)?;
    // `http://host` allows neither `http://host.evil` nor `http://host:81`.
    let is_allowed = list.iter().any(|allowed| {
        let rest = base.strip_prefix(allowed.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match is_allowed {
        true => Ok(base),
        false => Err(DeviceError::never(format!(
            "target `{url}` begins with none of [{section}] allow of the proxy's configuration"
        ))),
    }
}

/// Text as a part of a path: everything but unreserved characters is escaped (RFC 3986 §2.3).
pub fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// Calls a service.
///
/// # Errors
/// It is not to be reached, does not answer in time, or breaks off.
pub fn call(agent: &Agent, call: &Call<'_>) -> Result<Answer, DeviceError> {
    let failed =
        |error: ureq::Error| DeviceError::later(format!("{} {}: {error}", call.method, call.url));
    let mut request = Request::builder().method(call.method.clone()).uri(call.url);
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    let body = call.body.map_or_else(String::new, Value::to_string);
    let never = |error: ureq::http::Error| {
        DeviceError::never(format!("{} {}: {error}", call.method, call.url))
    };
    let timeout = Some(call.timeout);
    let mut response = if call.body.is_some() {
        let request = request.body(body).map_err(never)?;
        let request = agent.configure_request(request).timeout_global(timeout).build();
        agent.run(request).map_err(failed)?
    } else {
        let request = request.body(()).map_err(never)?;
        let request = agent.configure_request(request).timeout_global(timeout).build();
        agent.run(request).map_err(failed)?
    };
    let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
    let body = serde_json::from_str(&text.map_err(failed)?).ok();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, body, headers })
}

impl Answer {
    /// Whether it was done.
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }

    /// How long the service asks to be left alone (RFC 9110 §10.2.3), a time of day among that.
    fn retry_after(&self) -> Option<Duration> {
        if let Some(seconds) = self.number("retry-after") {
            return Some(Duration::from_secs(seconds));
        }
        let text = self.headers.get("retry-after")?.to_str().ok()?;
        http_date(text)?.duration_since(SystemTime::now()).ok()
    }

    /// Why it was not done: later, where the status says that it may be then; else never.
    pub fn error(&self, what: &str) -> DeviceError {
        let message = |body: &Value| {
            let text = body.get("message").or(body.get("error")).and_then(Value::as_str);
            text.map(|text| format!(": {}", text.chars().take(300).collect::<String>()))
        };
        let said = self.body.as_ref().and_then(message).unwrap_or_default();
        let why = format!("{what}: status {}{said}", self.status);
        match self.status {
            // Timed out, too early, too many, and what gateways and overloaded servers say.
            408 | 425 | 429 | 500 | 502 | 503 | 504 => {
                DeviceError::Later { why, after: self.retry_after() }
            }
            // Not now: who may what, and what is there, changes.
            401 | 403 | 409 | 412 | 423 => DeviceError::later(why),
            _ => DeviceError::never(why),
        }
    }
}

/// A time as HTTP has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    let words: Vec<&str> = text.split([' ', ':']).filter(|word| !word.is_empty()).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words[..] else { return None };
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = (months.find(month).filter(|at| at % 3 == 0 && month.len() == 3)? / 3) as i64 + 1;
    let number = |text: &str| text.parse::<i64>().ok();
    let (day, year) = (number(day)?, number(year)?);
    // Days since the epoch of a date (Howard Hinnant's algorithm).
    let year_of_march = if month <= 2 { year - 1 } else { year };
    let era = year_of_march.div_euclid(400);
    let year_of_era = year_of_march.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + number(hour)? * 3600 + number(minute)? * 60 + number(second)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_no_way_out() {
        assert_eq!(escaped("web-7.a_b~c"), "web-7.a_b~c");
        assert_eq!(escaped("../x?y=1&z#é"), "..%2Fx%3Fy%3D1%26z%23%C3%A9");
        assert_eq!(base("http://127.0.0.1:8080/api/").unwrap(), "http://127.0.0.1:8080/api");
        for (url, said) in [
            ("https://h", "TLS"),
            ("ftp://h", "no URL"),
            ("http://", "no URL"),
            ("http:///x", "no URL"),
            ("http://user@h", "no URL"),
            ("http://h?x", "no URL"),
        ] {
            let refused = base(url).unwrap_err();
            assert!(matches!(&refused, DeviceError::Never { why } if why.contains(said)), "{url}");
        }
    }

    #[test]
    fn times_of_http_are_read() {
        let seconds = |text: &str| {
            let time = http_date(text)?;
            Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
        };
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("Sun, 06 Mov 1994 08:49:37 GMT"), None);
    }
}
