//! How far runs are: bars on a terminal, a plain line now and then otherwise. All on stderr.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use hotfire_check::history::Phase;
use hotfire_world::report::thousands;
use hotfire_world::run::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Wall time between two plain lines about one run.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows how far runs are.
pub enum Board {
    /// A bar for every run that is under way.
    Bars {
        all: MultiProgress,
        bars: BTreeMap<usize, ProgressBar>,
    },
    /// A line for every run that takes long; when each was shown last.
    Plain(BTreeMap<usize, Duration>),
}

impl Board {
    /// Bars if stderr is a terminal.
    pub fn new() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bars {
                all: MultiProgress::new(),
                bars: BTreeMap::new(),
            }
        } else {
            Self::Plain(BTreeMap::new())
        }
    }

    /// A run is so far.
    pub fn progress(&mut self, index: usize, name: &str, progress: &Progress, wall: Duration) {
        match self {
            Self::Bars { all, bars } => {
                let bar = bars.entry(index).or_insert_with(|| all.add(new_bar(name)));
                bar.set_length(tenths(progress.of));
                bar.set_position(tenths(progress.simulated));
                bar.set_message(state(progress, wall));
            }
            Self::Plain(shown) => {
                let last = shown.entry(index).or_default();
                if wall >= *last + PLAIN_EVERY {
                    *last = wall;
                    // Progress that nobody can see is no reason to stop.
                    let line = format!("{name}  {}", state(progress, wall));
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            }
        }
    }

    /// A run has ended.
    pub fn done(&mut self, index: usize) {
        match self {
            Self::Bars { bars, .. } => {
                if let Some(bar) = bars.remove(&index) {
                    bar.finish_and_clear();
                }
            }
            Self::Plain(shown) => {
                shown.remove(&index);
            }
        }
    }

    /// Does something that prints, without tearing the bars.
    pub fn aside(&self, print: impl FnOnce()) {
        match self {
            Self::Bars { all, .. } => all.suspend(print),
            Self::Plain(_) => print(),
        }
    }
}

fn new_bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(1);
    if let Ok(style) = ProgressStyle::with_template("{prefix}  {wide_bar}  {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar
}

fn tenths(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis() / 100).unwrap_or(u64::MAX)
}

fn state(progress: &Progress, wall: Duration) -> String {
    let phase = match progress.phase {
        Phase::Load => "load",
        Phase::Drain => "drain",
        Phase::Done { .. } => "done",
    };
    format!(
        "{phase}  {:.1} s simulated  {:.1} s wall  {} sent  {} delivered",
        progress.simulated.as_secs_f64(),
        wall.as_secs_f64(),
        thousands(progress.sent),
        thousands(progress.delivered),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_shows_simulated_and_wall_time() {
        let progress = Progress {
            phase: Phase::Drain,
            simulated: Duration::from_millis(61_500),
            of: Duration::from_secs(90),
            sent: 240_000,
            delivered: 1200,
        };
        insta::assert_snapshot!(
            state(&progress, Duration::from_millis(2_340)),
            @"drain  61.5 s simulated  2.3 s wall  240,000 sent  1,200 delivered"
        );
    }
}
