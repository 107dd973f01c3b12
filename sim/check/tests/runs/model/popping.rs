//! A group that pops: messages are hidden for a while, acknowledged one by one, and revived.

use hotfire_check::history::*;

use super::*;

const INVISIBLE_MS: i64 = 2500;
/// The number of the group among those with offsets.
const POPPING: usize = GROUPS;

/// What the broker knows of a message that is hidden.
#[derive(Clone, Copy)]
struct Checkpoint {
    number: u32,
    value: u64,
    reconsume: u32,
    /// The message's place in the log.
    at: usize,
    /// By the broker's wall clock.
    visible_ms: i64,
    /// The checkpoint's own place in the log; until then it is in memory only.
    stored: Option<usize>,
}

/// A message that a member has.
struct InHand {
    delivery: DeliveryId,
    member: usize,
    /// By handle: the number of the checkpoint that it stands for.
    handles: Vec<u32>,
    visible_ms: i64,
}

pub(super) struct Popping {
    id: GroupId,
    members: Vec<NodeId>,
    hidden: Vec<Checkpoint>,
    /// What was acknowledged, and the end of the log then.
    taken: Vec<(Checkpoint, usize)>,
    in_hand: Vec<InHand>,
    next: u32,
}

impl Popping {
    pub(super) fn new(r: &mut Recorder) -> Self {
        Self {
            id: r.group("p"),
            members: (0..MEMBERS).map(|m| r.node(&format!("p-{m}"))).collect(),
            hidden: Vec::new(),
            taken: Vec::new(),
            in_hand: Vec::new(),
            next: 0,
        }
    }
}

impl World {
    pub(super) fn join_popping(&mut self) {
        for member in 0..MEMBERS {
            self.join_as(member);
        }
    }

    fn join_as(&mut self, member: usize) {
        let (group, topic) = (self.popping.id, self.topic);
        let node = self.popping.members[member];
        self.note(node, Event::Subscribed { group, topic });
    }

    pub(super) fn has_popped_all(&self) -> bool {
        let all = |q: usize| self.pop_offset(q) == self.queues.len(q);
        let idle = self.popping.hidden.is_empty() && self.popping.in_hand.is_empty();
        idle && (0..QUEUES).chain([POP_RETRY]).all(all)
    }

    fn pop_offset(&self, q: usize) -> i64 {
        let offset = self.offsets.get(&(POPPING, q)).copied().unwrap_or(0);
        offset.min(self.queues.len(q))
    }

    /// A member pops a few messages of a queue. If the answer is lost they are hidden all the same.
    pub(super) fn receive(&mut self) {
        let member = self.rng.below(MEMBERS);
        let q = match self.rng.below(QUEUES + 1) {
            QUEUES => POP_RETRY,
            q => q,
        };
        let from = self.pop_offset(q);
        let places = self.queues.from(q, from).iter().take(3);
        let places: Vec<usize> = places.copied().collect();
        let visible_ms = self.wall_us() / 1000 + INVISIBLE_MS;
        let is_lost = self.loses(20);
        self.set_offset(POPPING, self.popping.id, q, from + places.len() as i64);
        for (offset, at) in (from..).zip(places) {
            let number = self.hide(at, visible_ms);
            if !is_lost {
                self.hand_over(member, (q, offset), (at, number), visible_ms);
            }
        }
    }

    fn hide(&mut self, at: usize, visible_ms: i64) -> u32 {
        let Entry {
            value, reconsume, ..
        } = self.log[at];
        let number = self.popping.next;
        self.popping.next += 1;
        self.popping.hidden.push(Checkpoint {
            number,
            value,
            reconsume,
            at,
            visible_ms,
            stored: None,
        });
        number
    }

    fn hand_over(
        &mut self,
        member: usize,
        (q, offset): (usize, i64),
        (at, number): (usize, u32),
        visible_ms: i64,
    ) {
        let delivery = self.run.recorder.next_delivery();
        let node = self.popping.members[member];
        let delivered = Event::Delivered {
            delivery,
            group: self.popping.id,
            queue: self.queues.of(q),
            offset,
            value: Value(self.log[at].value),
            intact: true,
            reconsume: self.log[at].reconsume,
        };
        self.note(node, delivered);
        let visible_at_ms = visible_ms;
        let popped = Event::Popped {
            delivery,
            popped_at_ms: visible_ms - INVISIBLE_MS,
            visible_at_ms,
        };
        self.note(node, popped);
        self.popping.in_hand.push(InHand {
            delivery,
            member,
            handles: vec![number],
            visible_ms,
        });
    }

    /// A member goes on with a message: asks for more time, fails, forgets it, or acknowledges it.
    pub(super) fn work(&mut self) {
        if self.popping.in_hand.is_empty() {
            return;
        }
        let chosen = self.rng.below(self.popping.in_hand.len());
        let mut in_hand = self.popping.in_hand.swap_remove(chosen);
        let node = self.popping.members[in_hand.member];
        let is_hidden = in_hand.visible_ms * 1000 > self.wall_us();
        if is_hidden && self.rng.one_in(4) {
            if self.extend(&mut in_hand) {
                self.popping.in_hand.push(in_hand);
            } else {
                let (delivery, outcome) = (in_hand.delivery, Outcome::Consumed);
                self.note(node, Event::Finished { delivery, outcome });
            }
            return;
        }
        let fails = self.weather.failures && self.rng.one_in(4);
        let outcome = match fails {
            true => Outcome::Later,
            false => Outcome::Consumed,
        };
        let delivery = in_hand.delivery;
        self.note(node, Event::Finished { delivery, outcome });
        if !fails && !self.rng.one_in(8) {
            self.acknowledge(&in_hand);
        }
    }

