//! Answers that wait until what they vouch for is in its file.

use std::sync::Arc;

use hotfire_protocol::message::property;
use hotfire_protocol::{RemotingCommand, ResponseCode};
use hotfire_remoting::Handled;

use crate::state::State;
use crate::table_files::Table;

/// What a successful answer vouches for beside the message that it may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vouches {
    /// Nothing that is written to a file of a table.
    Nothing,
    /// That the topic of the message is written, if it is new.
    Topic,
    /// That whatever it changed in the tables is written.
    Tables,
}

/// The tables that requests change whose success means that the change stays.
const VOUCHED: [Table; 4] = [Table::Topics, Table::Groups, Table::Modes, Table::Settings];

/// What a request may change, looked at before it is served.
pub(super) enum Settle {
    /// Nothing that its answer vouches for.
    Nothing,
    /// It may create this topic, or be the first to use it.
    Send(String),
    /// The newest change of each table of [`VOUCHED`].
    Tables([u64; VOUCHED.len()]),
}

/// Whether the sender of a message waits for the disk.
fn waits(properties: &str) -> bool {
    let entry = (property::WAIT, "false");
    !property::entries(properties).any(|property| property == entry)
}

impl Settle {
    /// What there is before a request is served.
    pub fn before(broker: &State, vouches: Vouches, request: &RemotingCommand) -> Self {
        match vouches {
            Vouches::Topic => {
                // Version 2 of the header has letters for names.
                let field = |short, long| request.ext.get(short).or_else(|| request.ext.get(long));
                let waits = field("i", "properties").is_none_or(waits);
                match field("b", "topic").filter(|_| waits) {
                    Some(topic) => Self::Send(topic.to_owned()),
                    None => Self::Nothing,
                }
            }
            Vouches::Tables => Self::Tables(VOUCHED.map(|table| broker.files.newest(table))),
            Vouches::Nothing => Self::Nothing,
        }
    }

    /// Has a successful answer wait until what was changed is in its file. It becomes an error if it
    /// cannot be written.
    pub fn after(self, broker: &Arc<State>, handled: Handled) -> Handled {
        match (&self, &handled) {
            (Self::Nothing, _) | (_, Handled::None) => return handled,
            (Self::Send(_), _) if !broker.files.has_new_topics() => return handled,
            (Self::Tables(before), Handled::Reply(_)) => {
                let newest = VOUCHED.map(|table| broker.files.newest(table));
                if *before == newest {
                    return handled;
                }
            }
            _ => {}
        }
        let broker = broker.clone();
        Handled::Later(Box::pin(async move {
            let response = match handled {
                Handled::Reply(response) => Some(response),
                Handled::Later(answering) => answering.await,
                Handled::None => None,
            };
            let mut response = response?;
            if let Err(why) = self.settled(&broker).await {
                response.code = ResponseCode::SYSTEM_ERROR.0;
                response.remark = Some(format!(
                    "done, but not written: it may be undone when the broker starts again. {why}"
                ));
            }
            Some(response)
        }))
    }

    async fn settled(self, broker: &State) -> Result<(), Arc<str>> {
        match self {
            Self::Nothing => Ok(()),
            Self::Send(topic) => broker.files.topic_written(&topic).await,
            Self::Tables(before) => {
                for (table, before) in VOUCHED.into_iter().zip(before) {
                    if broker.files.newest(table) != before {
                        broker.files.written(table).await?;
                    }
                }
                Ok(())
            }
        }
    }
}
