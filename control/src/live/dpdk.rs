//! Opens the interfaces that DPDK captures from, in a build that has it (the feature `dpdk`).

#[cfg(feature = "dpdk")]
pub(super) use present::Ports;

#[cfg(not(feature = "dpdk"))]
pub(super) use absent::Ports;

#[cfg(feature = "dpdk")]
mod present {
    use std::sync::Arc;

    use wt_engine::live::LiveInput;
    use wt_plan::physical::InterfacePlan;
    use wt_xdp::dpdk::{Device, DpdkError, DpdkSource, Eal, Options};
    use wt_xdp::packet_socket::snap_bytes;

    use super::super::LiveInterface;
    use super::super::open::refused;
    use crate::failure::Failure;

    /// DPDK, started for the devices of a run.
    pub(in super::super) struct Ports {
        eal: Arc<Eal>,
        /// What it logs is said.
        is_loud: bool,
    }

    fn failure(error: DpdkError) -> Failure {
        refused(&error, error.hint())
    }

    impl Ports {
        /// Starts DPDK, unless nothing is captured by it.
        pub(in super::super) fn start(
            interfaces: &[&LiveInterface],
            arguments: Option<&str>,
        ) -> Result<Option<Self>, Failure> {
            let Some(most) = interfaces.iter().map(|interface| interface.ring_bytes).max() else {
                return Ok(None);
            };
            let devices: Vec<_> = interfaces.iter().map(|i| Device::parse(&i.device)).collect();
            let further: Vec<String> =
                arguments.unwrap_or("").split_whitespace().map(str::to_owned).collect();
            let eal = Eal::start(&devices, most, &further).map_err(failure)?;
            if !eal.has_huge_pages() && !further.iter().any(|word| word == "--no-huge") {
                eprintln!(
                    "wiretable: DPDK's buffers lie in ordinary memory (--no-huge), as not enough huge pages are free"
                );
            }
            let is_loud = further.iter().any(|word| word.starts_with("--log-level"));
            Ok(Some(Self { eal, is_loud }))
        }

        /// Opens the port of an interface.
        pub(in super::super) fn open(
            &self,
            planned: &InterfacePlan,
            wanted: &LiveInterface,
        ) -> Result<LiveInput, Failure> {
            let options = Options {
                snap_bytes: snap_bytes(&planned.program),
                ring_bytes: wanted.ring_bytes,
                is_promiscuous: wanted.is_promiscuous,
                skew_ns: wanted.skew_ns(),
            };
            let source = DpdkSource::open(&self.eal, Device::parse(&wanted.device), &options);
            let source = source.map_err(failure)?;
            if self.is_loud {
                self.eal.log().iter().for_each(|line| eprintln!("wiretable: DPDK: {line}"));
            }
            Ok(LiveInput {
                interface: wanted.interface.clone(),
                source: Box::new(source),
                cpu: wanted.cpu,
                skew_ns: wanted.skew_ns(),
            })
        }
    }
}

#[cfg(not(feature = "dpdk"))]
mod absent {
    use wt_engine::live::LiveInput;
    use wt_plan::physical::InterfacePlan;

    use super::super::LiveInterface;
    use crate::failure::Failure;

    /// Nothing: this build has no DPDK.
    pub(in super::super) enum Ports {}

    impl Ports {
        /// Refuses to capture by DPDK.
        pub(in super::super) fn start(
            interfaces: &[&LiveInterface],
            _arguments: Option<&str>,
        ) -> Result<Option<Self>, Failure> {
            match interfaces.first() {
                None => Ok(None),
                Some(interface) => Err(Failure::Environment(format!(
                    "`{}` cannot be captured from by DPDK: this build of wiretable has none\n  \
                    help: install DPDK 22.11 or later with its headers (apt-get install libdpdk-dev), then cargo build --release -p wiretable --features dpdk",
                    interface.device
                ))),
            }
        }

        /// There is no port.
        pub(in super::super) fn open(
            &self,
            _planned: &InterfacePlan,
            _wanted: &LiveInterface,
        ) -> Result<LiveInput, Failure> {
            match *self {}
        }
    }
}
