//! Load balancing by the broker (5.x): which queues a member of a group is to read, and whether it
//! pulls or pops them (`QueryAssignmentProcessor`, `MessageRequestModeManager`,
//! `TopicRouteInfoManager`).
//!
//! A member that asks sees what it would have computed itself, from the same route and the same list
//! of members; what is new is that an administrator can have a group pop a topic, and that members
//! that pop may share queues.

mod modes;
mod routes;
mod share;

use parking_lot::Mutex;

use routes::Routes;

pub(crate) use modes::RequestModes;
pub(crate) use routes::Told;
pub(crate) use share::share;

/// What load balancing knows.
#[derive(Default)]
pub(crate) struct LoadBalance {
    /// What administrators have set.
    pub modes: Mutex<RequestModes>,
    /// Where the topics are that somebody asked for.
    pub routes: Mutex<Routes>,
}

impl LoadBalance {
    /// With what was set in an earlier life.
    pub fn new(modes: RequestModes) -> Self {
        Self {
            modes: Mutex::new(modes),
            ..Self::default()
        }
    }

    /// Forgets a topic. True if anything was set for it.
    pub fn forget_topic(&self, topic: &str) -> bool {
        self.routes.lock().forget(topic);
        self.modes.lock().remove_topic(topic)
    }
}
