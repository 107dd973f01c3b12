//! Calendar dates, in UTC: Java's tools show local time, which a program whose runs must not depend
//! on where it runs cannot.

/// A point in time, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    /// The year.
    pub year: i64,
    /// The month, 1 to 12.
    pub month: i64,
    /// The day of the month, 1 to 31.
    pub day: i64,
    /// The hour, 0 to 23.
    pub hour: i64,
    /// The minute.
    pub minute: i64,
    /// The second.
    pub second: i64,
    /// The millisecond.
    pub milli: i64,
}

const DAY_MS: i64 = 86_400_000;

impl Civil {
    /// Of milliseconds since the epoch.
    pub fn of(ms: i64) -> Self {
        let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
        let (year, month, day) = civil_day(days);
        Self {
            year,
            month,
            day,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1_000 % 60,
            milli: in_day % 1_000,
        }
    }

    /// Milliseconds since the epoch.
    pub fn to_ms(self) -> i64 {
        let in_day = (self.hour * 60 + self.minute) * 60 + self.second;
        days_of(self.year, self.month, self.day) * DAY_MS + in_day * 1_000 + self.milli
    }
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn civil_day(days: i64) -> (i64, i64, i64) {
    // In eras of 400 years that begin on the first of March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..=9 => (year_of_era, month + 3),
        _ => (year_of_era + 1, month - 9),
    };
    (era * 400 + year, month, day)
}

/// Days from 1970-01-01 to a date.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        3.. => (year, month - 3),
        _ => (year - 1, month + 9),
    };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `2026-11-22#07:15:48:959`, as bodies have it (`yyyy-MM-dd#HH:mm:ss:SSS`).
pub fn text(ms: i64) -> String {
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        milli,
    } = Civil::of(ms);
    format!("{year:04}-{month:02}-{day:02}#{hour:02}:{minute:02}:{second:02}:{milli:03}")
}

/// `2026-11-22 07:15:48,959`, as tables have it (`UtilAll.timeMillisToHumanString2`).
pub fn human(ms: i64) -> String {
    let text = text(ms);
    let (date, time) = text.split_once('#').unwrap_or((&text, ""));
    let (time, milli) = time.rsplit_once(':').unwrap_or((time, ""));
    format!("{date} {time},{milli}")
}

/// `20261122071548`, as file names and settings have it (`UtilAll.timeMillisToHumanString3`).
pub fn digits(ms: i64) -> String {
    let mut text = text(ms);
    text.retain(|c| c.is_ascii_digit());
    text.truncate(14);
    text
}

/// Reads what [`text`] writes; the milliseconds may be left out.
pub fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.trim().split_once('#')?;
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        let digits = |part: &str| (1..=4).contains(&part.len()) && is_number(part);
        let parts = text.split(separator);
        parts
            .map(|part| digits(part).then(|| part.parse().ok())?)
            .collect()
    };
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let time = numbers(time, ':')?;
    let [hour, minute, second] = *time.first_chunk()?;
    let civil = Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        milli: time.get(3).copied().unwrap_or(0),
    };
    // What is not a date, such as the 30th of February, comes back as another one.
    let ms = civil.to_ms();
    (Civil::of(ms) == civil && time.len() <= 4).then_some(ms)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_written_in_the_ways_of_rocketmq() {
        let ms = 1_795_331_748_959;
        assert_eq!(text(ms), "2026-11-22#07:15:48:959");
        assert_eq!(human(ms), "2026-11-22 07:15:48,959");
        assert_eq!(digits(ms), "20261122071548");
        assert_eq!(text(951_782_400_000), "2000-02-29#00:00:00:000");
    }

    #[test]
    fn milliseconds_may_be_left_out() {
        assert_eq!(parse("1970-01-02#00:00:01"), Some(86_401_000));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-02-30#00:00:00:000",
            "2026-11-22#24:00:00:000",
            "2026-11-22#00:00:60:000",
            "2026-13-01#00:00:00:000",
            "2026-+1-01#00:00:00:000",
            "2026-11-22#00:00:00:000:0",
            "99999-11-22#00:00:00:000",
            "2026-11-22-01#00:00:00",
            "now#",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_written_time_is_read_again(ms in 0i64..253_402_300_800_000) {
            prop_assert_eq!(parse(&text(ms)), Some(ms));
        }
    }
}
