//! INV-LOSS: no acknowledged message is lost from the log.

use crate::facts::{Facts, Fate, NONE};

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A message whose send was acknowledged is stored and stays stored.",
    explanation: "\
A producer that was told SEND_OK need not keep the message: from then on the log has it. The
invariant is broken when the log never had it, or when a recovery cut it off although it was
safe.

Judged by: every value with a SEND_OK. Seen from inside the brokers: it was appended to its topic
(or to the one where it waits for its time or the end of its transaction), and not every copy
lies behind the point where a recovery ended the log. Seen from outside only: after a complete
drain somebody was handed it.

Promised by Apache RocketMQ: with SYNC_FLUSH under process crashes, power loss, network faults
and client crashes; with ASYNC_FLUSH under all of these but power loss.

Legal, and counted: with ASYNC_FLUSH a power loss takes what was not flushed yet (the flusher
looks every 0.5 s and flushes 4 dirty pages, and everything every 10 s), no more. Results other
than SEND_OK (FLUSH_DISK_TIMEOUT and the like) promise nothing after a power loss. The second
copy that a delayed message makes when it is due is stored without waiting for a flush in every
mode.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    for (message, _) in (0u32..).zip(&facts.messages) {
        let fate = facts.fate(message);
        if fate == Fate::Unacked {
            continue;
        }
        findings.exercise();
        let name = || facts.message_name(message);
        match fate {
            Fate::Unacked | Fate::Stored => {}
            Fate::LostLegally => findings.legal(
                "acknowledged, then lost within the unflushed window of a power loss",
                || evidence(facts, message, format!("{} is gone, legally", name())),
            ),
            Fate::NeverStored => findings.violation(|| {
                evidence(facts, message, format!("{} was acknowledged but never stored", name()))
            }),
            Fate::Lost => findings.violation(|| {
                let why = "was acknowledged and safe, and was cut off all the same";
                evidence(facts, message, format!("{} {why}", name()))
            }),
            Fate::Vanished => findings.violation(|| {
                let why = "was acknowledged and nobody was ever handed it";
                evidence(facts, message, format!("{} {why}", name()))
            }),
        }
    }
}

fn evidence(facts: &Facts<'_>, message: u32, summary: String) -> crate::report::Evidence {
    let mut records = Vec::new();
    let mut at = facts.end();
    if let Some(op) = facts.ok_op(message) {
        records.extend([op.record, op.end_record]);
        at = op.ended;
    }
    if let Some(append) = facts.log.of(message).last() {
        let down = facts.log.outage_of(append).map_or(NONE, |outage| outage.record);
        records.extend([append.record, down, append.cut]);
    }
    facts.evidence(summary, message, at, &records)
}

#[cfg(test)]
mod tests {
    use crate::contract::{Contract, Flush};
    use crate::history::How;
    use crate::invariant::InvariantId::Loss;
    use crate::report::Status;
    use crate::story::Story;

    fn sync() -> Contract {
        Contract { flush: Flush::Sync, ..Story::contract() }
    }

    #[test]
    fn a_message_that_stays_in_the_log_is_not_lost() {
        let mut s = Story::new(sync());
        s.at(1.0).send(7, "t#0", 0);
        s.at(2.0).down("b-0", How::PowerLoss).at(3.0).up("b-0").recovered(100);
        s.check(Loss).holds(1);
    }

    #[test]
    fn an_acknowledged_message_that_was_never_appended_is_lost() {
        let mut s = Story::new(sync());
        s.at(1.0).send(7, "t#0", 0);
        s.at(2.0).invoke(8, "t").ok(8, "t#0", 1);
        let report = s.check(Loss).violated(1);
        assert_eq!(report.evidence[0].value, Some(8));
        insta::assert_snapshot!(report.evidence[0].lines.join("\n"), @r#"
        2.000000s  p: sends message 8 to t
        2.001000s  p: message 8 acknowledged at t@b#0 offset 1
        "#);
    }

    #[test]
    fn with_synchronous_flush_a_power_loss_must_not_take_anything_acknowledged() {
        let mut s = Story::new(sync());
        s.at(1.0).send(7, "t#0", 0).send(8, "t#0", 1);
        s.at(1.2).down("b-0", How::PowerLoss).at(3.0).up("b-0").recovered(50);
        s.check(Loss).violated(1);
    }

    #[test]
    fn with_asynchronous_flush_a_power_loss_may_take_what_was_not_flushed() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.at(1.2).down("b-0", How::PowerLoss).at(3.0).up("b-0").recovered(0);
        let report = s.check(Loss).holds(1);
        assert_eq!((report.legal.len(), report.legal[0].count), (1, 1));
    }

    #[test]
    fn with_asynchronous_flush_what_is_older_than_the_window_must_survive() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.at(20.0).down("b-0", How::PowerLoss).at(23.0).up("b-0").recovered(0);
        s.check(Loss).violated(1);
    }

    #[test]
    fn four_dirty_pages_shorten_the_window_to_a_tick() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        for offset in 1..200 {
            s.send(100 + offset, "t#0", offset as i64);
        }
        s.at(6.0).down("b-0", How::PowerLoss).at(9.0).up("b-0").recovered(0);
        // The first page holds 41 messages of 100 bytes; the second is among the last four.
        s.check(Loss).violated(41);
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        let mut s = Story::new(Story::contract());
        s.at(1.0).send(7, "t#0", 0);
        s.at(1.1).down("b-0", How::Kill).at(3.0).up("b-0").recovered(0);
        s.check(Loss).violated(1);
    }

    #[test]
    fn a_message_of_unknown_fate_may_be_lost() {
        let mut s = Story::new(sync());
        s.at(1.0).invoke(7, "t").at(4.0).unknown(7);
        s.check(Loss).status(Status::NotExercised);
    }

    #[test]
    fn a_copy_that_a_retry_stored_elsewhere_saves_the_message() {
        let mut s = Story::new(sync());
        s.at(1.0).invoke(7, "t").append(7, "t#0", 0, 0);
        s.at(1.1).down("b-0", How::PowerLoss).at(2.0).up("b-0").recovered(0);
        s.at(3.0).append(7, "t#1", 0, 0).ok(7, "t#1", 0);
        s.check(Loss).holds(1);
    }

    #[test]
    fn without_a_view_into_the_brokers_what_nobody_sees_after_the_drain_is_lost() {
        let mut s = Story::new(sync());
        s.at(1.0).invoke(7, "t").ok(7, "t#0", 0).invoke(8, "t").ok(8, "t#0", 1);
        s.at(2.0).assign("m1", "t#0").pull("m1", "t#0", 0, 2).consume("m1", "t#0", 0, 7);
        s.at(9.0).done(true);
        s.check(Loss).violated(1);
    }

    #[test]
    fn a_message_that_waits_for_its_time_or_its_transaction_is_stored() {
        let mut s = Story::new(sync());
        s.at(1.0).send_half(7, 0).send_timed(8, 500.0, 0);
        s.check(Loss).holds(2);
    }

    #[test]
    fn a_half_message_that_was_safe_must_not_be_lost() {
        let mut s = Story::new(sync());
        s.at(1.0).send_half(7, 0).at(20.0).down("b-0", How::PowerLoss);
        s.at(22.0).up("b-0").recovered(0);
        s.check(Loss).violated(1);
    }
}
