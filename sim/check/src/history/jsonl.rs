//! A history as JSON lines: one object per event, with every name written out and times in seconds,
//! so that a line explains itself. The first line says which run it is and names the nodes in
//! order.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::event::SimTime;
use super::line::{LineEvent, Text, read_event, write_event};
use super::recorder::{History, Meta, Recorder};

/// The version of the format; a reader refuses others.
const VERSION: u32 = 3;

/// A history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input could not be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the history: {source}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The first line does not open a history of a version known here.
    #[error("not a history of version {VERSION}: {0}")]
    Header(String),
}

#[derive(Serialize, Deserialize)]
struct HeaderLine<'a> {
    history: u32,
    scenario: Text<'a>,
    seed: u64,
    nodes: Vec<NodeLine<'a>>,
}

#[derive(Serialize, Deserialize)]
struct NodeLine<'a> {
    name: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serves: Option<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    t: f64,
    node: Text<'a>,
    #[serde(flatten)]
    event: LineEvent<'a>,
}

impl History {
    /// Writes the history as JSON lines.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write_jsonl(&self, mut out: impl Write) -> io::Result<()> {
        let names = self.names();
        let nodes = (0..names.node_count())
            .map(|at| super::NodeId(u32::try_from(at).unwrap_or(u32::MAX)))
            .map(|node| NodeLine {
                name: names.node_name(node).into(),
                serves: names
                    .serves(node)
                    .map(|broker| names.broker_name(broker).into()),
            })
            .collect();
        let meta = self.meta();
        let header = HeaderLine {
            history: VERSION,
            scenario: (&*meta.scenario).into(),
            seed: meta.seed,
            nodes,
        };
        serde_json::to_writer(&mut out, &header)?;
        out.write_all(b"\n")?;
        for record in self.records() {
            let line = Line {
                t: record.at.as_secs_f64(),
                node: names.node_name(record.node).into(),
                event: write_event(names, record.event),
            };
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// Reads what [`write_jsonl`](Self::write_jsonl) wrote.
    ///
    /// # Errors
    /// When `input` fails, or a line is not an event of this format version.
    pub fn read_jsonl(input: impl BufRead) -> Result<Self, ReadError> {
        let mut lines = input.lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let header: HeaderLine<'_> =
            serde_json::from_str(&first).map_err(|error| ReadError::Header(error.to_string()))?;
        if header.history != VERSION {
            return Err(ReadError::Header(format!(
                "it has version {}",
                header.history
            )));
        }
        let mut recorder = Recorder::new();
        for node in &header.nodes {
            match &node.serves {
                Some(broker) => recorder.broker_node(&node.name, broker),
                None => recorder.node(&node.name),
            };
        }
        for (at, text) in lines.enumerate() {
            let text = text?;
            let line: Line<'_> = serde_json::from_str(&text).map_err(|source| ReadError::Line {
                line: at + 2,
                source,
            })?;
            let event = read_event(&mut recorder, line.event);
            let node = recorder.node(&line.node);
            recorder.record(SimTime((line.t * 1e6).round() as u64), node, event);
        }
        Ok(recorder.finish(Meta {
            scenario: header.scenario.into_owned(),
            seed: header.seed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn one_of_each() -> History {
        let mut r = Recorder::new();
        let producer = r.node("producer-1");
        let broker = r.broker_node("broker-a-0", "broker-a");
        let member = r.node("member-1");
        let operator = r.node("operator");
        let (topic, group) = (r.topic("orders"), r.group("fulfil"));
        let queue = r.queue("orders", "broker-a", 3);
        let (value, order) = (Value(7), Some(Order { id: 1, seq: 2 }));
        let (op, delivery) = (r.next_op(), r.next_delivery());
        let (reason, nodes) = (r.text("timed \"out\""), r.nodes(&[broker, member]));
        let events = [
            (operator, Event::Phase(Phase::Load)),
            (
                producer,
                Event::SendInvoked {
                    op,
                    value,
                    topic,
                    order,
                    kind: SendKind::Transaction,
                    delay_level: 3,
                    bytes: 128,
                },
            ),
            (
                producer,
                Event::SendOk {
                    op,
                    queue,
                    offset: 5,
                    durable: true,
                    attempts: 1,
                },
            ),
            (
                producer,
                Event::Timed {
                    op,
                    due_ms: 1_762_790_400_000,
                },
            ),
            (producer, Event::RecallInvoked { op }),
            (
                producer,
                Event::RecallEnded {
                    op,
                    outcome: CallOutcome::Refused,
                },
            ),
            (producer, Event::Named { op, id: u64::MAX }),
            (producer, Event::Unwanted { group, value }),
            (
                producer,
                Event::LocalTransaction {
                    op,
                    value,
                    state: TransactionState::Unknown,
                },
            ),
            (
                producer,
                Event::TransactionChecked {
                    value,
                    round: 2,
                    state: TransactionState::Commit,
                },
            ),
            (producer, Event::Replied { op, value }),
            (
                operator,
                Event::Queried {
                    by: QueryBy::UniqueKey,
                    value,
                    found: true,
                    strangers: 1,
                },
            ),
            (
                producer,
                Event::SendFailed {
                    op,
                    reason,
                    attempts: 2,
                },
            ),
            (
                producer,
                Event::SendUnknown {
                    op,
                    reason,
                    attempts: 3,
                },
            ),
            (member, Event::Subscribed { group, topic }),
            (
                member,
                Event::Assigned {
                    group,
                    queue,
                    from: Some(5),
                },
            ),
            (
                member,
                Event::Assigned {
                    group,
                    queue,
                    from: None,
                },
            ),
            (
                member,
                Event::Pulled {
                    group,
                    queue,
                    got: 1,
                    from: 5,
                    next: 6,
                },
            ),
            (
                member,
                Event::Corrected {
                    group,
                    queue,
                    from: 9,
                    to: 6,
                },
            ),
            (
                member,
                Event::Delivered {
                    delivery,
                    group,
                    queue,
                    offset: 5,
                    value,
                    intact: true,
                    reconsume: 1,
                },
            ),
            (
                member,
                Event::Popped {
                    delivery,
                    popped_at_ms: 1_762_790_450_000,
                    visible_at_ms: 1_762_790_460_000,
                },
            ),
            (member, Event::HideInvoked { delivery }),
            (
                member,
                Event::Hidden {
                    delivery,
                    handle: 1,
                    visible_at_ms: 1_762_790_470_000,
                },
            ),
            (
                member,
                Event::AckInvoked {
                    delivery,
                    handle: 1,
                },
            ),
            (
                member,
                Event::AckEnded {
                    delivery,
                    outcome: CallOutcome::Ok,
                },
            ),
            (
                member,
                Event::Finished {
                    delivery,
                    outcome: Outcome::Consumed,
                },
            ),
            (
                member,
                Event::Committed {
                    group,
                    queue,
                    offset: 6,
                },
            ),
            (
                member,
                Event::Effect {
                    group,
                    value,
                    applied: true,
                    amount: -40,
                },
            ),
            (member, Event::Revoked { group, queue }),
            (
                broker,
                Event::Appended {
                    queue,
                    reconsume: 1,
                    offset: 5,
                    physical: 900,
                    value: Some(value),
                },
            ),
            (broker, Event::HalfEnded { queue, offset: 4 }),
            (
                broker,
                Event::ClockSet {
                    ahead_us: -5_000_000,
                },
            ),
            (
                broker,
                Event::OffsetSet {
                    group,
                    queue,
                    offset: 6,
                },
            ),
            (
                operator,
                Event::OffsetReset {
                    group,
                    queue,
                    offset: 0,
                },
            ),
            (
                operator,
                Event::FaultBegan {
                    fault: 0,
                    kind: FaultKind::PowerLoss,
                    text: reason,
                    nodes,
                },
            ),
            (
                broker,
                Event::NodeDown {
                    how: How::PowerLoss,
                },
            ),
            (broker, Event::NodeUp),
            (
                broker,
                Event::Recovered {
                    max_physical: 800,
                    truncated_bytes: 100,
                },
            ),
            (broker, Event::QueueMax { queue, offset: 5 }),
            (operator, Event::FaultEnded { fault: 0 }),
            (operator, Event::Phase(Phase::Drain)),
            (operator, Event::Phase(Phase::Done { drained: true })),
        ];
        for (at, (node, event)) in events.into_iter().enumerate() {
            r.record(SimTime(at as u64 * 1_000_003), node, event);
        }
        r.finish(Meta {
            scenario: "crash/process".into(),
            seed: 42,
        })
    }

    fn written(history: &History) -> String {
        let mut out = Vec::new();
        history.write_jsonl(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_history_reads_back_as_it_was_written() {
        let history = one_of_each();
        let text = written(&history);
        let read = History::read_jsonl(text.as_bytes()).unwrap();
        assert_eq!(read.records(), history.records());
        assert_eq!(read.meta(), history.meta());
        assert_eq!(written(&read), text);
    }

    #[test]
    fn a_line_explains_itself() {
        let text = written(&one_of_each());
        let line = text
            .lines()
            .find(|line| line.contains("\"delivered\""))
            .unwrap();
        insta::assert_snapshot!(line, @r#"{"t":19.000057,"node":"member-1","event":"delivered","delivery":0,"group":"fulfil","topic":"orders","broker":"broker-a","queue":3,"offset":5,"value":7,"intact":true,"reconsume":1}"#);
    }

    #[test]
    fn a_broken_line_is_reported_with_its_number() {
        let text = written(&one_of_each());
        let mut lines: Vec<_> = text.lines().collect();
        lines[3] = r#"{"t":1,"node":"x","event":"no-such-event"}"#;
        let error = History::read_jsonl(lines.join("\n").as_bytes()).unwrap_err();
        assert!(
            error.to_string().starts_with("line 4 of the history: "),
            "{error}"
        );
    }

    #[test]
    fn another_version_or_another_file_is_refused() {
        let other = r#"{"history":99,"scenario":"","seed":1,"nodes":[]}"#;
        for text in ["", "{}", other] {
            let error = History::read_jsonl(text.as_bytes()).unwrap_err();
            assert!(matches!(error, ReadError::Header(_)), "{text}: {error}");
        }
    }

    #[test]
    fn the_time_survives_to_the_microsecond() {
        let mut recorder = Recorder::new();
        let node = recorder.node("n");
        let times = [1, 999_999, 1_000_001, 3_600_000_000 * 24 + 7];
        for at in times {
            recorder.record(SimTime(at), node, Event::NodeUp);
        }
        let text = written(&recorder.finish(Meta::default()));
        let read = History::read_jsonl(text.as_bytes()).unwrap();
        assert_eq!(
            read.records().iter().map(|r| r.at.0).collect::<Vec<_>>(),
            times
        );
    }
}
