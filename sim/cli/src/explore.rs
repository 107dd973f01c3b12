//! Many runs, several at a time: one thread per run, results in the order of the jobs.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Once};
use std::time::Duration;

use hotfire_world::report::{Run, replay};
use hotfire_world::run::{Outcome, Progress};
use hotfire_world::scenario::Scenario;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::files;

/// One scenario with one seed.
#[derive(Debug, Clone)]
pub struct Job {
    /// What to run.
    pub scenario: Arc<Scenario>,
    /// With which seed.
    pub seed: u64,
}

/// How jobs are run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many at a time.
    pub threads: usize,
    /// Whether every job is run twice, and fails unless the hashes agree.
    pub verify: bool,
    /// Where results and histories are left.
    pub out: Option<PathBuf>,
}

/// How a job ended.
#[derive(Debug)]
pub enum Done {
    /// It ran to its end.
    Finished(Box<Run>),
    /// It ran twice and did not do the same.
    Differs {
        /// The first run.
        run: Box<Run>,
        /// The hash of the second.
        second: String,
    },
    /// A bug: it panicked, or its results could not be written.
    Broken(String),
}

impl Done {
    /// What it means for the command.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Finished(run) => run.report.verdict.into(),
            Self::Differs { .. } => Exit::Violated,
            Self::Broken(_) => Exit::Internal,
        }
    }
}

/// What happens while jobs run; the number is the job's index.
#[derive(Debug)]
pub enum Event {
    /// A job is under way.
    Progress(usize, Progress, Duration),
    /// A job ended. These come in the order of the jobs.
    Done(usize, Done),
}

/// Runs one scenario with one seed.
pub type Runner<'a> = dyn Fn(&Scenario, u64, &mut dyn FnMut(Progress)) -> Outcome + Sync + 'a;

/// Runs all jobs and tells `tell` about it, on the calling thread.
#[allow(
    clippy::disallowed_methods,
    reason = "runs are single-threaded worlds of their own; this is the one place that has several \
              at a time, outside of them"
)]
pub fn explore(jobs: &[Job], plan: &Plan, runner: &Runner<'_>, tell: &mut dyn FnMut(Event)) {
    let next = AtomicUsize::new(0);
    REMEMBER_PANICS.call_once(remember_panics);
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        for _ in 0..plan.threads.clamp(1, jobs.len().max(1)) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || work(jobs, plan, runner, next, &sender));
        }
        drop(sender);
        in_order(&receiver, tell);
    });
}

fn work(jobs: &[Job], plan: &Plan, runner: &Runner<'_>, next: &AtomicUsize, tell: &Sender<Event>) {
    IS_WORKER.set(true);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(index) else {
            return;
        };
        let started = Instant::now();
        let mut progress = |progress| {
            // Nobody listens any more only if the command is on its way out.
            let _ = tell.send(Event::Progress(index, progress, started.elapsed()));
        };
        let done = one(job, plan, runner, &mut progress).unwrap_or_else(Done::Broken);
        let _ = tell.send(Event::Done(index, done));
    }
}

fn one(
    job: &Job,
    plan: &Plan,
    runner: &Runner<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Done, String> {
    let started = Instant::now();
    let mut guarded = || {
        let run = || runner(&job.scenario, job.seed, progress);
        catch_unwind(AssertUnwindSafe(run)).map_err(|panic| broken(job, &*panic))
    };
    let outcome = guarded()?;
    let wall = started.elapsed();
    let run = Box::new(Run {
        path: job.scenario.path.clone(),
        scenario: job.scenario.name.clone(),
        seed: job.seed,
        counted: job.scenario.expect.counts.clone(),
        report: outcome.report,
        trace_hash: outcome.trace_hash,
        simulated: outcome.simulated,
        wall,
    });
    if let Some(out) = &plan.out {
        files::leave(out, &run, &outcome.history)?;
    }
    drop(outcome.history);
    if plan.verify {
        let second = guarded()?.trace_hash;
        if second != run.trace_hash {
            let second = format!("{second:016x}");
            return Ok(Done::Differs { run, second });
        }
    }
    Ok(Done::Finished(run))
}

/// Passes progress on at once, and the ends of jobs in the order of the jobs.
fn in_order(events: &Receiver<Event>, tell: &mut dyn FnMut(Event)) {
    let mut next = 0;
    let mut waiting = BTreeMap::new();
    for event in events {
        match event {
            Event::Progress(..) => tell(event),
            Event::Done(index, done) => {
                waiting.insert(index, done);
                while let Some(done) = waiting.remove(&next) {
                    tell(Event::Done(next, done));
                    next += 1;
                }
            }
        }
    }
}

static REMEMBER_PANICS: Once = Once::new();

thread_local! {
    /// Whether this thread runs jobs.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
    /// Where and why this thread panicked first since it was asked.
    static FIRST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics of workers for the report, in place of printing them into the progress bars.
fn remember_panics() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if IS_WORKER.get() {
            remember_panic(info);
        } else {
            others(info);
        }
    }));
}

