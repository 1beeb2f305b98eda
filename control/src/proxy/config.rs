//! The configuration of `wiretable serve` (TOML): how devices are driven.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{DriverConfig, Drivers, HttpConfig, KubernetesConfig, Settings};
use crate::cli::parse_duration;
use crate::db::connect::DatabaseUrl;
use crate::db::state_folder;
use crate::failure::Failure;
use crate::session::read_text;

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    proxy: ProxyConfig,
    #[serde(default)]
    appliance: ApplianceConfig,
    #[serde(default)]
    http: HttpConfig,
    #[serde(default)]
    kubernetes: KubernetesConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyConfig {
    worker: Option<String>,
    lease: Option<String>,
    poll: Option<String>,
    check: Option<String>,
    timeout: Option<String>,
    calls: Option<usize>,
    calls_per_device: Option<usize>,
    state: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplianceConfig {
    folder: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file; what it does not say has a default, as has all without one.
    pub fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = read_text(path)?;
        let refuse = |why: String| Failure::Input(format!("{}: {why}", path.display()));
        let config: Self = toml::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        config.proxy.checked().map_err(refuse)?;
        Ok(config)
    }

    /// How the proxy of a database works.
    pub fn settings(&self, url: DatabaseUrl) -> Result<Settings, Failure> {
        let times = self.proxy.checked().map_err(Failure::Input)?;
        let Checked { worker, lease, poll, check, timeout, calls } = times;
        Ok(Settings { url, worker, lease, poll, check, timeout, calls })
    }

    /// Its drivers.
    pub fn drivers(&self) -> Drivers {
        let state = self.proxy.state.clone();
        let state =
            state.unwrap_or_else(|| state_folder("devices", "XDG_STATE_HOME", ".local/state"));
        Drivers::new(&DriverConfig {
            appliances: self.appliance.folder.clone(),
            state,
            http: self.http.clone(),
            kubernetes: self.kubernetes.clone(),
        })
    }
}

/// Settings within their bounds.
struct Checked {
    worker: String,
    lease: Duration,
    poll: Duration,
    check: Duration,
    timeout: Duration,
    calls: (usize, usize),
}

impl ProxyConfig {
    fn checked(&self) -> Result<Checked, String> {
        let time = |name: &str, given: &Option<String>, default: Duration, most: Duration| {
            let time = given.as_deref().map_or(Ok(default), parse_duration);
            let time = time.map_err(|why| format!("proxy.{name}: {why}"))?;
            match (Duration::from_millis(50)..=most).contains(&time) {
                true => Ok(time),
                false => Err(format!("proxy.{name} is not from 50ms to {} s", most.as_secs())),
            }
        };
        let count = |name: &str, given: Option<usize>, default: usize| {
            let count = given.unwrap_or(default);
            match (1..=1000).contains(&count) {
                true => Ok(count),
                false => Err(format!("proxy.{name} is not from 1 to 1000")),
            }
        };
        let (seconds, hour) = (Duration::from_secs, Duration::from_secs(3600));
        let worker = self.worker.clone().unwrap_or_else(default_worker);
        if worker.is_empty() || worker.len() > 200 {
            return Err("proxy.worker has not 1 to 200 bytes".to_owned());
        }
        Ok(Checked {
            worker,
            lease: time("lease", &self.lease, seconds(30), hour)?,
            poll: time("poll", &self.poll, seconds(1), hour)?,
            check: time("check", &self.check, seconds(60), seconds(86_400))?,
            timeout: time("timeout", &self.timeout, seconds(10), hour)?,
            calls: (
                count("calls", self.calls, 64)?,
                count("calls_per_device", self.calls_per_device, 4)?,
            ),
        })
    }
}

fn default_worker() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Checked, String> {
        let config: Config = toml::from_str(text).map_err(|e| e.to_string())?;
        config.proxy.checked()
    }

    #[test]
    fn settings_have_defaults_and_bounds() {
        let given = settings("[proxy]\nlease = '5s'\ncalls = 8").unwrap();
        let default = settings("").unwrap();
        assert_eq!((given.lease, given.calls), (Duration::from_secs(5), (8, 4)));
        assert_eq!(default.lease, Duration::from_secs(30));
        assert!(default.worker.ends_with(&std::process::id().to_string()));
        for (text, said) in [
            ("[proxy]\nlease = '1ms'", "proxy.lease is not from"),
            ("[proxy]\npoll = 'often'", "proxy.poll"),
            ("[proxy]\ncalls = 0", "proxy.calls is not"),
            ("[proxy]\nworker = ''", "proxy.worker"),
            ("[proxy]\nworkers = 1", "unknown field"),
        ] {
            let refused = settings(text).err().unwrap_or_default();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
