use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::seams::node::NodeId;

/// The longest frame that is believed to be one (`com.rocketmq.remoting.frameMaxLength`, and some).
const MAX_FRAME: usize = 32 << 20;

/// Bit 0 of a header's flag: a response.
const RESPONSE: i32 = 1;

/// Bit 1 of a header's flag: a request that wants no response.
const ONEWAY: i32 = 2;

/// Responses that are awaited at most, so that one-way traffic cannot fill the memory.
const MAX_AWAITED: usize = 65_536;

/// What a filter sees of a frame on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameInfo {
    /// The node that sent it.
    pub from: NodeId,
    /// The node that it is meant for.
    pub to: NodeId,
    /// The request code, or the response code of a response.
    pub code: i32,
    /// Which request a response belongs to.
    pub opaque: i32,
    /// Whether it is a response.
    pub is_response: bool,
    /// For a response the code of its request, if the request was seen.
    pub request_code: Option<i32>,
    /// A number of this frame's own, the same in every run of a seed, for random choices.
    pub draw: u64,
    /// All of it, from the length prefix on.
    pub bytes: Bytes,
}

/// What becomes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameVerdict {
    /// It goes on its way.
    Pass,
    /// It never arrives, and nobody is told.
    Drop,
    /// It arrives later; others may overtake it.
    Delay(Duration),
    /// It arrives twice.
    Duplicate,
    /// These bytes arrive in its place.
    Replace(Bytes),
}

/// Decides what becomes of whole frames. It must depend on nothing but what it is given.
pub trait FrameFilter: Send + Sync {
    /// Called for every frame that arrives at a node while the filter is set.
    fn judge(&self, frame: &FrameInfo) -> FrameVerdict;
}

impl<F: Fn(&FrameInfo) -> FrameVerdict + Send + Sync> FrameFilter for F {
    fn judge(&self, frame: &FrameInfo) -> FrameVerdict {
        self(frame)
    }
}

/// Follows the frame boundaries of one direction of a connection, and cuts whole frames out of it
/// while somebody wants to judge them.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// Bytes that are left of the frame that is passing.
    left: usize,
    /// The length prefix, as far as it is known.
    prefix: [u8; 4],
    known: usize,
    /// The beginning of a frame that is held until it is complete.
    held: BytesMut,
    /// What passes are not frames.
    foreign: bool,
}

impl Framer {
    /// Whether the next byte begins a frame.
    pub(crate) fn at_boundary(&self) -> bool {
        self.left == 0 && self.known == 0 && self.held.is_empty()
    }

    /// Follows bytes that nobody judges. Gives back what was held before, if anything.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Option<Bytes> {
        let held = (!self.held.is_empty()).then(|| self.held.split().freeze());
        if let Some(held) = &held {
            self.follow(held);
        }
        self.follow(bytes);
        held
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.foreign {
            if self.left > 0 {
                let passing = self.left.min(bytes.len());
                self.left -= passing;
                bytes = &bytes[passing..];
                continue;
            }
            let taken = (4 - self.known).min(bytes.len());
            self.prefix[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known == 4 {
                self.known = 0;
                self.left = u32::from_be_bytes(self.prefix) as usize;
                self.foreign = self.left > MAX_FRAME;
            }
        }
    }

    /// Cuts whole frames out of bytes and hands them over one by one; the rest of a frame whose
    /// beginning has passed comes first, with `None`.
    pub(crate) fn cut(&mut self, mut bytes: Bytes, mut take: impl FnMut(Bytes, Option<Header>)) {
        if self.left > 0 || self.known > 0 || self.foreign {
            let rest = self.rest_of_frame(&bytes);
            let passing = bytes.split_to(rest);
            self.follow(&passing);
            take(passing, None);
        }
        if self.foreign {
            if !bytes.is_empty() {
                take(bytes, None);
            }
            return;
        }
        self.held.extend_from_slice(&bytes);
        while let Some(prefix) = self.held.first_chunk::<4>() {
            let len = u32::from_be_bytes(*prefix) as usize;
            if len > MAX_FRAME {
                self.foreign = true;
                take(self.held.split().freeze(), None);
                return;
            }
            if self.held.len() < 4 + len {
                return;
            }
            let frame = self.held.split_to(4 + len).freeze();
            let header = Header::parse(&frame[4..]);
            take(frame, header);
        }
    }

    /// How many of these bytes belong to the frame whose beginning has passed.
    fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        if self.foreign {
            return bytes.len();
        }
        if self.known == 0 {
            return self.left.min(bytes.len());
        }
        let mut prefix = self.prefix;
        let missing = (4 - self.known).min(bytes.len());
        prefix[self.known..self.known + missing].copy_from_slice(&bytes[..missing]);
        let known = self.known + missing;
        if known < 4 {
            return bytes.len();
        }
        missing
            .saturating_add(u32::from_be_bytes(prefix) as usize)
            .min(bytes.len())
    }
}

