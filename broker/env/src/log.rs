//! Log lines that peers can cause: not too many of them, and none too long.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The characters of a name that go into a log line. Real topics have 127 at most, groups 255.
const SHOWN_MAX: usize = 256;

/// Lets so many log lines of one kind through in a period, and counts the others: what a peer does
/// a million times does not fill the disk that the log is on.
///
/// ```
/// # use hotfire_env::LogLimit;
/// static REFUSED: LogLimit = LogLimit::new(10);
/// if let Some(left_out) = REFUSED.admit() {
///     tracing::warn!(left_out, "refused something");
/// }
/// ```
///
/// A simulation keeps it in what belongs to one process, not in a static.
#[derive(Debug)]
pub struct LogLimit {
    lines: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Option<Instant>,
    admitted: u32,
    left_out: u64,
}

impl LogLimit {
    /// How long a period is.
    pub const PERIOD: Duration = Duration::from_secs(10);

    /// At most so many lines in a [period](Self::PERIOD).
    pub const fn new(lines: u32) -> Self {
        Self {
            lines,
            state: Mutex::new(State {
                since: None,
                admitted: 0,
                left_out: 0,
            }),
        }
    }

    /// Whether one more line may be written, and if so how many were left out since the last one.
    pub fn admit(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let since = *state.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= Self::PERIOD {
            state.since = Some(now);
            state.admitted = 0;
        }
        if state.admitted >= self.lines {
            state.left_out += 1;
            return None;
        }
        state.admitted += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

/// A name that a peer chose, as log lines show it: cut off, and without control characters, which
/// could pass for lines of their own.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        for (at, char) in self.0.chars().enumerate() {
            if at == SHOWN_MAX {
                return write!(f, "... ({} bytes)", self.0.len());
            }
            if char.is_control() {
                write!(f, "{}", char.escape_default())?;
            } else {
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_limit_are_counted_and_reported_with_the_next_one() {
        let limit = LogLimit::new(2);
        let admitted: Vec<_> = (0..5).map(|_| limit.admit()).collect();
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        tokio::time::advance(LogLimit::PERIOD).await;
        assert_eq!([limit.admit(), limit.admit()], [Some(3), Some(0)]);
    }

    #[test]
    fn a_name_is_shown_on_one_line_of_bounded_length() {
        assert_eq!(Shown("orders").to_string(), "orders");
        assert_eq!(Shown("a\nb\u{1}").to_string(), "a\\nb\\u{1}");
        let long = Shown(&"x".repeat(1_000_000)).to_string();
        assert!(
            long.len() < 300 && long.ends_with("(1000000 bytes)"),
            "{long}"
        );
    }
}
