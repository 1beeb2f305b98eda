//! The records of segments where their frames were checked, without a copy to parse.

use memchr::memmem;
use wt_wire::{
    Batch, CaptureError, CaptureReader, Damage, DamageKind, InterfaceInfo, RecordLayout, RecordRef,
};

use super::blocks::INTERFACE_DESCRIPTION;
use super::read::{Chain, SECTION};
use crate::walk::walk;

/// Reads a piece of a store.
///
/// Where a section has one interface, as most recordings do, the records of a frame are found in the bytes that were read and checked. Anything
/// else, and what is not as the recorder writes it, goes through a [`CaptureReader`], with all that follows.
pub struct PieceReader {
    name: Box<str>,
    frames: Option<Frames>,
    capture: Option<CaptureReader>,
}

impl PieceReader {
    pub(super) fn new(name: String, chain: Chain) -> Result<Self, CaptureError> {
        let (frames, capture) = match chain.is_chosen() {
            true => (None, Some(CaptureReader::from_reader(&name, chain)?)),
            false => (Some(Frames::new(chain)), None),
        };
        Ok(Self { name: name.into(), frames, capture })
    }

    /// The next records, or nothing at the end: what [`CaptureReader::next_batch`] gives, but for all records of a frame at once, whatever `max` says,
    /// where they are not copied.
    ///
    /// # Errors
    /// As there.
    pub fn next_batch<'a>(
        &'a mut self,
        records: &'a mut Vec<RecordRef>,
        max: usize,
    ) -> Result<Option<Batch<'a>>, CaptureError> {
        if let Some(frames) = &mut self.frames {
            match frames.next(records).map_err(|error| unreadable(&self.name, &error))? {
                Next::Records => {}
                Next::End => return Ok(None),
                Next::Other => {
                    let rest = self.frames.take().map(Frames::rest);
                    let capture = rest.map(|rest| CaptureReader::from_reader(&self.name, rest));
                    self.capture = capture.transpose()?;
                }
            }
        }
        match (&mut self.frames, &mut self.capture) {
            (Some(frames), _) => Ok(frames.batch(records)),
            (None, Some(capture)) => capture.next_batch(records, max),
            (None, None) => Ok(None),
        }
    }

    /// The interfaces that records came from so far, as [`Batch::interface`] counts them.
    pub fn interfaces(&self) -> &[InterfaceInfo] {
        match (&self.frames, &self.capture) {
            (Some(frames), _) => &frames.interfaces,
            (None, Some(capture)) => capture.interfaces(),
            (None, None) => &[],
        }
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> CaptureError {
    let kind = DamageKind::Read { error: error.kind(), message: error.to_string().into() };
    let damage = Damage { offset: 0, compressed: false, kind };
    CaptureError::Damaged { name: name.into(), damage }
}

/// Frame by frame.
struct Frames {
    chain: Chain,
    /// The section's header, and blocks that describe its interfaces.
    head: Vec<u8>,
    interfaces: Vec<InterfaceInfo>,
    layout: Option<RecordLayout>,
    /// Bytes of the capture before the blocks of the frame at hand.
    offset: u64,
}

/// What comes next.
enum Next {
    /// Records of the frame at hand.
    Records,
    /// Something that is not read here.
    Other,
    End,
}

impl Frames {
    fn new(chain: Chain) -> Self {
        Self { chain, head: Vec::new(), interfaces: Vec::new(), layout: None, offset: 0 }
    }

    /// Finds the records of the next frame that has any.
    fn next(&mut self, records: &mut Vec<RecordRef>) -> std::io::Result<Next> {
        self.offset += self.chain.take_body();
        loop {
            if !self.chain.has_more()? {
                return Ok(Next::End);
            }
            let before = self.chain.before();
            if !before.is_empty() {
                // A segment begins; the first one behind the section that the chain begins with.
                let section = memmem::rfind(before, &SECTION).unwrap_or(0);
                self.head.clear();
                self.head.extend_from_slice(&before[section..]);
                self.offset += before.len() as u64;
                self.chain.take_before();
                self.describe();
            }
            let body = self.chain.body();
            if body.starts_with(&INTERFACE_DESCRIPTION.to_le_bytes()) {
                self.head.extend_from_slice(body);
                self.describe();
            } else if !body.is_empty() {
                let Some(layout) = self.layout else { return Ok(Next::Other) };
                let walked = walk(layout, body, body.len(), records);
                return Ok(if walked == body.len() { Next::Records } else { Next::Other });
            }
            self.offset += self.chain.take_body();
        }
    }

    /// Takes note of what `head` describes.
    fn describe(&mut self) {
        let head = std::io::Cursor::new(self.head.clone());
        // What is no capture has no layout.
        let mut reader = CaptureReader::from_reader("", head).ok();
        self.layout = reader.as_mut().and_then(CaptureReader::layout);
        self.interfaces = reader.map_or_else(Vec::new, |reader| reader.interfaces().to_vec());
    }

    /// The records that [`Self::next`] found.
    fn batch<'a>(&'a self, records: &'a [RecordRef]) -> Option<Batch<'a>> {
        let layout = self.layout?;
        let header_len = layout.framing.header_len() as u32;
        let (data, link_type) = (self.chain.body(), layout.link_type);
        let data_offset = self.offset;
        Some(Batch { data, records, link_type, interface: 0, data_offset, header_len })
    }

    /// The section as it was described, and all from the frame at hand on.
    fn rest(self) -> Chain {
        let Self { mut chain, head, .. } = self;
        chain.put_before(head);
        chain
    }
}
