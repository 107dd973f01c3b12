use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes};

/// What has come for a reader but may not be there yet: in order, each item with the time at which
/// it left and the time it needs.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    items: VecDeque<Item>,
    /// When the last item that was read arrived: nothing overtakes.
    latest: Duration,
    /// Frames that were delayed on purpose, with the time from which they may join the others.
    late: Vec<(Duration, Bytes)>,
}

/// One thing that came over the link.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) content: Content,
    pub(crate) sent: Duration,
    pub(crate) transit: Duration,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Bytes(Bytes),
    /// The peer sends no more.
    End,
    /// The peer reset the connection.
    Reset,
}

/// What a reader can do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something is there.
    Ready,
    /// Something will be there, at this time unless the link goes down.
    At(Duration),
    /// Nothing is in sight.
    Nothing,
}

impl Inbox {
    pub(crate) fn push(&mut self, item: Item) {
        self.items.push_back(item);
    }

    pub(crate) fn push_late(&mut self, from: Duration, frame: Bytes) {
        self.late.push((from, frame));
    }

    /// Lets delayed frames whose time has come join the others.
    fn admit_late(&mut self, now: Duration) {
        let (due, late): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|&(from, _)| from <= now);
        self.late = late;
        self.items.extend(due.into_iter().map(|(_, frame)| Item {
            content: Content::Bytes(frame),
            sent: now,
            transit: Duration::ZERO,
        }));
    }

    /// What can be done at `now`; `arrival` says when an item is there, `None` while its link is
    /// down. Delayed frames join the others only where the inbox ends `between_frames`.
    pub(crate) fn next(
        &mut self,
        now: Duration,
        between_frames: bool,
        arrival: impl FnOnce(Duration, Duration) -> Option<Duration>,
    ) -> Next {
        if between_frames && !self.late.is_empty() {
            self.admit_late(now);
        }
        let late = self
            .late
            .iter()
            .filter(|_| between_frames)
            .map(|&(from, _)| from)
            .min();
        let front = self
            .items
            .front()
            .and_then(|item| arrival(item.sent, item.transit));
        match (front.map(|at| at.max(self.latest)), late) {
            (Some(at), _) if at <= now => {
                self.latest = at;
                Next::Ready
            }
            (Some(at), Some(late)) => Next::At(at.min(late)),
            (Some(at), None) | (None, Some(at)) => Next::At(at),
            (None, None) => Next::Nothing,
        }
    }

    /// The first item, after [`Next::Ready`].
    pub(crate) fn front(&self) -> Option<&Content> {
        self.items.front().map(|item| &item.content)
    }

    /// Takes bytes off the first item. Returns how many there were.
    pub(crate) fn take(&mut self, limit: usize, mut sink: impl FnMut(&[u8])) -> usize {
        let Some(Item {
            content: Content::Bytes(bytes),
            ..
        }) = self.items.front_mut()
        else {
            return 0;
        };
        let taken = limit.min(bytes.len());
        sink(&bytes[..taken]);
        bytes.advance(taken);
        if bytes.is_empty() {
            self.items.pop_front();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn item(sent: u64, transit: u64) -> Item {
        Item {
            content: Content::Bytes(Bytes::from_static(b"xy")),
            sent: MS(sent),
            transit: MS(transit),
        }
    }

    fn sound(sent: Duration, transit: Duration) -> Option<Duration> {
        Some(sent + transit)
    }

    #[test]
    fn a_fast_segment_does_not_overtake_a_slow_one() {
        let mut inbox = Inbox::default();
        inbox.push(item(0, 10));
        inbox.push(item(1, 1));
        assert_eq!(inbox.next(MS(9), true, sound), Next::At(MS(10)));
        assert_eq!(inbox.next(MS(12), true, sound), Next::Ready);
        assert_eq!(inbox.take(9, |_| {}), 2);
        assert_eq!(inbox.next(MS(9), true, sound), Next::At(MS(10)));
    }

    #[test]
    fn nothing_is_in_sight_while_the_link_is_down() {
        let mut inbox = Inbox::default();
        inbox.push(item(0, 1));
        assert_eq!(inbox.next(MS(9), true, |_, _| None), Next::Nothing);
    }

    #[test]
    fn a_delayed_frame_joins_when_its_time_has_come() {
        let mut inbox = Inbox::default();
        inbox.push_late(MS(5), Bytes::from_static(b"late"));
        assert_eq!(inbox.next(MS(4), true, sound), Next::At(MS(5)));
        assert_eq!(inbox.next(MS(5), false, sound), Next::Nothing);
        assert_eq!(inbox.next(MS(5), true, sound), Next::Ready);
    }
}
