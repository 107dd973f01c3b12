//! Values with units: durations, rates, sizes.

use std::time::Duration;

/// A duration: `"800ms"`, `"1.5s"`.
pub(super) const DURATIONS: Units = Units {
    what: "a duration",
    example: "\"800ms\" or \"30s\"",
    // In microseconds.
    units: &[
        ("us", 1),
        ("ms", 1_000),
        ("s", 1_000_000),
        ("m", 60_000_000),
        ("h", 3_600_000_000),
    ],
};

/// Messages over time: `"200/s"`.
pub(super) const RATES: Units = Units {
    what: "a rate",
    example: "\"200/s\"",
    // In messages per thousand and per 3600 seconds: the finest that all three share.
    units: &[("/s", 3_600_000), ("/m", 60_000), ("/h", 1_000)],
};

/// Bytes: `"1KiB"`.
pub(super) const SIZES: Units = Units {
    what: "a size",
    example: "\"512B\" or \"4KiB\"",
    units: &[
        ("B", 1),
        ("KB", 1_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
    ],
};

/// Bytes over time: `"100MiB/s"`.
pub(super) const THROUGHPUTS: Units = Units {
    what: "a throughput",
    example: "\"100MiB/s\"",
    units: &[
        ("B/s", 1),
        ("KB/s", 1_000),
        ("KiB/s", 1 << 10),
        ("MB/s", 1_000_000),
        ("MiB/s", 1 << 20),
        ("GB/s", 1_000_000_000),
        ("GiB/s", 1 << 30),
    ],
};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub message: String,
    pub help: Option<String>,
}

/// A family of units.
#[derive(Debug)]
pub(super) struct Units {
    /// What is measured, with its article.
    pub what: &'static str,
    /// How one is written.
    pub example: &'static str,
    units: &'static [(&'static str, u64)],
}

impl Units {
    /// Reads a number and its unit, in the family's smallest unit. What is smaller than that is an
    /// error, not rounded away.
    pub fn parse(&self, text: &str) -> Result<u64, Wrong> {
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = (trimmed[..end].replace('_', ""), trimmed[end..].trim());
        if number.is_empty() || !number.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.wrong(format!("`{text}` is not {}", self.what), None));
        }
        if unit.is_empty() {
            let likely = self.likely();
            let help = format!("did you mean \"{number}{likely}\"? {}", self.possible());
            return Err(self.wrong(format!("`{text}` has no unit"), Some(help)));
        }
        let Some(&(_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            let help = match super::problem::nearest(unit, self.units.iter().map(|(name, _)| *name))
            {
                Some(near) => format!("did you mean \"{number}{near}\"? {}", self.possible()),
                None => self.possible(),
            };
            let message = format!("`{unit}` is not a unit of {}", self.what);
            return Err(self.wrong(message, Some(help)));
        };
        self.scale(&number, factor)
            .map_err(|why| self.wrong(format!("`{text}` {why}"), None))
    }

    fn scale(&self, number: &str, factor: u64) -> Result<u64, &'static str> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if number.ends_with('.') || fraction.contains('.') || fraction.len() > 9 {
            return Err("is not a number");
        }
        let whole: u64 = whole.parse().map_err(|_| "is too large")?;
        let scaled = u128::from(whole) * u128::from(factor);
        let divisor = 10u128.pow(fraction.len() as u32);
        let part: u128 = fraction.parse().unwrap_or(0) * u128::from(factor);
        if !part.is_multiple_of(divisor) {
            return Err("is too fine");
        }
        u64::try_from(scaled + part / divisor).map_err(|_| "is too large")
    }

    /// A quantity given in the family's smallest unit, with the largest unit that divides it.
    pub fn show(&self, quantity: u64) -> String {
        let fits = |factor: u64| quantity >= factor && quantity.is_multiple_of(factor);
        let named = self.units.iter().rev().find(|(_, factor)| fits(*factor));
        match named.or(self.units.first()) {
            Some((name, factor)) => format!("{}{name}", quantity / factor),
            None => quantity.to_string(),
        }
    }

    fn wrong(&self, message: String, help: Option<String>) -> Wrong {
        let help = help.or_else(|| Some(format!("write {} like {}", self.what, self.example)));
        Wrong { message, help }
    }

    /// The unit most people mean when they write none.
    fn likely(&self) -> &'static str {
        self.units
            .iter()
            .map(|(name, _)| *name)
            .find(|name| matches!(*name, "s" | "/s" | "B" | "MiB/s"))
            .unwrap_or_default()
    }

    fn possible(&self) -> String {
        let names: Vec<String> = self
            .units
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        format!("the units are {}", names.join(", "))
    }
}

/// A duration in its smallest unit as a [`Duration`].
pub(super) fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// A duration as scenarios write it: `800ms`, `30s`, `1.5s`.
pub fn show(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    match micros {
        0 => "0s".to_owned(),
        n if n > 1_000_000 && !n.is_multiple_of(1_000_000) => format!("{}s", n as f64 / 1e6),
        n => DURATIONS.show(n),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_carry_units() {
        assert_eq!(DURATIONS.parse("800ms"), Ok(800_000));
        assert_eq!(DURATIONS.parse("1.5s"), Ok(1_500_000));
        assert_eq!(DURATIONS.parse("2 m"), Ok(120_000_000));
        assert_eq!(
            RATES.parse("20_000/s").map(|rate| rate / 3_600_000),
            Ok(20_000)
        );
        assert_eq!(SIZES.parse("4KiB"), Ok(4096));
        assert_eq!(THROUGHPUTS.parse("100MiB/s"), Ok(100 << 20));
    }

    #[test]
    fn a_bare_number_is_refused() {
        let wrong = DURATIONS.parse("5").unwrap_err();
        assert_eq!(wrong.message, "`5` has no unit");
        assert!(wrong.help.unwrap().starts_with("did you mean \"5s\"?"));
    }

    #[test]
    fn a_wrong_unit_names_the_nearest() {
        let wrong = SIZES.parse("4kib").unwrap_err();
        assert!(wrong.help.unwrap().starts_with("did you mean \"4KiB\"?"));
        let wrong = DURATIONS.parse("10 parsecs").unwrap_err();
        assert_eq!(wrong.message, "`parsecs` is not a unit of a duration");
    }

    #[test]
    fn what_cannot_be_expressed_is_an_error() {
        for text in [
            "",
            "s",
            "-5s",
            "1..5s",
            "1.s",
            "0.0000001s",
            "99999999999999999999h",
            "9e9s",
        ] {
            assert!(DURATIONS.parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_shown_reads_back(micros in 0u64..1_000_000) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(DURATIONS.parse(&show(duration)), Ok(micros));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            for units in [&DURATIONS, &RATES, &SIZES, &THROUGHPUTS] {
                let _ = units.parse(&text);
            }
        }
    }
}
