use std::process::ExitCode;

use hotfire_check::report::Verdict;

/// How the command ends. The order is that of severity: the worst of several decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything passed.
    Pass,
    /// Something was not put to the test, or a budget ended first.
    Unknown,
    /// A server said no, or could not be reached.
    Failed,
    /// An invariant is violated, or a run was not reproducible.
    Violated,
    /// The command line or a scenario is wrong; nothing was run.
    Usage,
    /// A bug of Hotfire itself.
    Internal,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Failed | Self::Violated => 1,
            Self::Unknown => 2,
            Self::Usage => 254,
            Self::Internal => 255,
        }
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Violated,
            Verdict::Unknown => Self::Unknown,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_worse_than_the_unknown_and_a_bug_worse_than_both() {
        let worst = [Exit::Unknown, Exit::Violated, Exit::Pass]
            .into_iter()
            .max();
        assert_eq!(worst, Some(Exit::Violated));
        assert!(Exit::Internal > Exit::Usage && Exit::Usage > Exit::Violated);
    }
}
