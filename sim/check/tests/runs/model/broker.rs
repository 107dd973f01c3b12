//! The broker: its log, its offset table, its clock, and what a crash takes.

use hotfire_check::history::*;

use super::*;

/// A message in the log.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) queue: usize,
    /// 0 for what is not a message of the workload.
    pub(super) value: u64,
    pub(super) reconsume: u32,
    pub(super) stored: u64,
}

/// The queues, and where in the log their messages are.
pub(super) struct Queues {
    refs: Vec<QueueRef>,
    lines: Vec<Vec<usize>>,
}

impl Queues {
    pub(super) fn new(r: &mut Recorder) -> Self {
        let mut refs: Vec<_> = (0..QUEUES).map(|q| r.queue("t", "b", q as i32)).collect();
        refs.extend([
            r.queue("%RETRY%c", "b", 0),
            r.queue("%DLQ%c", "b", 0),
            r.queue("SCHEDULE_TOPIC_XXXX", "b", 2),
            r.queue("SCHEDULE_TOPIC_XXXX", "b", i32::from(LONG_LEVEL) - 1),
            r.queue("rmq_sys_wheel_timer", "b", 0),
            r.queue("RMQ_SYS_TRANS_HALF_TOPIC", "b", 0),
            r.queue("RMQ_SYS_TRANS_OP_HALF_TOPIC", "b", 0),
            r.queue("TRANS_CHECK_MAX_TIME_TOPIC", "b", 0),
            r.queue("rmq_sys_REVIVE_LOG_b", "b", 0),
            r.queue("%RETRY%p_t", "b", 0),
        ]);
        let lines = vec![Vec::new(); refs.len()];
        Self { refs, lines }
    }

    pub(super) fn of(&self, queue: usize) -> QueueRef {
        self.refs[queue]
    }

    pub(super) fn len(&self, queue: usize) -> i64 {
        self.lines[queue].len() as i64
    }

    /// Where in the log the messages of a queue are, from an offset on.
    pub(super) fn from(&self, queue: usize, offset: i64) -> &[usize] {
        self.lines[queue].get(offset as usize..).unwrap_or_default()
    }
}

impl World {
    pub(super) fn tick(&mut self) {
        if self.now - self.last_tick >= 500_000 {
            self.last_tick = self.now;
            self.flushed = self.log.len();
        }
        if self.now - self.last_persist >= 5_000_000 {
            self.last_persist = self.now;
            self.persisted = self.offsets.clone();
            self.store_checkpoints();
        }
        self.deliver_due();
        self.deliver_letters();
        self.check_halves();
        self.revive();
    }

    /// What the broker's wall clock shows, in microseconds.
    pub(super) fn wall_us(&self) -> i64 {
        self.now as i64 + self.ahead_us
    }

    /// Stores a message: its offset, and its place in the log.
    pub(super) fn append(&mut self, queue: usize, value: u64, reconsume: u32) -> (i64, usize) {
        let (offset, at) = (self.queues.len(queue), self.log.len());
        let stored = self.now;
        self.log.push(Entry {
            queue,
            value,
            reconsume,
            stored,
        });
        self.queues.lines[queue].push(at);
        let event = Event::Appended {
            queue: self.queues.of(queue),
            reconsume: reconsume as u16,
            offset,
            physical: at as i64 * 300,
            value: (value > 0).then_some(Value(value)),
        };
        self.note(self.broker, event);
        (offset, at)
    }

    /// Takes a group's progress.
    pub(super) fn set_offset(&mut self, g: usize, group: GroupId, q: usize, offset: i64) {
        if self.offsets.insert((g, q), offset) != Some(offset) {
            let queue = self.queues.of(q);
            let event = Event::OffsetSet {
                group,
                queue,
                offset,
            };
            self.note(self.broker, event);
        }
    }

    pub(super) fn broker_dies(&mut self) {
        let power = self.weather.power && self.rng.one_in(2);
        let how = if power { How::PowerLoss } else { How::Kill };
        self.note(self.broker, Event::NodeDown { how });
        self.offsets = self.persisted.clone();
        let before = self.log.len();
        if power {
            self.log.truncate(self.flushed);
        }
        let left = self.log.len();
        for line in &mut self.queues.lines {
            line.truncate(line.partition_point(|&at| at < left));
        }
        self.timers_after_crash(left);
        self.halves_after_crash(left);
        self.pops_after_crash(power, left);
        self.asking.index_lost(left);
        self.flushed = left;
        self.now += 3_000_000;
        self.note(self.broker, Event::NodeUp);
        let recovered = Event::Recovered {
            max_physical: left as i64 * 300,
            truncated_bytes: (before - left) as i64 * 300,
        };
        self.note(self.broker, recovered);
    }

    pub(super) fn clock_jumps(&mut self) {
        let (fault, kind) = (self.faults, FaultKind::Clock);
        self.faults += 1;
        let text = self.run.recorder.text("the clock of broker jumps");
        let nodes = self.run.recorder.nodes(&[self.broker]);
        let began = Event::FaultBegan {
            fault,
            kind,
            text,
            nodes,
        };
        self.note(self.operator, began);
        self.ahead_us = (self.rng.below(8000) as i64 - 3000) * 1000;
        let ahead_us = self.ahead_us;
        self.note(self.broker, Event::ClockSet { ahead_us });
        self.note(self.operator, Event::FaultEnded { fault });
    }
}
