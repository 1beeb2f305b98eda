//! The drivers, one file each.

mod appliance;
mod applied;
mod http;
mod kubernetes;
mod linux;
mod process;
mod web;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::http::HttpConfig;
pub use self::kubernetes::KubernetesConfig;
use super::driver::Driver;

/// What drivers need to know beside the allow-list.
#[derive(Clone, Debug, Default)]
pub struct DriverConfig {
    /// The folder of the sockets of live runs that appliances are named after [default: that of this user].
    pub appliances: Option<PathBuf>,
    /// Where generations of devices are kept that keep none themselves.
    pub state: PathBuf,
    /// What is called over HTTP.
    pub http: HttpConfig,
    /// What of Kubernetes is called.
    pub kubernetes: KubernetesConfig,
}

/// The drivers of a proxy.
pub struct Drivers {
    appliance: Arc<appliance::Appliance>,
    linux: Arc<linux::Linux>,
    http: Arc<http::Http>,
    kubernetes: Arc<kubernetes::Kubernetes>,
}

impl Drivers {
    /// All of them.
    pub fn new(config: &DriverConfig) -> Self {
        Self {
            appliance: Arc::new(appliance::Appliance::new(config.appliances.clone())),
            linux: Arc::new(linux::Linux::new(config.state.clone())),
            http: Arc::new(http::Http::new(config.http.clone())),
            kubernetes: Arc::new(kubernetes::Kubernetes::new(config.kubernetes.clone())),
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(super) fn of(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        match name {
            "appliance" => Ok(Arc::clone(&self.appliance) as Arc<dyn Driver>),
            "linux" => Ok(Arc::clone(&self.linux) as Arc<dyn Driver>),
            "http" => Ok(Arc::clone(&self.http) as Arc<dyn Driver>),
            "kubernetes" => Ok(Arc::clone(&self.kubernetes) as Arc<dyn Driver>),
            other => Err(format!("this proxy has no driver `{other}`")),
        }
    }
}
