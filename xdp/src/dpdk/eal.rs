//! DPDK's environment (EAL) in this process, and the thread that has its ports.

use std::ffi::CString;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use wt_engine::live::processors;

use super::device::{Memory, eal_arguments};
use super::sys::{self, Stamps, Stats};
use super::{Device, DpdkError};
use crate::host;

/// Bytes of a buffer for a packet of usual size, with what DPDK keeps beside it.
const BUFFER_BYTES: u64 = 2560;
/// Fewest and most buffers of a queue: twice as many as lie in a card's queue, and one less than a power of two.
const BUFFERS: std::ops::RangeInclusive<u64> = 8191..=(1 << 20) - 1;
/// What DPDK needs beside the buffers.
const BESIDE_BYTES: u64 = 64 << 20;

/// Whether the EAL was started in this process.
static IS_STARTED: AtomicBool = AtomicBool::new(false);

/// What the thread that has the ports is asked for.
enum Order {
    Open { device: Box<Device>, shape: Shape, reply: SyncSender<Result<Port, DpdkError>> },
    Close { port: Port, reply: SyncSender<io::Result<()>> },
}

/// What a port is opened with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// So many, from the first one on.
    pub(super) queues: u16,
    /// Of each queue.
    pub(super) buffers: u32,
    pub(super) is_promiscuous: bool,
}

/// A port that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    pub(super) number: u16,
    queues: u16,
    is_virtual: bool,
    pub(super) stamps: Stamps,
    /// What its driver had counted before.
    pub(super) before: Stats,
}

/// DPDK, started. A thread of its own opens and closes ports, so that only that thread has to keep the privileges which drivers need for both; whoever
/// receives packets needs none. It ends with its owner, when all ports are closed.
pub struct Eal {
    orders: Mutex<Option<Sender<Order>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    memory: Memory,
}

impl Eal {
    /// Starts DPDK for these devices, with so many bytes of buffers for each, and `further` arguments for the EAL.
    ///
    /// # Errors
    /// The EAL refuses, or was started before.
    pub fn start(
        devices: &[Device],
        ring_bytes: u64,
        further: &[String],
    ) -> Result<Arc<Self>, DpdkError> {
        if let Some(word) = further.iter().find(|word| matches!(word.as_str(), "-h" | "--help")) {
            return Err(DpdkError::Argument { word: word.clone() });
        }
        let needed = devices.iter().map(|device| {
            let queues = u64::from(device.queues());
            queues * (u64::from(buffers(ring_bytes, device.queues())) + 1) * BUFFER_BYTES
        });
        let needed = needed.sum::<u64>() + BESIDE_BYTES;
        let free = host::host().huge_pages.map_or(0, |pages| pages.free * pages.bytes);
        let is_huge = free >= needed && !further.iter().any(|word| word == "--no-huge");
        let memory =
            if is_huge { Memory::Huge } else { Memory::Ordinary(needed.div_ceil(1 << 20)) };
        let arguments = eal_arguments(devices, &processors(), memory, further);
        let told = arguments[1..].join(" ");
        let in_c =
            |word: String| CString::new(word.clone()).map_err(|_| DpdkError::Argument { word });
        let arguments = arguments.into_iter().map(in_c).collect::<Result<Vec<_>, _>>()?;
        if IS_STARTED.swap(true, Ordering::Relaxed) {
            return Err(DpdkError::Again);
        }
        let (orders, ordered) = mpsc::channel();
        let (say, started) = mpsc::sync_channel(1);
        let keeper = thread::Builder::new()
            .name("dpdk".to_owned())
            .spawn(move || keep(arguments, &say, &ordered))
            .map_err(|source| DpdkError::Keeper { source })?;
        let eal =
            Self { orders: Mutex::new(Some(orders)), keeper: Mutex::new(Some(keeper)), memory };
        let started = started.recv().map_err(|_| gone())?;
        started.map_err(|(source, log)| DpdkError::Init { source, log, arguments: told })?;
        Ok(Arc::new(eal))
    }

