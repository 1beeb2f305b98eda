//! The packets of an interface, receive queue by receive queue, for who keeps all of them: a recorder. A program in the driver gives what is wanted to AF_XDP
//! sockets, and ends the rest there. Of each queue packets come in the order in which they came to the interface; nothing is put in order between queues.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use wt_engine::LftaSetup;
use wt_engine::live::Link;

use super::feed::Feed;
use super::program::{Made, Program};
use super::{CLOCK_STEP_NS, LOOK_EVERY, TURN_EVERY, XdpError, XdpOptions};
use crate::broker::Broker;
use crate::clock;
use crate::codegen::Disposition;
use crate::codegen::spec::{control_words, packet_counters};
use crate::loader::{Attachment, Loaded};
use crate::packet_socket::{interface_index, interface_link, promiscuous};

/// How long the sockets are left alone when little came: what comes meanwhile is taken at once, which costs less than packet by packet, and there are frames
/// for it: 16 MiB hold what 4 million packets a second bring.
const NAP: Duration = Duration::from_millis(2);
/// Packets that are little.
const LITTLE: usize = 64;

/// A packet as it lies in the memory of a socket.
#[derive(Clone, Copy, Debug)]
pub struct QueuedPacket<'a> {
    /// The receive queue that it came by.
    pub queue: u32,
    /// Time stamp, ns since the epoch.
    pub timestamp_ns: u64,
    /// Length on the wire, bytes.
    pub len: u32,
    /// What is kept of it.
    pub data: &'a [u8],
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Packets may have been given, and nothing is known of the time.
    On,
    /// Everything stamped before this time has been given, ns since the epoch, of all queues.
    UpTo(u64),
    /// Everything has been given; nothing more comes.
    Ended,
}

/// What has been counted since the beginning: `seen = given + unwanted + lost` once it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Packets that the program has seen.
    pub seen: u64,
    /// Packets that came to this process.
    pub given: u64,
    /// Packets that the program has ended, as the condition does not hold for them: until the end, those that are certain.
    pub unwanted: u64,
    /// Packets that were wanted, perhaps, and did not come: there was no free frame, no room in a ring, or they were too long.
    pub lost: u64,
}

/// The capture owner of an interface whose packets end in its driver.
pub struct QueueSource {
    device: String,
    ifindex: u32,
    options: XdpOptions,
    /// For questions about interfaces.
    asking: OwnedFd,
    attachment: Attachment,
    is_attached: bool,
    /// Keeps the interface promiscuous while it is open.
    promiscuous: Option<OwnedFd>,
    program: Program,
    feed: Feed,
    queues: u32,
    /// Begun with the first look: its thread has the privileges that whoever looks has then.
    barrier: Option<Barrier>,
    finished: Finished,
    link: Link,
    looked: Instant,
    is_stopped: bool,
    has_ended: bool,
}

/// Packets that no program is at any more. Of one that it is at, it is counted that it was seen, and not yet what became of it: such a packet must not be
/// taken for one that was ended.
#[derive(Clone, Copy, Debug, Default)]
struct Finished {
    /// Seen when the barrier was asked.
    asked: u64,
    /// Seen when the barrier was asked that has passed.
    passed: u64,
}

impl Finished {
    /// The barrier is asked, and this many packets have been seen.
    fn ask(&mut self, seen: u64) {
        self.asked = seen;
    }

    /// What was asked last has passed.
    fn pass(&mut self) {
        self.passed = self.asked;
    }

    /// Packets that were ended, at least, if this many were sent or could not be. That has to have been read since the barrier passed.
    fn unwanted(&self, handled: u64) -> u64 {
        self.passed.saturating_sub(handled)
    }
}

/// Waits until programs have ended that ran at a time, in a thread of its own: that takes longer than frames may wait to be taken.
struct Barrier {
    asks: Sender<u64>,
    passed: Receiver<io::Result<u64>>,
    /// It was asked, and has not answered.
    is_asked: bool,
    asked: Instant,
}

