use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::frame::{Awaited, FrameFilter, FrameInfo, FrameVerdict, Header};
use super::link::FaultId;
use super::tcp::draw;
use super::wire::Wire;
use crate::seams::node::NodeId;

/// The frame filters that are set, of the whole network.
#[derive(Default)]
pub(crate) struct Filters {
    count: AtomicUsize,
    set: Mutex<Vec<(FaultId, Arc<dyn FrameFilter>)>>,
}

impl Filters {
    pub(crate) fn add(&self, fault: FaultId, filter: Arc<dyn FrameFilter>) {
        let mut set = self.set.lock();
        set.push((fault, filter));
        self.count.store(set.len(), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, fault: FaultId) {
        let mut set = self.set.lock();
        set.retain(|(id, _)| *id != fault);
        self.count.store(set.len(), Ordering::Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// The first verdict that is not to pass.
    fn judge(&self, frame: &FrameInfo) -> FrameVerdict {
        let filters: Vec<_> = self
            .set
            .lock()
            .iter()
            .map(|(_, filter)| filter.clone())
            .collect();
        filters
            .iter()
            .map(|filter| filter.judge(frame))
            .find(|verdict| *verdict != FrameVerdict::Pass)
            .unwrap_or(FrameVerdict::Pass)
    }
}

/// Requests of each direction of a connection whose responses are still to come: those that side 0
/// sent, and those that side 1 sent.
pub(crate) type AwaitedBoth = Mutex<[Awaited; 2]>;

/// The judgement of the frames that arrive at one end of a connection.
pub(crate) struct Judged {
    filters: Arc<Filters>,
    awaited: Arc<AwaitedBoth>,
    /// The side at which the frames arrive.
    side: usize,
    from: NodeId,
    to: NodeId,
    stream: u64,
    frames: u64,
}

impl Judged {
    /// The frames that arrive at side 0 or 1.
    pub(crate) fn new(filters: Arc<Filters>, wire: &Wire, side: usize) -> Self {
        Self {
            filters,
            awaited: wire.awaited.clone(),
            side,
            from: wire.ends[side ^ 1].node.id,
            to: wire.ends[side].node.id,
            stream: wire.inward(side).stream,
            frames: 0,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Passes a frame on, or not. Returns by how many bytes the peer's window is to be corrected:
    /// dropped bytes are never read, duplicated ones twice.
    pub(crate) fn judge(
        &mut self,
        frame: Bytes,
        header: Option<Header>,
        pass: &mut impl FnMut(Bytes),
        late: &mut Vec<(Duration, Bytes)>,
    ) -> i64 {
        let len = frame.len() as i64;
        let Some(header) = header else {
            pass(frame);
            return 0;
        };
        self.frames += 1;
        let is_response = header.is_response();
        let is_oneway = header.is_oneway();
        let mut awaited = self.awaited.lock();
        let request_code = if is_response {
            awaited[self.side].response(header)
        } else {
            if !is_oneway {
                awaited[self.side ^ 1].request(header);
            }
            None
        };
        drop(awaited);
        let verdict = self.filters.judge(&FrameInfo {
            from: self.from,
            to: self.to,
            code: header.code,
            opaque: header.opaque,
            is_response,
            request_code,
            draw: draw(self.stream ^ 2, self.frames),
            bytes: frame.clone(),
        });
        match verdict {
            FrameVerdict::Pass => pass(frame),
            FrameVerdict::Drop => return len,
            FrameVerdict::Delay(delay) => late.push((delay, frame)),
            FrameVerdict::Duplicate => {
                pass(frame.clone());
                pass(frame);
                return -len;
            }
            FrameVerdict::Replace(other) => {
                let other_len = other.len() as i64;
                pass(other);
                return len - other_len;
            }
        }
        0
    }
}
