use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hotfire_protocol::header::pull::sys_flag;
use hotfire_protocol::{RequestCode, frame};

use crate::seams::NodeId;
use crate::seams::net::{FrameFilter, FrameInfo, FrameVerdict, tcp};

/// Whether a frame is among the share that is lost. The draw is the frame's own, salted with the
/// fault, so that two faults lose different frames.
fn is_lost(frame: &FrameInfo, share: f64, fault: u32) -> bool {
    tcp::unit(tcp::draw(frame.draw, u64::from(fault))) < share
}

fn is_any(code: i32, of: &[RequestCode]) -> bool {
    of.iter().any(|known| known.0 == code)
}

/// Withholds what clients report: consumers, what they have consumed, by offset commits, also those
/// that ride on pulls, by acknowledgements of popped messages, and by send-backs; producers, how
/// transactions ended. The pulls themselves pass.
pub(super) fn lost_ack(fault: u32, clients: Vec<NodeId>, share: f64) -> Arc<dyn FrameFilter> {
    const REPORTS: [RequestCode; 5] = [
        RequestCode::UPDATE_CONSUMER_OFFSET,
        RequestCode::CONSUMER_SEND_MSG_BACK,
        RequestCode::ACK_MESSAGE,
        RequestCode::BATCH_ACK_MESSAGE,
        RequestCode::END_TRANSACTION,
    ];
    const PULLS: [RequestCode; 2] = [RequestCode::PULL_MESSAGE, RequestCode::LITE_PULL_MESSAGE];
    Arc::new(move |frame: &FrameInfo| {
        if frame.is_response || !clients.contains(&frame.from) || !is_lost(frame, share, fault) {
            FrameVerdict::Pass
        } else if is_any(frame.code, &REPORTS) {
            FrameVerdict::Drop
        } else if is_any(frame.code, &PULLS) {
            without_commit(&frame.bytes).map_or(FrameVerdict::Pass, FrameVerdict::Replace)
        } else {
            FrameVerdict::Pass
        }
    })
}

/// A pull with the commit that rides on it taken away; `None` if there is none.
fn without_commit(pull: &Bytes) -> Option<Bytes> {
    const FLAGS: &str = "sysFlag";
    let mut command = frame::decode(&mut BytesMut::from(&pull[..])).ok()??;
    let flags: i32 = command.ext.get(FLAGS)?.parse().ok()?;
    if flags & sys_flag::COMMIT_OFFSET == 0 {
        return None;
    }
    let flags = flags & !sys_flag::COMMIT_OFFSET;
    command.ext.set(FLAGS, flags.to_string());
    let mut bytes = BytesMut::new();
    frame::encode(&command, &mut bytes).ok()?;
    Some(bytes.freeze())
}

/// Withholds the responses to what producers sent.
pub(super) fn lost_response(
    fault: u32,
    producers: Vec<NodeId>,
    share: f64,
) -> Arc<dyn FrameFilter> {
    const SENDS: [RequestCode; 3] = [
        RequestCode::SEND_MESSAGE,
        RequestCode::SEND_MESSAGE_V2,
        RequestCode::SEND_BATCH_MESSAGE,
    ];
    Arc::new(move |frame: &FrameInfo| {
        let is_answer = producers.contains(&frame.to)
            && frame.request_code.is_some_and(|code| is_any(code, &SENDS));
        if is_answer && is_lost(frame, share, fault) {
            FrameVerdict::Drop
        } else {
            FrameVerdict::Pass
        }
    })
}

#[cfg(test)]
mod tests {
    use hotfire_protocol::RemotingCommand;

    use super::*;

    fn info(command: &RemotingCommand, from: u32, to: u32) -> FrameInfo {
        let mut bytes = BytesMut::new();
        frame::encode(command, &mut bytes).unwrap();
        FrameInfo {
            from: NodeId(from),
            to: NodeId(to),
            code: command.code,
            opaque: command.opaque,
            is_response: command.is_response(),
            request_code: None,
            draw: 1,
            bytes: bytes.freeze(),
        }
    }

    fn pull(flags: i32) -> RemotingCommand {
        let mut pull = RemotingCommand::request(RequestCode::PULL_MESSAGE);
        pull.ext.set("sysFlag", flags.to_string());
        pull
    }

    #[test]
    fn commits_send_backs_and_ends_of_transactions_of_the_named_clients_are_lost() {
        let filter = lost_ack(0, vec![NodeId(1)], 1.0);
        for code in [
            RequestCode::END_TRANSACTION,
            RequestCode::UPDATE_CONSUMER_OFFSET,
            RequestCode::CONSUMER_SEND_MSG_BACK,
        ] {
            let report = RemotingCommand::request(code);
            assert_eq!(filter.judge(&info(&report, 1, 9)), FrameVerdict::Drop);
            assert_eq!(filter.judge(&info(&report, 2, 9)), FrameVerdict::Pass);
        }
        let heartbeat = RemotingCommand::request(RequestCode::HEART_BEAT);
        assert_eq!(filter.judge(&info(&heartbeat, 1, 9)), FrameVerdict::Pass);
    }

    #[test]
    fn a_pull_passes_without_the_commit_that_rides_on_it() {
        let filter = lost_ack(0, vec![NodeId(1)], 1.0);
        let FrameVerdict::Replace(bytes) = filter.judge(&info(&pull(0b111), 1, 9)) else {
            panic!("the commit was not taken away");
        };
        let left = frame::decode(&mut BytesMut::from(&bytes[..]))
            .unwrap()
            .unwrap();
        assert_eq!(left.ext.get("sysFlag"), Some("6"));
        assert_eq!(filter.judge(&info(&pull(0b110), 1, 9)), FrameVerdict::Pass);
    }

    #[test]
    fn a_share_of_the_responses_to_sends_is_lost() {
        let filter = lost_response(0, vec![NodeId(1)], 0.5);
        let answer = RemotingCommand::request(RequestCode::HEART_BEAT);
        let lost = (0..1000).filter(|draw| {
            let frame = FrameInfo {
                request_code: Some(RequestCode::SEND_MESSAGE_V2.0),
                draw: *draw,
                ..info(&answer, 9, 1)
            };
            filter.judge(&frame) == FrameVerdict::Drop
        });
        assert!((400..600).contains(&lost.count()));
    }
}