impl Barrier {
    fn start() -> io::Result<Self> {
        let (asks, asked) = mpsc::channel::<u64>();
        let (pass, passed) = mpsc::channel();
        // It ends when nobody asks any more.
        let work = move || {
            for time_ns in asked {
                if pass.send(Loaded::quiesce().map(|()| time_ns)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("barrier".to_owned()).spawn(work)?;
        Ok(Self { asks, passed, is_asked: false, asked: Instant::now() })
    }

    /// Whether it is time to ask again.
    fn is_due(&self) -> bool {
        !self.is_asked && self.asked.elapsed() >= TURN_EVERY
    }

    fn ask(&mut self, time_ns: u64) {
        // A thread that is gone never answers, and nothing is known of the time then.
        self.is_asked = self.asks.send(time_ns).is_ok();
        self.asked = Instant::now();
    }

    /// The time that it was asked with, once all programs have ended that ran then.
    fn passed(&mut self) -> Option<io::Result<u64>> {
        let passed = self.passed.try_recv().ok()?;
        self.is_asked = false;
        Some(passed)
    }
}

impl QueueSource {
    /// Makes the program of an interface whose queries all run on the host, and attaches it; `setup` has the condition that packets have to meet as its
    /// one query.
    ///
    /// # Errors
    /// There is no such interface, another program is attached, this user may not, there can be no sockets, the verifier refuses the program.
    pub fn open(
        device: &str,
        setup: &LftaSetup<'_>,
        options: &XdpOptions,
    ) -> Result<Self, XdpError> {
        let no_interface = || XdpError::NoInterface { device: device.to_owned() };
        let ifindex = interface_index(device).ok_or_else(no_interface)?;
        let options = XdpOptions { disposition: Disposition::Drop, ..options.clone() };
        let mut feed = Feed::default();
        let made = Made::new(setup, &options, (device, ifindex), &mut feed)?;
        if let Some(refused) = feed.take_refused() {
            return Err(XdpError::Sockets(refused));
        }
        let no_code = || XdpError::NoCode { interface: setup.interface.to_owned() };
        let mut program = made.ok_or_else(no_code)?.load(&options)?;
        program.set(clock::offset_ns(), ifindex)?;
        feed.join(&program)?;
        let attachment = program.loaded.attach(device)?;
        let broker = options.broker.as_ref();
        let promiscuous = options.is_promiscuous.then(|| promiscuous(ifindex, broker)).transpose();
        let asking = UnixDatagram::unbound().map_err(XdpError::System)?;
        Ok(Self {
            device: device.to_owned(),
            ifindex,
            asking: asking.into(),
            attachment,
            is_attached: true,
            promiscuous: promiscuous.map_err(XdpError::System)?,
            program,
            queues: feed.queues(),
            feed,
            options,
            barrier: None,
            finished: Finished::default(),
            link: Link::Up,
            looked: Instant::now(),
            is_stopped: false,
            has_ended: false,
        })
    }

    /// How the program is attached.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Receive queues: packets come by those below.
    pub fn queues(&self) -> u32 {
        self.queues
    }

    /// Waits for packets, for at most `timeout`, and gives those that have come to `take`.
    ///
    /// # Errors
    /// There is no way on.
    pub fn poll(
        &mut self,
        timeout: Duration,
        take: &mut impl FnMut(QueuedPacket<'_>),
    ) -> Result<Looked, XdpError> {
        if self.is_stopped {
            Loaded::quiesce().map_err(XdpError::System)?;
            self.drain(take);
            self.count()?;
            self.program.settle();
            self.finished.ask(self.program.total(packet_counters::PACKETS));
            self.finished.pass();
            self.has_ended = true;
            return Ok(Looked::Ended);
        }
        let mut barrier = match self.barrier.take() {
            Some(barrier) => barrier,
            None => Barrier::start().map_err(XdpError::System)?,
        };
        if barrier.is_due() {
            self.options.broker.as_ref().map_or(Ok(()), Broker::check).map_err(XdpError::System)?;
            let now_ns = self.now_ns()?;
            // Counts that cannot be read are older, and as true.
            self.program.read_frames();
            self.finished.ask(self.program.total(packet_counters::PACKETS));
            barrier.ask(now_ns);
        }
        let passed = barrier.passed();
        self.barrier = Some(barrier);
        if let Some(passed) = passed {
            // Programs that ran then have put their packets where they are seen.
            let passed_ns = passed.map_err(XdpError::System)?;
            self.finished.pass();
            self.drain(take);
            return Ok(Looked::UpTo(passed_ns));
        }
        if self.drain(take) < LITTLE {
            thread::sleep(timeout.min(NAP));
        }
        Ok(Looked::On)
    }

    fn drain(&mut self, take: &mut impl FnMut(QueuedPacket<'_>)) -> usize {
        let (number, mut received) = (self.program.number, 0);
        let packets = self.feed.drain_queues(|queue, of, packet| {
            // Frames of another program are none of ours.
            if of == number {
                received += 1;
                let (timestamp_ns, len, data) = (packet.timestamp_ns, packet.len, packet.data);
                take(QueuedPacket { queue, timestamp_ns, len, data });
            }
        });
        self.program.received += received;
        packets
    }

    /// The stamps' clock, which follows steps of the kernel's.
    fn now_ns(&mut self) -> Result<u64, XdpError> {
        let known_ns = self.program.control[control_words::CLOCK_OFFSET_NS as usize];
        let offset_ns = clock::offset_ns();
        if known_ns.abs_diff(offset_ns) <= CLOCK_STEP_NS {
            return Ok(clock::monotonic_ns().wrapping_add(known_ns));
        }
        self.program.set(offset_ns, self.ifindex)?;
        Ok(clock::monotonic_ns().wrapping_add(offset_ns))
    }

    /// Brings what the kernel has counted up to date.
    fn count(&mut self) -> Result<(), XdpError> {
        // First what was dropped, so that nothing is counted as lost that is not counted as sent.
        self.program.dropped = self.feed.statistics().dropped();
        self.program.read_frames();
        Ok(())
    }

    /// What has been counted since the beginning.
    pub fn counters(&mut self) -> QueueCounters {
        if !self.has_ended {
            // Counts that cannot be read stay what they were; at the end that is an error.
            let _ = self.count();
        }
        let seen = self.program.total(packet_counters::PACKETS);
        let lost = self.program.counters().lost;
        let given = self.program.received;
        let unwanted = self.finished.unwanted(self.program.redirected() + self.program.not_sent());
        QueueCounters { seen, given, unwanted, lost }
    }

    /// Whether packets can come now. An interface that has come back is attached to again, once what came before has been given.
    pub fn link(&mut self) -> Link {
        if self.is_stopped || self.looked.elapsed() < LOOK_EVERY {
            return self.link;
        }
        self.looked = Instant::now();
        if self.is_attached {
            self.link = interface_link(&self.asking, &self.device, self.ifindex);
            if self.link == Link::Gone {
                self.is_attached = false;
                // The interface took the program with it.
                let _ = self.program.loaded.detach();
                // The next look is behind the next drain.
                return self.link;
            }
        } else {
            self.attach_again();
        }
        self.link
    }

    /// Attaches to the interface of the same name, if it has come back; what its sockets had before has been taken.
    fn attach_again(&mut self) {
        let Some(ifindex) = interface_index(&self.device) else { return };
        let device = (self.device.as_str(), ifindex);
        let opened = self.feed.open_again(device, &self.options, &self.program);
        if opened.is_err() || self.feed.join(&self.program).is_err() {
            return;
        }
        let offset_ns = self.program.control[control_words::CLOCK_OFFSET_NS as usize];
        let Ok(attachment) = self.program.loaded.attach(&self.device) else { return };
        (self.attachment, self.is_attached, self.ifindex) = (attachment, true, ifindex);
        // Without it there are fewer packets, which is better than none.
        let broker = self.options.broker.as_ref();
        let open = || promiscuous(ifindex, broker).ok();
        self.promiscuous = self.options.is_promiscuous.then(open).flatten();
        // The next step of the clock writes it too, should this fail.
        let _ = self.program.set(offset_ns, ifindex);
        self.link = interface_link(&self.asking, &self.device, ifindex);
    }

    /// Lets nothing more in. [`Self::poll`] still gives what has come already, then says [`Looked::Ended`].
    ///
    /// # Errors
    /// What the operating system says.
    pub fn stop(&mut self) -> io::Result<()> {
        self.is_stopped = true;
        if self.is_attached {
            self.program.loaded.detach().map_err(io::Error::other)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Finished;

    #[test]
    fn a_packet_in_the_program_is_not_taken_for_one_that_was_ended() {
        let mut finished = Finished::default();
        assert_eq!(finished.unwanted(0), 0);
        // Ten were seen; nine had been sent by then, and the program was at the tenth, which it sends as well.
        finished.ask(10);
        assert_eq!(finished.unwanted(9), 0);
        finished.pass();
        assert_eq!(finished.unwanted(10), 0);
        // More was sent meanwhile than had been seen at the barrier.
        assert_eq!(finished.unwanted(12), 0);
        // Five of twenty were ended.
        finished.ask(20);
        assert_eq!(finished.unwanted(10), 0);
        finished.pass();
        assert_eq!(finished.unwanted(15), 5);
    }
}