fn remember_panic(info: &PanicHookInfo<'_>) {
    let place = info
        .location()
        .map_or(String::new(), |at| format!(" at {at}"));
    let text = format!("{}{place}", panic_text(info.payload()));
    // The first panic is the cause; what follows while unwinding is not.
    FIRST_PANIC.with_borrow_mut(|first| {
        first.get_or_insert(text);
    });
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked")
}

/// What to tell about a panic: it is a bug, and this is how to see it again.
fn broken(job: &Job, payload: &(dyn Any + Send)) -> String {
    let why = FIRST_PANIC
        .take()
        .unwrap_or_else(|| panic_text(payload).to_owned());
    let Job { scenario, seed } = job;
    let again = replay(&scenario.path, *seed);
    format!(
        "{} with seed {seed}: {why}\n  replay: {again}",
        scenario.name
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use hotfire_check::Recorder;
    use hotfire_check::history::{Meta, Phase};
    use hotfire_check::report::{Report, Stats, Verdict};

    use super::*;

    const SCENARIO: &str = r#"
        story = "x"
        [run]
        duration = "1s"
        [topics.t]
        [producers.p]
        topic = "t"
        load = { shape = "constant", rate = "1/s" }
    "#;

    fn jobs(seeds: u64) -> Vec<Job> {
        let scenario = Arc::new(Scenario::parse("a/b.toml", SCENARIO).unwrap());
        let job = |seed| Job {
            scenario: scenario.clone(),
            seed,
        };
        (1..=seeds).map(job).collect()
    }

    fn outcome(trace_hash: u64) -> Outcome {
        Outcome {
            report: Report {
                verdict: Verdict::Pass,
                reasons: Vec::new(),
                invariants: Vec::new(),
                stats: Stats::default(),
            },
            history: Recorder::new().finish(Meta::default()),
            trace_hash,
            simulated: Duration::from_secs(1),
        }
    }

    fn plan(threads: usize, verify: bool) -> Plan {
        Plan {
            threads,
            verify,
            out: None,
        }
    }

    fn dones(jobs: &[Job], plan: &Plan, runner: &Runner<'_>) -> Vec<(usize, Done)> {
        let mut all = Vec::new();
        explore(jobs, plan, runner, &mut |event| {
            if let Event::Done(index, done) = event {
                all.push((index, done));
            }
        });
        all
    }

    #[test]
    fn jobs_end_in_their_order_however_many_run_at_a_time() {
        let all = dones(&jobs(20), &plan(4, false), &|_, seed, _| outcome(seed));
        assert_eq!(all.len(), 20);
        for (at, (index, done)) in all.iter().enumerate() {
            let Done::Finished(run) = done else {
                panic!("{done:?}")
            };
            assert_eq!((at, at as u64 + 1), (*index, run.seed));
            assert_eq!(done.exit(), Exit::Pass);
        }
    }

    #[test]
    fn progress_is_passed_on() {
        let mut seen = 0;
        let runner = |_: &Scenario, seed, watch: &mut dyn FnMut(Progress)| {
            watch(Progress {
                phase: Phase::Load,
                simulated: Duration::ZERO,
                of: Duration::from_secs(1),
                sent: 0,
                delivered: 0,
            });
            outcome(seed)
        };
        explore(&jobs(3), &plan(2, false), &runner, &mut |event| {
            seen += usize::from(matches!(event, Event::Progress(..)));
        });
        assert_eq!(seen, 3);
    }

    #[test]
    fn a_panic_is_an_internal_error_that_says_how_to_see_it_again() {
        let runner = |_: &Scenario, seed, _: &mut dyn FnMut(Progress)| {
            assert!(seed != 2, "the sky fell");
            outcome(seed)
        };
        let all = dones(&jobs(3), &plan(1, false), &runner);
        let Done::Broken(why) = &all[1].1 else {
            panic!("{:?}", all[1])
        };
        assert!(
            why.starts_with("a/b with seed 2: the sky fell at "),
            "{why}"
        );
        assert!(
            why.ends_with("replay: hotfire run a/b.toml --seed 2"),
            "{why}"
        );
        assert_eq!(all[1].1.exit(), Exit::Internal);
        assert!(matches!(all[2].1, Done::Finished(_)));
    }

    #[test]
    fn verifying_runs_everything_twice_and_compares_hashes() {
        let runs = AtomicU64::new(0);
        let runner = |_: &Scenario, seed, _: &mut dyn FnMut(Progress)| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            outcome(if seed == 2 { run } else { 7 })
        };
        let all = dones(&jobs(2), &plan(1, true), &runner);
        assert_eq!(runs.load(Ordering::Relaxed), 4);
        assert!(matches!(all[0].1, Done::Finished(_)));
        assert!(matches!(all[1].1, Done::Differs { .. }));
        assert_eq!(all[1].1.exit(), Exit::Violated);
    }

    #[test]
    fn results_and_history_are_left_in_a_folder_of_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let plan = Plan {
            out: Some(dir.path().to_owned()),
            ..plan(1, false)
        };
        dones(&jobs(1), &plan, &|_, seed, _| outcome(seed));
        let folder = dir.path().join("a/b/seed-1");
        let results = crate::files::read(&folder.join("results.json")).unwrap();
        assert!(results.contains("\"verdict\": \"pass\""), "{results}");
        assert!(folder.join("history.jsonl").is_file());
    }
}
