//! The checkers are proved in whole runs: for every invariant a scenario in which it is put to the
//! test and holds, and in which it is violated once a defect that belongs to it is planted. A
//! planted defect may break other invariants along with its own.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

use hotfire_check::InvariantId;
use hotfire_check::report::{InvariantReport, Report, Status, Verdict};
use hotfire_env::Defect;
use hotfire_world::run::run;
use hotfire_world::scenario::Scenario;

/// An invariant, a defect that breaks it, and a scenario in which that shows.
struct Case {
    invariant: InvariantId,
    defect: Defect,
    /// The file's name and its text.
    scenario: (&'static str, &'static str),
}

const SEED: u64 = 1;

/// A line each: what is tested, the invariant, the defect, the scenario's file.
macro_rules! cases {
    ($($test:ident: $invariant:ident, $defect:ident, $file:literal;)+) => {
        const CASES: &[Case] = &[$(Case {
            invariant: InvariantId::$invariant,
            defect: Defect::$defect,
            scenario: ($file, include_str!(concat!("defects/", $file, ".toml"))),
        },)+];

        $(
            #[test]
            fn $test() {
                prove(Defect::$defect);
            }
        )+
    };
}

cases! {
    a_broker_that_acknowledges_before_it_appends_violates_inv_loss:
        Loss, AckBeforeAppend, "calm";
    a_broker_that_skips_a_synchronous_flush_violates_inv_loss_when_the_power_fails:
        Loss, SkipFlush, "power-loss";
    a_broker_that_garbles_bodies_violates_inv_phantom:
        Phantom, GarbleBody, "calm";
    an_orderly_consumer_that_goes_on_when_suspended_violates_inv_order:
        Order, SkipSuspended, "orderly";
    a_broker_that_pops_on_behind_what_failed_violates_inv_order:
        Order, PassUnacked, "popping-in-order";
    a_broker_that_answers_a_neighbours_offset_violates_inv_logid:
        LogId, WrongQueueOffset, "calm";
    a_broker_that_appends_twice_violates_inv_logdup:
        LogDup, AppendTwice, "calm";
    a_broker_whose_pulls_skip_a_message_violates_inv_skip:
        Skip, PullSkips, "calm";
    a_broker_whose_pulls_go_back_violates_inv_mono:
        Mono, PullGoesBack, "calm";
    a_consumer_that_commits_before_it_consumes_violates_inv_offsafe:
        OffSafe, CommitBeforeConsume, "slow-listener";
    a_consumer_that_commits_zero_at_first_violates_inv_offmono:
        OffMono, CommitZero, "member-restart";
    a_consumer_that_hands_messages_out_twice_violates_inv_steadydup:
        SteadyDup, ConsumeTwice, "calm";
    a_broker_that_forgets_offsets_in_a_restart_violates_inv_redeliver:
        Redeliver, ForgetOffsets, "broker-restart";
    a_rebalance_that_leaves_a_queue_to_nobody_violates_inv_unseen:
        Unseen, OrphanQueue, "calm";
    a_member_that_takes_every_queue_violates_inv_alloc:
        Alloc, TakeEveryQueue, "long-calm";
    a_broker_that_grants_any_lock_violates_inv_excl:
        Excl, GrantAnyLock, "orderly-restart";
    a_broker_that_wakes_nobody_violates_inv_wake:
        Wake, WakeNobody, "long-calm";
    a_consumer_that_compares_only_hashes_of_tags_violates_inv_filter:
        Filter, LooseTags, "equal-tags";
    a_client_that_mixes_replies_up_violates_inv_corr:
        Corr, MixReplies, "requests";
    a_retry_without_delay_violates_inv_retry:
        Retry, RetryAtOnce, "failures";
    a_broker_that_drops_exhausted_messages_violates_inv_dlq:
        Dlq, DropExhausted, "poison";
    a_broker_that_leaves_messages_out_of_its_index_violates_inv_index:
        Index, SkipIndex, "look-up";
    a_producer_that_repeats_unique_ids_violates_inv_iduniq:
        IdUniq, RepeatIds, "calm";
    a_timer_that_delivers_before_the_time_violates_inv_early:
        Early, TimerEarly, "timers";
    a_timer_wheel_that_stands_still_violates_inv_late:
        Late, TimerStalls, "timers";
    a_timer_that_delivers_twice_violates_inv_once:
        Once, TimerTwice, "timers";
    a_broker_that_revives_too_early_violates_inv_invis:
        Invis, ReviveEarly, "popping";
    a_broker_that_forgets_acknowledgements_violates_inv_handle:
        Handle, ForgetAck, "popping";
    books_that_take_a_duplicate_for_a_new_message_violate_inv_ledger:
        Ledger, BookTwice, "lost-responses";
    a_broker_that_trusts_signatures_violates_inv_access:
        Access, TrustSignatures, "access";
    a_broker_that_serves_what_it_refuses_violates_inv_phantom:
        Phantom, RefuseAndServe, "access";
    a_broker_that_delivers_what_was_rolled_back_violates_inv_txatom:
        TxAtom, DeliverRolledBack, "transactions";
    a_broker_that_forgets_undecided_transactions_violates_inv_txterm:
        TxTerm, ForgetHalf, "transactions";
    a_broker_that_asks_about_decided_transactions_violates_inv_txcheck:
        TxCheck, CheckDecided, "transactions";
}

/// Without the defect the invariant is put to the test and holds; with it, it is violated.
fn prove(defect: Defect) {
    let case = CASES.iter().find(|case| case.defect == defect).unwrap();

    let report = case.run(&[]);
    assert_eq!(report.verdict, Verdict::Pass, "{:?}", report.reasons);
    assert_eq!(case.found(&report).status, Status::Holds);

    let report = case.run(&[defect]);
    assert_eq!(report.verdict, Verdict::Fail);
    let found = case.found(&report);
    assert_eq!(found.status, Status::Violated, "{:?}", report.reasons);
    let shown = found.evidence.first().map_or(0, |first| first.lines.len());
    assert!(shown > 0, "a violation without evidence");
}

impl Case {
    /// Runs the scenario with defects, in the expectation that the invariant holds.
    fn run(&self, defects: &[Defect]) -> Report {
        let (name, text) = self.scenario;
        let mut scenario = Scenario::parse(&format!("defects/{name}.toml"), text)
            .unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        scenario.expect.holds = vec![self.invariant];
        scenario.defects = defects.to_vec();
        run(&scenario, SEED, &mut |_| {}).report
    }

    /// What a report says of the invariant.
    fn found<'a>(&self, report: &'a Report) -> &'a InvariantReport {
        report.invariant(self.invariant).unwrap()
    }
}

#[test]
fn every_invariant_has_a_case_and_every_defect_is_planted_in_one() {
    for invariant in InvariantId::ALL {
        assert!(
            CASES.iter().any(|case| case.invariant == *invariant),
            "nothing is planted that violates {invariant}"
        );
    }
    for defect in Defect::ALL {
        let mut cases = CASES.iter().filter(|case| case.defect == *defect);
        let case = cases
            .next()
            .unwrap_or_else(|| panic!("{defect} is never planted"));
        assert!(cases.next().is_none(), "{defect} is planted twice");
        assert!(
            defect.description().contains(case.invariant.name()),
            "{defect} is not said to violate {}",
            case.invariant
        );
    }
}
