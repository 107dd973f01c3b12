//! Deleting a topic or a group: the reverse of creation, table by table.
//!
//! Whoever is created anew under a deleted name begins with nothing. What belongs to connections -
//! members and their subscriptions - stays until these end.

use hotfire_protocol::pop::revive_topic;
use hotfire_protocol::{RemotingCommand, ResponseCode};

use crate::pop::Gone;
use crate::processor::faq;
use crate::refusal::Refusal;
use crate::state::State;
use crate::table_files::Table;
use crate::waiting::Waiting;

/// What is deleted.
#[derive(Debug, Clone, Copy)]
enum Deleted<'a> {
    Topic(&'a str),
    /// A group; with or without its committed offsets.
    Group(&'a str, bool),
}

impl Deleted<'_> {
    fn gone(self) -> Gone {
        match self {
            Self::Topic(topic) => Gone::Topic(topic.to_owned()),
            Self::Group(group, _) => Gone::Group(group.to_owned()),
        }
    }

    /// What those are told who wait for it, as if they asked now.
    fn refusal(self) -> Refusal {
        match self {
            Self::Topic(topic) => Refusal::new(
                ResponseCode::TOPIC_NOT_EXIST,
                faq(&format!("topic[{topic}] not exist, apply first please!")),
            ),
            Self::Group(group, _) => Refusal::new(
                ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
                faq(&format!("subscription group [{group}] does not exist,")),
            ),
        }
    }
}

/// The group that a waiting request is of.
fn group_of(request: &RemotingCommand) -> &str {
    request.ext.get("consumerGroup").unwrap_or_default()
}

impl State {
    /// Deletes a topic from every table but the store's own. True if it was there.
    pub fn forget_topic(&self, topic: &str) -> bool {
        let deleted = self.topics.write().delete(topic, self.env.now_ms());
        if deleted {
            self.files.change(Table::Topics);
        }
        self.forget(Deleted::Topic(topic));
        deleted
    }

    /// Deletes a group from every table; its committed offsets stay unless `clean_offset`. True if it
    /// was there.
    pub fn forget_group(&self, group: &str, clean_offset: bool) -> bool {
        let deleted = self.groups.write().delete(group, self.env.now_ms());
        if deleted {
            self.files.change(Table::Groups);
        }
        self.forget(Deleted::Group(group, clean_offset));
        deleted
    }

    /// Every field of the state is named here, so that a table that is new has to say what becomes of
    /// it.
    fn forget(&self, deleted: Deleted<'_>) {
        let Self {
            env: _,
            config: _,
            store,
            ip: _,
            port: _,
            sync_flush: _,
            levels: _,
            observer: _,
            entropy: _,
            namesrv: _,
            started_ms: _,
            log_end_at_start: _,
            config_version: _,
            stats,
            metrics,
            acl: _,
            // The caller's part.
            topics: _,
            groups: _,
            offsets,
            resets,
            // They belong to connections.
            producers: _,
            consumers: _,
            filters,
            channels: _,
            locks,
            // By delay level.
            cursors: _,
            timers,
            files,
            hold,
            woken: _,
            wake: _,
            pop,
            // Counted by line.
            set_aside: _,
            balance,
            // Sends are answered in moments.
            gate: _,
            send_queued: _,
            defect_clock: _,
        } = self;
        match deleted {
            Deleted::Topic(topic) => {
                offsets.lock().remove_topic(topic);
                stats.lock().broker.remove_topic(topic);
                filters.lock().remove_topic(topic);
                locks.lock().remove_topic(topic);
                if let Some(timers) = timers {
                    timers.forget_topic(topic);
                    files.change(Table::TimerMetrics);
                }
                if balance.forget_topic(topic) {
                    files.change(Table::Modes);
                }
            }
            Deleted::Group(group, clean_offset) => {
                if clean_offset {
                    offsets.lock().remove_group(group);
                }
                stats.lock().broker.remove_group(group);
                filters.lock().remove_group(group);
                locks.lock().remove_group(group);
                if balance.modes.lock().remove_group(group) {
                    files.change(Table::Modes);
                }
            }
        }
        files.note_commit();
        let gone = deleted.gone();
        resets.lock().retain(|topic, group| !gone.has(topic, group));
        if let Some(metrics) = metrics {
            metrics.forget(|topic, group| gone.has(topic, group));
        }
        let revive_topic = revive_topic(&self.config().broker_cluster_name);
        let revive_end = |queue_id| store.max_offset_in_queue(&revive_topic, queue_id);
        let mut parked = hold
            .lock()
            .take(|topic, waiting| gone.has(topic, group_of(&waiting.request)));
        parked.extend(pop.forget(&gone, revive_end));
        self.save_orders();
        self.refuse(&parked, deleted);
    }

    fn refuse(&self, parked: &[Waiting], deleted: Deleted<'_>) {
        for waiting in parked {
            let response = deleted.refusal().response(&waiting.request);
            self.answer_late(waiting, response, true);
        }
    }
}
