//! One run: a world is built out of a scenario and a seed, stepped through its phases, and judged.
//!
//! Name servers and brokers start first, consumers next, producers last; then the load phase
//! begins, in which producers send and faults strike. When it ends, everything is healed, and the
//! drain phase goes on until nothing is left to consume or its budget is used up. The history is
//! judged by `hotfire_check`, which does not know that any of this was simulated.
//!
//! Invariant: a run is a function of the scenario, the seed and nothing else.

mod broker;
mod contract;
mod outcome;
mod resident;
mod stage;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use hotfire_check::history::{Event, Meta, Phase};

pub use contract::contract;
pub use outcome::{Outcome, Progress};

use crate::fault::Nemesis;
use crate::journal::Lag;
use crate::report;
use crate::scenario::{Role, Scenario};
use stage::Stage;

/// When consumers start: brokers are registered by then.
const CONSUMERS_ENTER: Duration = Duration::from_secs(1);

/// When producers start.
const PRODUCERS_ENTER: Duration = Duration::from_secs(3);

/// When the load begins: consumers have shared the queues by then.
const LOAD_BEGINS: Duration = Duration::from_secs(5);

/// For how long nothing must be left before the run is over.
const QUIET: Duration = Duration::from_secs(3);

/// How often, in simulated time, it is looked whether anything is left, and progress is told.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs a scenario with a seed. `watch` is told about progress now and then.
///
/// # Panics
/// On a bug of the stack or of the testbed: a task that panics, a process that does not start.
pub fn run(scenario: &Scenario, seed: u64, watch: &mut dyn FnMut(Progress)) -> Outcome {
    let scenario = Arc::new(scenario.clone());
    let load = (LOAD_BEGINS, LOAD_BEGINS + scenario.run.duration);
    let mut stage = Stage::build(&scenario, seed, load);
    let mut sim = stage.universe.simulation();
    let mut run = Run {
        nemesis: Nemesis::new(stage.universe.clone(), &scenario.faults, load.0),
        load,
        drain_until: load.1 + scenario.run.drain,
        quiet_since: None,
        watch,
    };
    stage.enter(&[Role::NameServer, Role::Broker]);
    run.until(&mut stage, &mut sim, CONSUMERS_ENTER);
    stage.enter(&[Role::Consumer]);
    run.until(&mut stage, &mut sim, PRODUCERS_ENTER);
    stage.enter(&[Role::Producer]);
    run.until(&mut stage, &mut sim, load.0);
    stage.note(|_| Event::Phase(Phase::Load));
    run.until(&mut stage, &mut sim, load.1);
    let drained = run.drain(&mut stage, &mut sim, longest_send(&scenario));
    stage.note(|_| Event::Phase(Phase::Done { drained }));
    finish(&scenario, seed, drained, &stage, sim)
}

/// Judges what happened, and takes the world down.
fn finish(
    scenario: &Scenario,
    seed: u64,
    drained: bool,
    stage: &Stage,
    sim: turmoil::Sim<'_>,
) -> Outcome {
    let simulated = stage.universe.now();
    let trace_hash = stage.universe.trace().hash();
    let left = stage.journal.lag(Lag::left).unwrap_or_default();
    let history = stage.journal.close(Meta {
        scenario: scenario.name.clone(),
        seed,
    });
    drop(sim);
    let history = history.unwrap_or_else(|| hotfire_check::Recorder::new().finish(Meta::default()));
    let mut report = hotfire_check::check(&history, &contract(scenario));
    report::apply(&scenario.expect, &mut report);
    if !drained {
        report::not_drained(left, &mut report);
    }
    Outcome {
        report,
        history,
        trace_hash,
        simulated,
    }
}

/// How long a send that began at the last moment of the load may take.
fn longest_send(scenario: &Scenario) -> Duration {
    scenario
        .producers
        .values()
        .map(|group| group.timeout)
        .max()
        .unwrap_or_default()
}

struct Run<'a> {
    nemesis: Nemesis,
    load: (Duration, Duration),
    drain_until: Duration,
    /// Since when nothing is left.
    quiet_since: Option<Duration>,
    watch: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    /// Steps until a time, with faults.
    fn until(&mut self, stage: &mut Stage, sim: &mut turmoil::Sim<'_>, end: Duration) {
        let mut look_at = Duration::ZERO;
        while stage.universe.now() < end {
            self.step(stage, sim);
            let now = stage.universe.now();
            if now >= look_at {
                look_at = now + LOOK_EVERY;
                self.tell(stage, Phase::Load);
            }
        }
    }

    /// Heals everything and steps until nothing is left to consume: true, or the budget is used up:
    /// false.
    fn drain(
        &mut self,
        stage: &mut Stage,
        sim: &mut turmoil::Sim<'_>,
        longest_send: Duration,
    ) -> bool {
        self.nemesis.heal(&mut |incident| stage.take(incident));
        stage.note(|_| Event::Phase(Phase::Drain));
        let not_before = stage.universe.now() + longest_send;
        let mut look_at = Duration::ZERO;
        loop {
            self.step(stage, sim);
            let now = stage.universe.now();
            if now < look_at {
                continue;
            }
            look_at = now + LOOK_EVERY;
            self.tell(stage, Phase::Drain);
            let left = stage.journal.lag(Lag::left).unwrap_or_default();
            if left > 0 || now < not_before || stage.is_operator_busy() {
                self.quiet_since = None;
            } else if now >= *self.quiet_since.get_or_insert(now) + QUIET {
                return true;
            }
            if now >= self.drain_until {
                return false;
            }
        }
    }

    fn step(&mut self, stage: &mut Stage, sim: &mut turmoil::Sim<'_>) {
        self.nemesis.act(&mut |incident| stage.take(incident));
        if let Err(why) = stage.universe.step(sim) {
            panic!("{why}");
        }
    }

    fn tell(&mut self, stage: &Stage, phase: Phase) {
        let (sent, delivered) = stage.journal.counts();
        (self.watch)(Progress {
            phase,
            simulated: stage.universe.now(),
            of: match phase {
                Phase::Load => self.load.1,
                Phase::Drain | Phase::Done { .. } => self.drain_until,
            },
            sent,
            delivered,
        });
    }
}
