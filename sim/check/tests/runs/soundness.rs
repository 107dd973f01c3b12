//! Whatever a correct queue system does, no invariant fires.

use hotfire_check::{InvariantId, Status, check};
use proptest::prelude::*;

use crate::model::{Weather, World};

fn weather() -> impl Strategy<Value = Weather> {
    any::<[bool; 7]>().prop_map(
        |[
            rebalances,
            crashes,
            power,
            failures,
            retried_sends,
            clocks,
            lost,
        ]| Weather {
            rebalances,
            crashes,
            power,
            failures,
            retried_sends,
            clocks,
            lost,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_correct_run_breaks_nothing(seed: u64, steps in 50_usize..1500, weather in weather()) {
        let (history, contract) = World::run(seed, steps, weather).history();
        let report = check(&history, &contract);
        for invariant in &report.invariants {
            prop_assert_ne!(invariant.status, Status::Violated, "{:#?}", invariant);
            prop_assert_ne!(invariant.status, Status::Unknown, "{:#?}", invariant);
        }
    }
}

#[test]
fn the_model_puts_every_invariant_to_the_test() {
    let all = Weather {
        rebalances: true,
        crashes: true,
        power: false,
        failures: true,
        retried_sends: true,
        clocks: false,
        lost: true,
    };
    let calm = Weather {
        crashes: false,
        rebalances: false,
        ..all
    };
    let mut exercised = vec![0; InvariantId::ALL.len()];
    for weather in [all, calm] {
        let (history, contract) = World::run(1, 2000, weather).history();
        for (count, report) in exercised
            .iter_mut()
            .zip(check(&history, &contract).invariants)
        {
            *count += report.exercised;
        }
    }
    for (count, id) in exercised.into_iter().zip(InvariantId::ALL) {
        assert!(count > 0, "{id} was never put to the test");
    }
}
