//! Drives anything that speaks HTTP: PUT brings an object to a state, DELETE removes it, GET says what it is.
//!
//! A target is the URL that paths begin with; it must also begin with one of the proxy's own list (`[http] allow`). The path of an object is `KIND/NAME`, unless the
//! configuration has another for its kind, with `{kind}`, `{name}`, `{device}` and `{gen}` in it.
//!
//! Every change carries `Idempotency-Key: DEVICE/KIND/NAME/GENERATION` and `X-Wiretable-Generation`. A device that keeps generations answers an older one with 409 or
//! 412, and tells the last one it applied in `X-Wiretable-Generation`; one that keeps none sets the same state twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Method;

use super::web::{self, Answer, Call};
use crate::proxy::driver::{Command, DeviceError, Done, Driver, Seen};

const GENERATION: &str = "X-Wiretable-Generation";

/// `[http]` of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// What targets begin with; there are none when this is empty.
    #[serde(default)]
    pub allow: Vec<String>,
    /// By kind of object: its path.
    #[serde(default)]
    pub paths: BTreeMap<String, String>,
}

/// Speaks HTTP with devices.
pub struct Http {
    config: HttpConfig,
    agent: Agent,
}

impl Http {
    /// Calls what the configuration allows.
    pub fn new(config: HttpConfig) -> Self {
        Self { config, agent: web::agent() }
    }

    fn url(
        &self,
        target: &str,
        kind: &str,
        name: &str,
        more: [&str; 2],
    ) -> Result<String, DeviceError> {
        let base = web::allowed(target, &self.config.allow, "http")?;
        let path = self.config.paths.get(kind).map_or("{kind}/{name}", String::as_str);
        let [device, generation] = more;
        let path = path
            .trim_start_matches('/')
            .replace("{kind}", &web::escaped(kind))
            .replace("{name}", &web::escaped(name))
            .replace("{device}", &web::escaped(device))
            .replace("{gen}", generation);
        Ok(format!("{base}/{path}"))
    }

    fn look(&self, url: &str, timeout: Duration) -> Result<(u64, Option<Value>), DeviceError> {
        let call = Call { method: Method::GET, url, headers: &[], body: None, timeout };
        let answer = web::call(&self.agent, &call)?;
        match answer.status {
            404 | 410 => Ok((answer.number(GENERATION).unwrap_or(0), None)),
            _ if answer.is_done() => Ok((
                answer.number(GENERATION).unwrap_or(0),
                Some(answer.body.unwrap_or(Value::Null)),
            )),
            _ => Err(answer.error(&format!("GET {url}"))),
        }
    }
}

impl Driver for Http {
    fn apply(&self, command: &Command, timeout: Duration) -> Result<Done, DeviceError> {
        let Command { device, target, kind, name, generation, body } = command;
        let generation = generation.to_string();
        let url = self.url(target, kind, name, [device, &generation])?;
        let key = command.key();
        let headers = [
            ("Idempotency-Key", key.as_str()),
            (GENERATION, generation.as_str()),
            ("Content-Type", "application/json"),
        ];
        let method = if body.is_some() { Method::PUT } else { Method::DELETE };
        let what = format!("{method} {url}");
        let headers = if body.is_some() { &headers[..] } else { &headers[..2] };
        let call = Call { method, url: &url, headers, body: body.as_ref(), timeout };
        let answer: Answer = web::call(&self.agent, &call)?;
        match answer.status {
            404 | 410 if body.is_none() => Ok(Done { is_new: true, observed: None }),
            // It knows of a newer generation.
            409 | 412 if answer.number(GENERATION) >= Some(command.generation) => {
                Ok(Done { is_new: false, observed: self.look(&url, timeout)?.1 })
            }
            // What it says of itself is worth more than what it was told.
            _ if answer.is_done() => {
                let observed = body.as_ref().map(|asked| answer.body.unwrap_or(asked.clone()));
                Ok(Done { is_new: true, observed })
            }
            _ => Err(answer.error(&what)),
        }
    }

    fn observe(
        &self,
        target: &str,
        kind: &str,
        name: &str,
        timeout: Duration,
    ) -> Result<Seen, DeviceError> {
        let url = self.url(target, kind, name, ["", ""])?;
        let (generation, observed) = self.look(&url, timeout)?;
        Ok(Seen { kind: kind.to_owned(), name: name.to_owned(), generation, observed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_is_called() {
        let config: HttpConfig = toml::from_str(
            "allow = ['http://127.0.0.1:8080/api/']\npaths = { weight = '/nodes/{name}/weight?g={gen}' }",
        )
        .unwrap();
        let http = Http::new(config);
        let url = |target: &str, kind: &str| http.url(target, kind, "a/b", ["lb", "7"]);
        let of = |target: &str, kind: &str| url(target, kind).ok();
        assert_eq!(
            of("http://127.0.0.1:8080/api", "weight").as_deref(),
            Some("http://127.0.0.1:8080/api/nodes/a%2Fb/weight?g=7")
        );
        assert_eq!(
            of("http://127.0.0.1:8080/api/v1/", "pool").as_deref(),
            Some("http://127.0.0.1:8080/api/v1/pool/a%2Fb")
        );
        for target in [
            "http://127.0.0.1:8080/apiary",
            "http://127.0.0.1:80801/api",
            "http://127.0.0.1/api",
            "http://169.254.169.254/latest",
            "https://127.0.0.1:8080/api",
        ] {
            assert!(matches!(url(target, "weight"), Err(DeviceError::Never { .. })), "{target}");
        }
    }
}
