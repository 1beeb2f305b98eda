//! Devices as users of DPDK write them: `net_pcap0,iface=eth0`, `0000:01:00.0`.

use std::fmt;

/// A device, and its driver's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    name: String,
    arguments: String,
    is_pci: bool,
}

impl Device {
    /// Reads a device: a PCI address or the name of a virtual device, and behind a comma what its driver is told.
    pub fn parse(text: &str) -> Self {
        let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
        let is_pci = is_pci(name);
        // The domain may be left out, but not where a port is looked for by its device.
        let is_short = is_pci && name.matches(':').count() == 1;
        let name = if is_short { format!("0000:{name}") } else { name.to_owned() };
        Self { name, arguments: arguments.to_owned(), is_pci }
    }

    /// Its name, by which a port is found.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is on the PCI bus, rather than made by DPDK.
    pub fn is_pci(&self) -> bool {
        self.is_pci
    }

    /// The driver of a virtual device: its name without the number.
    pub fn driver(&self) -> Option<&str> {
        (!self.is_pci).then(|| self.name.trim_end_matches(|c: char| c.is_ascii_digit()))
    }

    /// Values of one of its arguments.
    fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let pairs = self.arguments.split(',').filter_map(|pair| pair.split_once('='));
        pairs.filter(move |(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The kernel's interface that it takes packets from.
    pub fn interface(&self) -> Option<&str> {
        ["iface", "rx_iface", "rx_iface_in"].into_iter().find_map(|key| self.values(key).next())
    }

    /// The capture that it reads, packet by packet with the stamps that they have there.
    pub fn capture(&self) -> Option<&str> {
        let repeats = self.values("infinite_rx").any(|value| value != "0");
        self.values("rx_pcap").next().filter(|_| !repeats)
    }

    /// How many queues packets come by: as many as a virtual device was made with. A card spreads packets over queues only when it is told to.
    pub(super) fn queues(&self) -> u16 {
        match self.driver() {
            Some("net_af_xdp") => {
                self.values("queue_count").next().and_then(|n| n.parse().ok()).unwrap_or(1)
            }
            Some("net_pcap") => {
                let keys = ["rx_pcap", "rx_iface", "rx_iface_in", "iface"];
                let sources = keys.map(|key| self.values(key).count());
                sources.iter().sum::<usize>().clamp(1, usize::from(u16::MAX)) as u16
            }
            _ => 1,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arguments.as_str() {
            "" => f.write_str(&self.name),
            arguments => write!(f, "{},{arguments}", self.name),
        }
    }
}

/// Whether a text is a PCI address: `0000:01:00.0`, or without its domain.
fn is_pci(text: &str) -> bool {
    let is_hex = |part: &str, digits: usize| {
        (1..=digits).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let Some((rest, function)) = text.rsplit_once('.') else { return false };
    let parts: Vec<&str> = rest.split(':').collect();
    let is_path = match parts[..] {
        [bus, slot] => is_hex(bus, 2) && is_hex(slot, 2),
        [domain, bus, slot] => is_hex(domain, 8) && is_hex(bus, 2) && is_hex(slot, 2),
        _ => false,
    };
    is_path && is_hex(function, 1)
}

/// The memory that the EAL takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Huge pages, as many as are needed.
    Huge,
    /// Ordinary pages, so many MiB.
    Ordinary(u64),
}

/// Arguments of the EAL for these devices, on these processors. What the user has said of a matter takes the place of what we say of it.
pub(super) fn eal_arguments(
    devices: &[Device],
    processors: &[usize],
    memory: Memory,
    further: &[String],
) -> Vec<String> {
    let is_said = |names: &[&str]| {
        further.iter().any(|word| {
            names.iter().any(|name| {
                let rest = word.strip_prefix(name);
                let is_long = name.starts_with("--");
                rest.is_some_and(|rest| !is_long || rest.is_empty() || rest.starts_with('='))
            })
        })
    };
    let mut all = vec!["wiretable".to_owned()];
    let mut say = |words: &[&str]| all.extend(words.iter().map(|word| (*word).to_owned()));
    if !is_said(&["--lcores", "-l", "-c"]) {
        // One of its threads, which may run wherever this process may.
        let list: Vec<String> = processors.iter().map(usize::to_string).collect();
        say(&["--lcores", &format!("0@({})", list.join(","))]);
    }
    if !is_said(&["--log-level"]) {
        say(&["--log-level=warning"]);
    }
    if !is_said(&["--telemetry"]) {
        say(&["--no-telemetry"]);
    }
    // Nothing is shared with other programs of DPDK, so nothing of it lies in files.
    match memory {
        Memory::Huge
            if is_said(&["--in-memory", "--legacy-mem", "--file-prefix", "--no-shconf"]) => {}
        Memory::Huge => say(&["--in-memory"]),
        Memory::Ordinary(mib) => {
            say(&["--no-huge", "--no-shconf"]);
            if !is_said(&["-m", "--socket-mem"]) {
                say(&["-m", &mib.to_string()]);
            }
            if !is_said(&["--iova-mode"]) {
                say(&["--iova-mode=va"]);
            }
        }
    }
    let cards: Vec<String> =
        devices.iter().filter(|device| device.is_pci).map(Device::to_string).collect();
    if cards.is_empty() && !is_said(&["-a", "--allow", "-b", "--block", "-w"]) {
        say(&["--no-pci"]);
    }
    for card in &cards {
        say(&["-a", card]);
    }
    let ours = ["--no-huge", "--no-shconf", "--no-pci", "--no-telemetry"];
    let is_new = |word: &&String| !ours.contains(&word.as_str()) || !all.contains(word);
    let further: Vec<String> = further.iter().filter(is_new).cloned().collect();
    all.extend(further);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_dpdk_writes_them() {
        let pcap = Device::parse("net_pcap0,rx_pcap=a.pcap,rx_pcap=b.pcap");
        assert_eq!((pcap.name(), pcap.driver()), ("net_pcap0", Some("net_pcap")));
        assert_eq!((pcap.capture(), pcap.queues(), pcap.is_pci()), (Some("a.pcap"), 2, false));
        assert_eq!(Device::parse("net_pcap1,rx_pcap=a.pcap,infinite_rx=1").capture(), None);
        let xdp = Device::parse("net_af_xdp0,iface=eth0,queue_count=4");
        assert_eq!(
            (xdp.driver(), xdp.interface(), xdp.queues()),
            (Some("net_af_xdp"), Some("eth0"), 4)
        );
        assert_eq!(Device::parse("net_null0").to_string(), "net_null0");
        for (text, name) in [("01:00.0", "0000:01:00.0"), ("0000:81:00.1,a=1", "0000:81:00.1")] {
            let card = Device::parse(text);
            assert_eq!((card.name(), card.is_pci(), card.driver()), (name, true, None), "{text}");
        }
        for text in ["eth0", "eth0.7", "net_null0", "1:2:3:4.0", "", "gg:00.0", "0000:01:00."] {
            assert!(!Device::parse(text).is_pci(), "{text}");
        }
    }

    #[test]
    fn the_eal_is_told_what_the_user_says_in_place_of_ours() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let told = |device: &str, memory, further: &str| {
            eal_arguments(&[Device::parse(device)], &[0, 1], memory, &words(further)).join(" ")
        };
        assert_eq!(
            told("net_null0", Memory::Ordinary(96), ""),
            "wiretable --lcores 0@(0,1) --log-level=warning --no-telemetry --no-huge --no-shconf -m 96 --iova-mode=va --no-pci"
        );
        assert_eq!(
            told("01:00.0,x=1", Memory::Huge, "-l 3 --log-level debug --file-prefix wt"),
            "wiretable --no-telemetry -a 0000:01:00.0,x=1 -l 3 --log-level debug --file-prefix wt"
        );
        assert_eq!(
            told("net_null0", Memory::Ordinary(96), "-m 512 --no-huge --telemetry"),
            "wiretable --lcores 0@(0,1) --log-level=warning --no-huge --no-shconf --iova-mode=va --no-pci -m 512 --telemetry"
        );
    }
}
