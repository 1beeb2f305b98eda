//! What the kernel's files say of the host.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::CapabilitySet;

use super::{Interrupt, sys};

/// A host, as its kernel describes it. `None` is what it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The kernel's release: `6.1.0-13-amd64`.
    pub release: String,
    /// This process may load and attach XDP programs (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN).
    pub may_attach: bool,
    /// This process may open packet sockets (CAP_NET_RAW).
    pub may_capture: bool,
    /// BPF programs are translated to machine code.
    pub has_bpf_jit: Option<bool>,
    /// The kernel has packet sockets.
    pub has_packet_sockets: bool,
    /// The kernel has AF_XDP sockets.
    pub has_af_xdp: bool,
    /// Cores that run programs.
    pub cores: u32,
    /// Cores that the scheduler leaves alone, as the kernel lists them.
    pub isolated: String,
    /// How the first core's clock is governed.
    pub governor: Option<String>,
    /// What time stamps are read from: `tsc`, `kvm-clock` …
    pub clock: Option<String>,
    /// Pages of the large kind.
    pub huge_pages: Option<HugePages>,
    /// A process that moves interrupts about is running.
    pub has_irqbalance: bool,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Cards that are bound to drivers for DPDK, which the kernel then has no interfaces for.
    pub cards_of_dpdk: Vec<Card>,
}

/// A card on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its address: `0000:01:00.0`.
    pub address: String,
    /// The kernel's driver that it is bound to.
    pub driver: &'static str,
}

/// The kernel's drivers that leave a card to a program.
const DRIVERS_OF_DPDK: [&str; 3] = ["vfio-pci", "igb_uio", "uio_pci_generic"];

impl Host {
    /// The kernel's version: major, minor.
    pub fn version(&self) -> Option<(u32, u32)> {
        version_of(&self.release)
    }
}

/// The version of the kernel that runs: major, minor.
pub fn version() -> Option<(u32, u32)> {
    version_of(&line("/proc/sys/kernel/osrelease")?)
}

/// `6.1.0-13-amd64` → (6, 1).
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Reserved huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Reserved.
    pub total: u64,
    /// Of these, free.
    pub free: u64,
    /// Bytes of each.
    pub bytes: u64,
}

/// Reads the host.
pub fn read() -> Host {
    let have = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let have = have.unwrap_or_else(|_| CapabilitySet::empty());
    // CAP_SYS_ADMIN was all of these before they were told apart, and still is.
    let may_bpf = have.contains(CapabilitySet::SYS_ADMIN)
        || have.contains(CapabilitySet::BPF | CapabilitySet::PERFMON);
    let is_there = |family| match sys::try_socket(family) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() == Some(libc::EPERM),
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Host {
        release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        may_attach: may_bpf && have.contains(CapabilitySet::NET_ADMIN),
        may_capture: have.contains(CapabilitySet::NET_RAW),
        has_bpf_jit: line("/proc/sys/net/core/bpf_jit_enable").map(|v| v != "0"),
        has_packet_sockets: is_there(libc::AF_PACKET),
        has_af_xdp: is_there(libc::AF_XDP),
        cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        isolated: line("/sys/devices/system/cpu/isolated").unwrap_or_default(),
        governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        clock: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        huge_pages: huge_pages(&memory),
        has_irqbalance: runs("irqbalance"),
        memory_bytes: field(&memory, "MemTotal").map(|kib| kib << 10),
        cards_of_dpdk: cards_of_dpdk(Path::new("/sys/bus/pci/drivers")),
    }
}

/// Network cards (class 02) that are bound to drivers for DPDK, by address.
fn cards_of_dpdk(drivers: &Path) -> Vec<Card> {
    let of_driver = |driver: &'static str| {
        let bound = fs::read_dir(drivers.join(driver)).into_iter().flatten().flatten();
        let is_card = |path: &Path| {
            fs::read_to_string(path.join("class")).is_ok_and(|class| class.starts_with("0x02"))
        };
        let bound = bound.filter(move |entry| is_card(&entry.path()));
        bound.filter_map(move |entry| {
            Some(Card { address: entry.file_name().into_string().ok()?, driver })
        })
    };
    let mut cards: Vec<Card> = DRIVERS_OF_DPDK.into_iter().flat_map(of_driver).collect();
    cards.sort_by(|a, b| a.address.cmp(&b.address));
    cards
}

/// The only line of a file.
fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A number of `/proc/meminfo`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn huge_pages(meminfo: &str) -> Option<HugePages> {
    Some(HugePages {
        total: field(meminfo, "HugePages_Total")?,
        free: field(meminfo, "HugePages_Free")?,
        bytes: field(meminfo, "Hugepagesize")? << 10,
    })
}

/// Whether a process of this name runs.
fn runs(name: &str) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_it = |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|c| c.trim() == name);
    entries.map(|entry| entry.path()).any(|path| is_it(&path))
}

/// The memory node that an interface's card is next to.
pub(super) fn node_of(interface: &str) -> Option<u32> {
    let node = line(&format!("/sys/class/net/{interface}/device/numa_node"))?;
    // -1 says that there is none.
    node.parse().ok()
}