    /// Whether its buffers lie in huge pages.
    pub fn has_huge_pages(&self) -> bool {
        self.memory == Memory::Huge
    }

    /// Takes what DPDK has logged so far, the last lines of it.
    pub fn log(&self) -> Vec<String> {
        sys::take_log()
    }

    pub(super) fn open(&self, device: &Device, shape: Shape) -> Result<Port, DpdkError> {
        let device = Box::new(device.clone());
        self.ask(|reply| Order::Open { device, shape, reply })?
    }

    pub(super) fn close(&self, port: Port) -> io::Result<()> {
        let closed = self.ask(|reply| Order::Close { port, reply });
        closed.map_err(io::Error::other)?
    }

    fn ask<T>(&self, order: impl FnOnce(SyncSender<T>) -> Order) -> Result<T, DpdkError> {
        let (reply, replied) = mpsc::sync_channel(1);
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = orders.as_ref().is_some_and(|orders| orders.send(order(reply)).is_ok());
        drop(orders);
        if !sent {
            return Err(gone());
        }
        replied.recv().map_err(|_| gone())
    }
}

impl Drop for Eal {
    fn drop(&mut self) {
        drop(self.orders.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            // A panic of it has been told; ports of it are closed by the end of the process.
            let _ = keeper.join();
        }
    }
}

/// Buffers of each of so many queues that share a ring of so many bytes.
pub(super) fn buffers(ring_bytes: u64, queues: u16) -> u32 {
    let wanted = (ring_bytes / BUFFER_BYTES / u64::from(queues.max(1)))
        .clamp(*BUFFERS.start(), *BUFFERS.end());
    // Pools of buffers are fullest at one less than a power of two.
    ((1 << (wanted + 1).ilog2()) - 1) as u32
}

fn gone() -> DpdkError {
    DpdkError::Keeper { source: io::ErrorKind::BrokenPipe.into() }
}

/// The thread that has the ports.
fn keep(
    arguments: Vec<CString>,
    say: &SyncSender<Result<(), (io::Error, Vec<String>)>>,
    orders: &Receiver<Order>,
) {
    let started = sys::init(arguments);
    let is_started = started.is_ok();
    // Who asked waits for this.
    let _ = say.send(started.map_err(|error| (error, sys::take_log())));
    if !is_started {
        return;
    }
    // Replies to those who have gone are nobody's.
    for order in orders {
        match order {
            Order::Open { device, shape, reply } => drop(reply.send(open(device, shape))),
            Order::Close { port: Port { number, queues, is_virtual, .. }, reply } => {
                drop(reply.send(sys::close(number, queues, is_virtual)));
            }
        }
    }
    sys::cleanup();
}

fn open(device: Box<Device>, shape: Shape) -> Result<Port, DpdkError> {
    let in_c =
        |word: &str| CString::new(word).map_err(|_| DpdkError::Argument { word: word.to_owned() });
    let (text, name) = (in_c(&device.to_string())?, in_c(device.name())?);
    let number = match sys::probe(&text, &name) {
        Ok(number) => number,
        Err(source) => return Err(DpdkError::Probe { device, source, log: sys::take_log() }),
    };
    let before = sys::stats(number).unwrap_or_default();
    let is_virtual = !device.is_pci();
    let Shape { queues, buffers, is_promiscuous } = shape;
    if let Err((step, source)) = sys::start(number, queues, buffers, is_virtual, is_promiscuous) {
        let log = sys::take_log();
        // It was not started; its device is let go all the same.
        let _ = sys::close(number, queues, is_virtual);
        return Err(DpdkError::Start { device, step, source, log });
    }
    Ok(Port { number, queues, is_virtual, stamps: sys::stamps(), before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_hold_one_less_than_a_power_of_two() {
        assert_eq!(buffers(16 << 20, 1), 8191);
        assert_eq!(buffers(64 << 20, 1), 16_383);
        assert_eq!(buffers(64 << 20, 8), 8191);
        assert_eq!(buffers(u64::MAX, 1), (1 << 20) - 1);
    }
}
