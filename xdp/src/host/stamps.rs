//! Stamps of the card: whether it gives every packet one, how it is asked to, and how far its clock is from this host's.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use super::{ethtool, sys};

/// HWTSTAMP_FILTER_ALL.
const FILTER_ALL: u32 = 1;

/// Why packets cannot have the card's stamps.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// It gives none, or to some kinds of packets only.
    #[error("the card of `{interface}` does not stamp every packet")]
    NotAll {
        /// The interface.
        interface: String,
    },
    /// It does not do it.
    #[error("the card of `{interface}` cannot be asked to stamp packets: {source}")]
    Refused {
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Its clock shows another time than this host's, by which windows of silent interfaces close.
    #[error("the clock of the card of `{interface}` is {} this host's; at most {} ms are borne", apart(*.offset_ns), .most.as_millis())]
    Apart {
        /// The interface.
        interface: String,
        /// How far it is ahead, ns.
        offset_ns: i128,
        /// How far it may be: the skew of the interface.
        most: Duration,
    },
}

fn apart(offset_ns: i128) -> String {
    let ms = offset_ns.unsigned_abs() as f64 / 1e6;
    format!("{ms:.1} ms {}", if offset_ns < 0 { "behind" } else { "ahead of" })
}

impl StampError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAll { interface } => format!(
                "`ethtool -T {interface}` lists what it stamps (hardware-receive, and the filter all); leave the kernel's stamps (--stamps kernel)"
            ),
            Self::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or with CAP_NET_ADMIN".to_owned()
            }
            Self::Refused { interface, .. } => format!(
                "another program may have set it up (`hwstamp_ctl -i {interface}`); leave the kernel's stamps (--stamps kernel)"
            ),
            Self::Apart { interface, .. } => format!(
                "steer it by this host's: phc2sys -s CLOCK_REALTIME -c {interface} -O 0; or leave the kernel's stamps (--stamps kernel)"
            ),
        }
    }
}

/// Sees whether the card of an interface can stamp every packet by a clock that is at most so far from this host's.
///
/// # Errors
/// [`StampError`].
pub fn check_stamps(interface: &str, most: Duration) -> Result<(), StampError> {
    let name = || interface.to_owned();
    let refused = |source| StampError::Refused { interface: name(), source };
    let socket = sys::driver_socket().map_err(refused)?;
    let stamps = ethtool::Driver { socket: &socket, interface }.stamps();
    let Some(stamps) = stamps.filter(|stamps| stamps.by_card && stamps.of_all) else {
        return Err(StampError::NotAll { interface: name() });
    };
    // A clock that this user may not read is trusted.
    let Some(clock) = stamps.clock.and_then(|number| File::open(format!("/dev/ptp{number}")).ok())
    else {
        return Ok(());
    };
    let card = sys::read_clock(clock.as_fd()).map_err(refused)?;
    let host = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let offset_ns = card.as_nanos() as i128 - host.as_nanos() as i128;
    match offset_ns.unsigned_abs() > most.as_nanos() {
        true => Err(StampError::Apart { interface: name(), offset_ns, most }),
        false => Ok(()),
    }
}

/// Lets the card of an interface stamp every packet that it receives; what it stamps of those that it sends stays. It goes on when the process ends.
///
/// # Errors
/// No such interface, no privilege (CAP_NET_ADMIN), or the card stamps some kinds of packets only (`ERANGE`).
pub(crate) fn stamp_by_card(interface: &str) -> io::Result<()> {
    let socket = sys::driver_socket()?;
    // struct hwtstamp_config: flags, tx_type, rx_filter.
    let mut config = [0_u32; 3];
    // Nobody has set it yet where this fails.
    let _ = sys::stamps(&socket, interface, false, &mut config);
    if config[2] == FILTER_ALL {
        return Ok(());
    }
    config[0] = 0;
    config[2] = FILTER_ALL;
    sys::stamps(&socket, interface, true, &mut config)?;
    // Drivers say what they have made of it.
    match config[2] {
        FILTER_ALL => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::ERANGE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_no_card() {
        let error = check_stamps("lo", Duration::from_secs(1)).unwrap_err();
        assert!(matches!(error, StampError::NotAll { .. }), "{error}");
        assert!(error.hint().contains("ethtool -T lo"), "{}", error.hint());
        assert!(stamp_by_card("lo").is_err());
    }

    #[test]
    fn clocks_that_are_apart_are_told_with_their_distance() {
        let of = |offset_ns| StampError::Apart {
            interface: "eth0".to_owned(),
            offset_ns,
            most: Duration::from_millis(200),
        };
        let ahead = "the clock of the card of `eth0` is 37000.0 ms ahead of this host's; at most 200 ms are borne";
        assert_eq!(of(37_000_000_000).to_string(), ahead);
        assert!(of(-300_000_000).to_string().contains("is 300.0 ms behind this host's"));
        assert!(of(1).hint().contains("phc2sys"));
    }

    #[test]
    fn the_clock_of_a_file_that_is_none_is_an_error() {
        let file = File::open("/dev/null").unwrap();
        assert!(sys::read_clock(file.as_fd()).is_err());
    }
}