/// The last core that this host may have.
///
/// # Errors
/// The kernel does not say.
pub(crate) fn last_core() -> io::Result<u32> {
    // Such as `0-7`, `0` or `0-3,8-11`.
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = possible.trim().rsplit(['-', ',']).next().and_then(|last| last.parse().ok());
    last.ok_or_else(|| io::Error::other(format!("possible processors are {possible:?}")))
}

/// Interrupts of an interface: those whose handlers carry its name, or that its card has. Virtual cards (virtio) have theirs by another name, from the bus.
pub(super) fn interrupts_of(interface: &str) -> Vec<Interrupt> {
    let table = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let device = Path::new("/sys/class/net").join(interface).join("device");
    let of_folder = |folder: &str| -> Vec<u32> {
        let entries = fs::read_dir(device.join(folder)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()?.parse().ok()).collect()
    };
    let is_virtual = fs::read_link(device.join("subsystem")).is_ok_and(|s| s.ends_with("virtio"));
    let of_card = of_folder(if is_virtual { "../msi_irqs" } else { "msi_irqs" });
    let cores = |(number, queue): (u32, Option<u32>)| -> io::Result<Interrupt> {
        let path = format!("/proc/irq/{number}/smp_affinity_list");
        Ok(Interrupt { number, cores: fs::read_to_string(path)?.trim().to_owned(), queue })
    };
    let all = numbers_of(&table, interface, &of_card).into_iter();
    all.filter_map(|interrupt| cores(interrupt).ok()).collect()
}

/// Lines such as ` 27:   0   99  PCI-MSIX-0000:05:00.0  1-edge  eth0-rx-1`: their numbers, and the queues of their handlers. A card may serve several
/// interfaces: where handlers carry names of interfaces, only this one's count.
fn numbers_of(table: &str, interface: &str, of_card: &[u32]) -> Vec<(u32, Option<u32>)> {
    let is_of = |word: &str| {
        word.match_indices(interface).any(|(at, _)| {
            let around = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric());
            let end = at + interface.len();
            around(word[..at].chars().next_back()) && around(word[end..].chars().next())
        })
    };
    let handlers: Vec<(u32, &str)> = table
        .lines()
        .filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            Some((number.trim().parse().ok()?, rest.split_whitespace().next_back()?))
        })
        .collect();
    let of = |is_wanted: &dyn Fn(&(u32, &str)) -> bool| -> Vec<(u32, Option<u32>)> {
        let wanted = handlers.iter().filter(|handler| is_wanted(handler));
        wanted.map(|(number, handler)| (*number, queue_of(handler, interface))).collect()
    };
    let by_name = of(&|(_, handler)| is_of(handler));
    if by_name.is_empty() { of(&|(number, _)| of_card.contains(number)) } else { by_name }
}

/// `eth0-TxRx-3`, `mlx5_comp3@pci:…`, `virtio2-input.3`: 3. A card's only interrupt has the interface's name alone. Others (`virtio2-config`) are of no queue.
fn queue_of(handler: &str, interface: &str) -> Option<u32> {
    if handler == interface {
        return Some(0);
    }
    let name = handler.split('@').next().unwrap_or(handler);
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_those_of_the_interface_alone() {
        let table = "            CPU0  CPU1\n 26:  0  9  PCI-MSI 0-edge  virtio3-config\n 27:  0  9  PCI-MSIX 1-edge  eth1-TxRx-0\n\
                     28:  0  9  PCI-MSIX 1-edge  eth10-TxRx-0\n 29: 1 2 PCI mlx5_comp0@eth1\nNMI:  0  0  Non-maskable interrupts\n";
        let numbers = |interface, of_card: &[u32]| numbers_of(table, interface, of_card);
        assert_eq!(numbers("eth1", &[]), [(27, Some(0)), (29, Some(0))]);
        assert_eq!(numbers("eth10", &[27, 28]), [(28, Some(0))], "its card serves others, too");
        assert_eq!(numbers("eth", &[]), []);
        assert_eq!(numbers("ens5", &[26, 28, 77]), [(26, None), (28, Some(0))]);
    }

    #[test]
    fn interrupts_have_queues() {
        let of = |handler| queue_of(handler, "eth1");
        let names = ["eth1-TxRx-12", "virtio2-input.1", "mlx5_comp3@pci:0000:00:05.0", "eth1"];
        assert_eq!(names.map(of), [Some(12), Some(1), Some(3), Some(0)]);
        assert_eq!(
            ["virtio2-config", "ena-mgmnt@pci:0000:00:05.0", "eth1:misc"].map(of),
            [None; 3]
        );
    }

    #[test]
    fn meminfo_has_numbers() {
        let text = "MemTotal:       24689748 kB\nHugePages_Total:       4\nHugePages_Free:        3\nHugepagesize:       2048 kB\n";
        let pages = huge_pages(text);
        assert_eq!(pages, Some(HugePages { total: 4, free: 3, bytes: 2 << 20 }));
        assert_eq!(field(text, "Mem"), None);
        assert_eq!(huge_pages(""), None);
    }

    #[test]
    fn releases_have_versions() {
        assert_eq!(version_of("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version_of("5.18-rc1"), Some((5, 18)));
        assert_eq!(version_of("generic"), None);
    }

    #[test]
    fn this_host_has_cores_and_a_kernel() {
        let host = read();
        assert!(host.cores > 0 && !host.release.is_empty());
    }
}