    /// Hides a message anew. False if nobody said whether that was done.
    fn extend(&mut self, in_hand: &mut InHand) -> bool {
        let visible_ms = self.wall_us() / 1000 + INVISIBLE_MS;
        let before = in_hand.handles.last().copied();
        let mut hidden = self.popping.hidden.iter();
        let before = hidden.position(|hidden| Some(hidden.number) == before);
        let (Some(before), false) = (before, self.loses(12)) else {
            return false;
        };
        // The new checkpoint is stored before the old one is acknowledged.
        let (_, stored) = self.append(REVIVE, 0, 0);
        let before = self.popping.hidden.swap_remove(before);
        self.popping.taken.push((before, self.log.len()));
        let number = self.hide(before.at, visible_ms);
        if let Some(checkpoint) = self.popping.hidden.last_mut() {
            checkpoint.stored = Some(stored);
        }
        if self.loses(12) {
            return false;
        }
        in_hand.handles.push(number);
        in_hand.visible_ms = visible_ms;
        let hidden = Event::Hidden {
            delivery: in_hand.delivery,
            handle: in_hand.handles.len() as u16 - 1,
            visible_at_ms: visible_ms,
        };
        self.note(self.popping.members[in_hand.member], hidden);
        true
    }

    /// Acknowledges with the newest handle, or by mistake with the first, until there is an answer.
    fn acknowledge(&mut self, in_hand: &InHand) {
        let node = self.popping.members[in_hand.member];
        let newest = in_hand.handles.len() - 1;
        let used = if self.rng.one_in(4) { 0 } else { newest };
        let (delivery, handle) = (in_hand.delivery, used as u16);
        loop {
            self.note(node, Event::AckInvoked { delivery, handle });
            let arrives = !self.loses(8);
            let counts = arrives && self.take(in_hand.handles[used]);
            let outcome = match (arrives && !self.loses(8), counts) {
                (false, _) => CallOutcome::Unknown,
                (true, true) => CallOutcome::Ok,
                // The broker may say yes to what has no effect.
                (true, false) if self.rng.one_in(2) => CallOutcome::Ok,
                (true, false) => CallOutcome::Refused,
            };
            self.note(node, Event::AckEnded { delivery, outcome });
            if outcome != CallOutcome::Unknown {
                return;
            }
        }
    }

    /// Takes an acknowledgement; true if there is something that it can have an effect on.
    fn take(&mut self, number: u32) -> bool {
        let mut hidden = self.popping.hidden.iter();
        let Some(at) = hidden.position(|hidden| hidden.number == number) else {
            return false;
        };
        let checkpoint = self.popping.hidden.swap_remove(at);
        self.popping.taken.push((checkpoint, self.log.len()));
        true
    }

    /// What was hidden for long enough goes to the retry topic.
    pub(super) fn revive(&mut self) {
        let wall_us = self.wall_us();
        let hidden = std::mem::take(&mut self.popping.hidden);
        let is_over = |hidden: &Checkpoint| hidden.visible_ms * 1000 <= wall_us;
        let (over, hidden) = hidden.into_iter().partition(is_over);
        self.popping.hidden = hidden;
        let over: Vec<Checkpoint> = over;
        for checkpoint in over {
            self.append(POP_RETRY, checkpoint.value, checkpoint.reconsume + 1);
        }
    }

    /// Before offsets are persisted, what they pass over must be stored.
    pub(super) fn store_checkpoints(&mut self) {
        for at in 0..self.popping.hidden.len() {
            if self.popping.hidden[at].stored.is_none() {
                let (_, stored) = self.append(REVIVE, 0, 0);
                self.popping.hidden[at].stored = Some(stored);
            }
        }
    }

    /// What is left of the log goes up to a place. Checkpoints in memory are gone, or some of them;
    /// their messages come again since offsets are back where they were persisted.
    pub(super) fn pops_after_crash(&mut self, power: bool, left: usize) {
        let rng = &mut self.rng;
        let hidden = &mut self.popping.hidden;
        for (checkpoint, end) in std::mem::take(&mut self.popping.taken) {
            if end > left && rng.one_in(2) {
                hidden.push(checkpoint);
            }
        }
        hidden.retain(|hidden| {
            let is_kept = match hidden.stored {
                Some(stored) => stored < left,
                None => !power && rng.one_in(2),
            };
            is_kept && hidden.at < left
        });
    }

    pub(super) fn popping_member_dies(&mut self) {
        let member = self.rng.below(MEMBERS);
        let node = self.popping.members[member];
        self.note(node, Event::NodeDown { how: How::Kill });
        let in_hand = std::mem::take(&mut self.popping.in_hand);
        let (gone, kept) = in_hand.into_iter().partition(|it| it.member == member);
        self.popping.in_hand = kept;
        let gone: Vec<InHand> = gone;
        for InHand { delivery, .. } in gone {
            let outcome = Outcome::Lost;
            self.note(node, Event::Finished { delivery, outcome });
        }
        self.note(node, Event::NodeUp);
        self.join_as(member);
    }
}
