//! `hotfire run`: scenarios times seeds, and what is told about them.

use std::path::PathBuf;
use std::str::FromStr;

use hotfire_check::report::Verdict;
use hotfire_world::report::{details, summary};
use hotfire_world::run::run;

use crate::exit::Exit;
use crate::explore::{Done, Event, Job, Plan, explore};
use crate::progress::Board;
use crate::{files, load, print};

/// What to run, and how.
#[derive(Debug)]
pub struct Request {
    /// Scenario files and folders.
    pub paths: Vec<PathBuf>,
    /// The seeds of every scenario.
    pub seeds: Seeds,
    /// How many runs at a time.
    pub jobs: usize,
    /// Where results are left.
    pub out: Option<PathBuf>,
    /// Whether runs are told as JSON objects.
    pub json: bool,
    /// Whether everything is run twice.
    pub verify: bool,
}

/// Seeds from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds {
    first: u64,
    last: u64,
}

impl Seeds {
    /// A single seed.
    pub const fn one(seed: u64) -> Self {
        Self {
            first: seed,
            last: seed,
        }
    }

    fn iter(self) -> impl Iterator<Item = u64> {
        self.first..=self.last
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| {
            part.trim()
                .parse::<u64>()
                .map_err(|_| format!("`{part}` is not a seed"))
        };
        let (first, last) = text
            .split_once("..=")
            .or_else(|| text.split_once(".."))
            .ok_or("write seeds like 1..20, both included")?;
        let (first, last) = (parse(first)?, parse(last)?);
        if first > last {
            return Err(format!("{first}..{last} has no seeds"));
        }
        if last - first >= 10_000_000 {
            return Err("that is more than ten million seeds".to_owned());
        }
        Ok(Self { first, last })
    }
}

/// Runs everything and says how the command ends, or what was wrong with the request.
pub fn all(request: &Request) -> Result<Exit, String> {
    let scenarios = load::scenarios(&request.paths)?;
    if let Some(out) = &request.out {
        files::create_folder(out)?;
    }
    let jobs: Vec<Job> = scenarios
        .iter()
        .flat_map(|scenario| {
            let job = |seed| Job {
                scenario: scenario.clone(),
                seed,
            };
            request.seeds.iter().map(job)
        })
        .collect();
    let plan = Plan {
        threads: request.jobs,
        verify: request.verify,
        out: request.out.clone(),
    };
    let mut board = Board::new();
    let mut tally = Tally::default();
    explore(&jobs, &plan, &run, &mut |event| match event {
        Event::Progress(index, progress, wall) => {
            let job = &jobs[index];
            let name = format!("{} seed {}", job.scenario.name, job.seed);
            board.progress(index, &name, &progress, wall);
        }
        Event::Done(index, done) => {
            board.done(index);
            tally.add(&done);
            board.aside(|| show(&done, request.json, jobs.len() == 1, request.verify));
        }
    });
    if jobs.len() > 1 && !request.json {
        print::line(&tally.text());
    }
    Ok(tally.exit())
}

/// Tells about one ended job.
fn show(done: &Done, json: bool, only: bool, verified: bool) {
    match done {
        Done::Broken(why) => print::error(&format!("internal error: {why}")),
        Done::Differs { run, second } => {
            if json {
                print::json(&run.json());
            }
            let first = run.hash_text();
            print::error(&format!(
                "{} with seed {} is not reproducible: its trace hash was {first}, then {second}",
                run.scenario, run.seed
            ));
        }
        Done::Finished(run) if json => print::json(&run.json()),
        Done::Finished(run) => {
            let twice = if verified { "  verified" } else { "" };
            print::line(&format!("{}{twice}", summary(run)));
            if only || run.report.verdict != Verdict::Pass {
                print::line(details(run).trim_end());
            }
        }
    }
}

/// How many runs ended how.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    violated: usize,
    unknown: usize,
    broken: usize,
    worst: Option<Exit>,
}

impl Tally {
    fn add(&mut self, done: &Done) {
        let exit = done.exit();
        match exit {
            Exit::Pass => self.passed += 1,
            Exit::Violated => self.violated += 1,
            Exit::Unknown => self.unknown += 1,
            Exit::Failed | Exit::Usage | Exit::Internal => self.broken += 1,
        }
        self.worst = self.worst.max(Some(exit));
    }

    /// No runs at all prove nothing.
    fn exit(&self) -> Exit {
        self.worst.unwrap_or(Exit::Unknown)
    }

    fn text(&self) -> String {
        let all = self.passed + self.violated + self.unknown + self.broken;
        let mut text = format!("{all} runs: {} pass", self.passed);
        for (count, name) in [
            (self.violated, "fail"),
            (self.unknown, "unknown"),
            (self.broken, "internal error"),
        ] {
            if count > 0 {
                text += &format!(", {count} {name}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_include_both_ends() {
        let seeds: Seeds = "1..3".parse().unwrap();
        assert_eq!(seeds.iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!("5..=5".parse::<Seeds>().unwrap(), Seeds::one(5));
    }

    #[test]
    fn wrong_seeds_are_refused() {
        for wrong in ["", "1", "3..1", "a..b", "0..99999999999"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_worst_run_decides() {
        let mut tally = Tally::default();
        assert_eq!(tally.exit(), Exit::Unknown);
        tally.add(&Done::Broken("x".to_owned()));
        assert_eq!(tally.exit(), Exit::Internal);
        assert_eq!(tally.text(), "1 runs: 0 pass, 1 internal error");
    }
}