/// The fields of a frame header that tell frames apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Header {
    pub(crate) code: i32,
    #[serde(default)]
    flag: i32,
    #[serde(default)]
    pub(crate) opaque: i32,
}

impl Header {
    /// Reads the header of a frame without its length prefix (`RemotingCommand`, and
    /// `RocketMQSerializable` for the binary form).
    fn parse(frame: &[u8]) -> Option<Self> {
        let (word, rest) = frame.split_first_chunk::<4>()?;
        let word = u32::from_be_bytes(*word);
        let text = rest.get(..(word & 0x00ff_ffff) as usize)?;
        if word >> 24 == 0 {
            return serde_json::from_slice(text).ok();
        }
        // code(2) language(1) version(2) opaque(4) flag(4)
        let (code, rest) = text.split_first_chunk::<2>()?;
        let (opaque, rest) = rest.get(3..)?.split_first_chunk::<4>()?;
        let flag = rest.first_chunk::<4>()?;
        Some(Self {
            code: i32::from(i16::from_be_bytes(*code)),
            flag: i32::from_be_bytes(*flag),
            opaque: i32::from_be_bytes(*opaque),
        })
    }

    pub(crate) fn is_response(self) -> bool {
        self.flag & RESPONSE != 0
    }

    pub(crate) fn is_oneway(self) -> bool {
        self.flag & ONEWAY != 0
    }
}

/// The codes of requests that passed in one direction and whose responses were not seen yet.
#[derive(Debug, Default)]
pub(crate) struct Awaited(FxHashMap<i32, i32>);

impl Awaited {
    pub(crate) fn request(&mut self, header: Header) {
        if self.0.len() < MAX_AWAITED {
            self.0.insert(header.opaque, header.code);
        }
    }

    pub(crate) fn response(&mut self, header: Header) -> Option<i32> {
        self.0.remove(&header.opaque)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(((4 + header.len() + body.len()) as u32).to_be_bytes());
        frame.extend((header.len() as u32).to_be_bytes());
        frame.extend(header.as_bytes());
        frame.extend(body);
        frame
    }

    fn cut(framer: &mut Framer, bytes: &[u8]) -> Vec<(usize, Option<Header>)> {
        let mut frames = Vec::new();
        framer.cut(Bytes::copy_from_slice(bytes), |frame, header| {
            frames.push((frame.len(), header));
        });
        frames
    }

    #[test]
    fn both_header_forms_are_read() {
        let json = json_frame(
            r#"{"code":15,"flag":2,"opaque":9,"language":"JAVA"}"#,
            b"body",
        );
        let binary = [
            &[0, 0, 0, 25, 1, 0, 0, 21][..],
            &[0, 105, 0, 1, 153, 0, 0, 0, 7, 0, 0, 0, 1],
            &[0; 8],
        ]
        .concat();
        let mut framer = Framer::default();
        let frames = cut(&mut framer, &[json, binary].concat());
        let headers: Vec<_> = frames.iter().map(|(_, header)| header.unwrap()).collect();
        assert_eq!((headers[0].code, headers[0].opaque), (15, 9));
        assert!(!headers[0].is_response());
        assert_eq!((headers[1].code, headers[1].opaque), (105, 7));
        assert!(headers[1].is_response());
        assert!(framer.at_boundary());
    }

    #[test]
    fn a_frame_whose_beginning_has_passed_is_not_judged() {
        let frame = json_frame(r#"{"code":1}"#, b"0123456789");
        for split in 1..frame.len() {
            let mut framer = Framer::default();
            assert_eq!(framer.pass(&frame[..split]), None);
            let next = [&frame[split..], &frame].concat();
            let frames = cut(&mut framer, &next);
            assert_eq!(frames[0], (frame.len() - split, None), "split at {split}");
            assert_eq!(frames[1].0, frame.len());
            assert!(frames[1].1.is_some() && framer.at_boundary());
        }
    }

    #[test]
    fn what_was_held_comes_back_when_nobody_judges_any_more() {
        let frame = json_frame(r#"{"code":1}"#, b"");
        let mut framer = Framer::default();
        assert!(cut(&mut framer, &frame[..7]).is_empty());
        assert_eq!(framer.pass(&frame[7..]).unwrap(), frame[..7]);
        assert!(framer.at_boundary());
    }

    #[test]
    fn bytes_that_are_no_frames_pass() {
        let mut framer = Framer::default();
        assert_eq!(cut(&mut framer, b"GET / HTTP/1.1"), [(14, None)]);
        assert_eq!(cut(&mut framer, b"more"), [(4, None)]);
    }
}
