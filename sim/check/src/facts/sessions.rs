//! Sessions: the time during which one member owned one queue without a break.

use rustc_hash::FxHashMap;

use crate::history::{GroupId, NodeId, QueueRef, SimTime};

/// A member's continuous ownership of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
    pub(crate) queue: QueueRef,
    pub(crate) opened: SimTime,
    /// When it ended; the end of time if it outlived the run.
    pub(crate) closed: SimTime,
    /// The offset of the first pull.
    pub(crate) first_from: Option<i64>,
    /// The time of the first answer to a pull.
    pub(crate) first_pull: SimTime,
}

impl Session {
    /// Whether it lasted to the end of the run.
    pub(crate) fn is_open(&self) -> bool {
        self.closed.0 == u64::MAX
    }
}

/// Finds the session that an event belongs to.
#[derive(Debug, Default)]
pub(crate) struct SessionBuilder {
    current: FxHashMap<(NodeId, GroupId, QueueRef), u32>,
    pub(crate) sessions: Vec<Session>,
}

/// Whose event it is.
pub(crate) type Owner = (NodeId, GroupId, QueueRef);

impl SessionBuilder {
    /// The owner's session; one begins if it has none. A session that is closed takes stragglers.
    pub(crate) fn of(&mut self, owner: Owner, at: SimTime) -> u32 {
        match self.current.get(&owner) {
            Some(&session) => session,
            None => self.begin(owner, at),
        }
    }

    /// The owner gained the queue: a session begins unless one is open.
    pub(crate) fn assigned(&mut self, owner: Owner, at: SimTime) -> u32 {
        match self.current.get(&owner) {
            Some(&id) if self.sessions.get(id as usize).is_some_and(Session::is_open) => id,
            _ => self.begin(owner, at),
        }
    }

    /// The owner lost the queue.
    pub(crate) fn revoked(&mut self, owner: Owner, at: SimTime) {
        if let Some(&id) = self.current.get(&owner) {
            self.close(id, at);
        }
    }

    /// The broker moved the owner's position: what follows is a new session.
    pub(crate) fn corrected(&mut self, owner: Owner, at: SimTime) -> u32 {
        self.revoked(owner, at);
        self.begin(owner, at)
    }

    /// The member is gone: all its sessions end.
    pub(crate) fn node_down(&mut self, node: NodeId, at: SimTime, mut each: impl FnMut(GroupId)) {
        let mut gone: Vec<_> = self
            .current
            .iter()
            .filter(|(owner, _)| owner.0 == node)
            .collect();
        gone.sort_unstable();
        let gone: Vec<_> = gone.into_iter().map(|(&owner, &id)| (owner, id)).collect();
        for (owner, id) in gone {
            each(owner.1);
            self.close(id, at);
            self.current.remove(&owner);
        }
    }

    /// A pull was answered.
    pub(crate) fn pulled(&mut self, session: u32, from: i64, at: SimTime) {
        if let Some(session) = self.sessions.get_mut(session as usize)
            && session.first_from.is_none()
        {
            session.first_from = Some(from);
            session.first_pull = at;
        }
    }

    fn begin(&mut self, owner: Owner, at: SimTime) -> u32 {
        let id = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let (node, group, queue) = owner;
        self.sessions.push(Session {
            node,
            group,
            queue,
            opened: at,
            closed: SimTime(u64::MAX),
            first_from: None,
            first_pull: at,
        });
        self.current.insert(owner, id);
        id
    }

    fn close(&mut self, id: u32, at: SimTime) {
        if let Some(session) = self.sessions.get_mut(id as usize)
            && session.is_open()
        {
            session.closed = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = (NodeId(1), GroupId(2), QueueRef(3));

    fn at(secs: u64) -> SimTime {
        SimTime::from_secs(secs)
    }

    #[test]
    fn a_queue_gained_again_is_a_new_session() {
        let mut builder = SessionBuilder::default();
        let first = builder.assigned(OWNER, at(1));
        assert_eq!(
            builder.assigned(OWNER, at(2)),
            first,
            "it has the queue already"
        );
        builder.revoked(OWNER, at(3));
        assert_eq!(builder.of(OWNER, at(4)), first, "a straggler");
        assert_ne!(builder.assigned(OWNER, at(5)), first);
        assert_eq!(builder.sessions[0].closed, at(3));
    }

    #[test]
    fn a_member_that_dies_loses_its_queues() {
        let mut builder = SessionBuilder::default();
        let first = builder.assigned(OWNER, at(1));
        let mut groups = Vec::new();
        builder.node_down(NodeId(1), at(2), |group| groups.push(group));
        assert_eq!(groups, [GroupId(2)]);
        assert_ne!(builder.of(OWNER, at(3)), first);
        assert!(!builder.sessions[first as usize].is_open());
    }
}
