//! Two that register as the same broker: by name and id, or by address.
//!
//! The newest registration counts, as in Apache RocketMQ, for it may be that of a broker that was
//! restarted. But the one before is remembered for as long as its connection is open, and counts
//! again when the newer one ends: who came and went under a broker's name takes nothing along.

use hotfire_env::Shown;
use hotfire_protocol::body::DataVersion;

use super::{BROKER_CHANNEL_EXPIRED_TIME, Identity, Live, Registration, RouteInfoManager};

/// The earlier registrations of an address that are remembered.
const EARLIER_MAX: usize = 4;

impl Identity {
    /// Whether this is the broker of a name and an id.
    pub(super) fn is(&self, broker_name: &str, broker_id: i64) -> bool {
        self.broker_name == broker_name && self.broker_id == broker_id
    }

    /// Whether it has not registered for too long.
    pub(super) fn is_expired(&self, now_ms: i64) -> bool {
        self.last_update_ms
            .saturating_add(BROKER_CHANNEL_EXPIRED_TIME)
            < now_ms
    }

    fn describe(&self, addr: &str) -> String {
        let (name, addr) = (Shown(&self.broker_name), Shown(addr));
        let (id, peer) = (self.broker_id, self.peer);
        format!("{name} with id {id} and address {addr}, registered from {peer}")
    }
}

impl Live {
    /// Puts a newer registration in front.
    pub(super) fn replace(&mut self, identity: Identity) {
        let connection = identity.connection;
        let before = std::mem::replace(&mut self.identity, identity);
        self.earlier
            .retain(|earlier| earlier.connection != connection);
        if before.connection != connection {
            if self.earlier.len() == EARLIER_MAX {
                self.earlier.remove(0);
            }
            self.earlier.push(before);
        }
    }

    /// Has the next registration set its topics, whatever its version: somebody else may have
    /// changed them.
    pub(super) fn forget_topics(&mut self) {
        self.data_version = DataVersion {
            counter: -1,
            ..DataVersion::default()
        };
    }
}

impl RouteInfoManager {
    /// Who else is registered as what a registration says, and is still there.
    pub(super) fn rival(&self, now_ms: i64, registration: &Registration) -> Option<String> {
        let Registration {
            broker_name,
            broker_id,
            broker_addr,
            connection,
            ..
        } = registration;
        let of = |addr: &String| {
            let identity = &self.broker_live_table.get(addr)?.identity;
            let there = identity.connection != *connection && !identity.is_expired(now_ms);
            there.then(|| identity.describe(addr))
        };
        let namesake = self
            .broker_addr_table
            .get(broker_name)
            .and_then(|broker| broker.broker_addrs.get(broker_id))
            .filter(|addr| *addr != broker_addr);
        of(broker_addr).or_else(|| of(namesake?))
    }

    /// Ends the newest registration of an address. The one before it counts again; false if there is
    /// none, and the address was removed.
    pub(super) fn fall_back(&mut self, broker_addr: &str) -> bool {
        let live = self.broker_live_table.get_mut(broker_addr);
        let Some((live, earlier)) = live.and_then(|live| {
            let earlier = live.earlier.pop()?;
            Some((live, earlier))
        }) else {
            self.remove(broker_addr);
            return false;
        };
        live.identity = earlier.clone();
        live.forget_topics();
        let name = &earlier.broker_name;
        self.join(&earlier.cluster, name, earlier.broker_id, broker_addr);
        if let Some(broker) = self.broker_addr_table.get_mut(name) {
            broker
                .broker_addrs
                .retain(|id, addr| addr != broker_addr || *id == earlier.broker_id);
        }
        let others: Vec<_> = self
            .broker_addr_table
            .keys()
            .filter(|other| *other != name)
            .cloned()
            .collect();
        for other in others {
            self.leave(&other, broker_addr);
        }
        true
    }
}
