//! INV-CORR: a reply belongs to its request.

use crate::facts::{Facts, NONE};
use crate::history::SendKind;

use super::{Findings, Invariant};

pub(super) static INVARIANT: Invariant = Invariant {
    statement: "A reply reaches the one who asked, and is about what was asked.",
    explanation: "\
Whoever sends a request waits for a message in return. Requests of one client share a connection
and a table of open requests, so a reply that is matched to the wrong one is told as the truth.

Judged by: every reply that a requester got. It must carry the number of its own request, which
was sent as one, and arrive once at most.

Promised by Apache RocketMQ: under every fault. A correlation id in the properties joins the two
(RequestFutureHolder).

Legal: a request without a reply. It ends in a timeout for the one who asked.",
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Findings) {
    let mut replied = rustc_hash::FxHashMap::default();
    for reply in &facts.features.replies {
        findings.exercise();
        let op = facts.ops.get(reply.op as usize);
        let asked = op.map_or(NONE, |op| op.value);
        let before = replied.insert(reply.op, reply.record);
        let what = if before.is_some() {
            "got a second reply".to_owned()
        } else if op.is_none_or(|op| op.kind != SendKind::Request) {
            "got a reply although it was no request".to_owned()
        } else if facts.message(reply.value) != asked {
            format!("got a reply that is about message {}", reply.value.0)
        } else {
            continue;
        };
        findings.violation(|| {
            let sent = op.map_or(NONE, |op| op.record);
            let records = [sent, before.unwrap_or(NONE), reply.record];
            let summary = format!("{} {what}", facts.message_name(asked));
            facts.evidence(summary, asked, reply.at, &records)
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::history::SendKind::Request;
    use crate::invariant::InvariantId::Corr;
    use crate::report::Status;
    use crate::story::Story;

    fn asked() -> Story {
        let mut s = Story::new(Story::contract());
        s.at(1.0).invoke_kind(7, "t", Request).ok(7, "t#0", 0);
        s.invoke_kind(8, "t", Request).ok(8, "t#0", 1);
        s
    }

    #[test]
    fn a_reply_to_each_request_is_right() {
        let mut s = asked();
        s.replied(8, 8).replied(7, 7);
        s.check(Corr).holds(2);
    }

    #[test]
    fn a_reply_to_another_request_is_wrong() {
        let mut s = asked();
        s.replied(7, 8).replied(8, 7);
        let report = s.check(Corr).violated(2);
        insta::assert_snapshot!(report.evidence[0].summary, @"message 7 got a reply that is about message 8");
    }

    #[test]
    fn a_second_reply_is_wrong() {
        let mut s = asked();
        s.replied(7, 7).replied(7, 7);
        s.check(Corr).violated(1);
    }

    #[test]
    fn a_request_without_a_reply_is_not_judged() {
        asked().check(Corr).status(Status::NotExercised);
    }
}
