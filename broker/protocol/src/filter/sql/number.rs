//! Texts as numbers, as Java's `Integer.valueOf`, `Long.valueOf` and `Double.valueOf` see them.

/// Digits with or without a sign, in 32 bits.
pub(super) fn integer(text: &str) -> Option<i32> {
    text.parse().ok()
}

/// Digits with or without a sign, in 64 bits.
pub(super) fn long(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A decimal fraction: spaces around it, a sign, an exponent and one of the letters `d` and `f`
/// behind it are allowed; `NaN` and `Infinity` are names of numbers too.
pub(super) fn double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits {
        "NaN" => return Some(f64::NAN),
        "Infinity" => f64::INFINITY,
        _ => {
            let digits = digits.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(digits);
            // Rust reads some more words than Java.
            let plain = digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
            if !plain || digits.starts_with(['+', '-']) {
                return None;
            }
            digits.parse().ok()?
        }
    };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_digits_and_perhaps_a_sign() {
        assert_eq!(integer("+7"), Some(7));
        assert_eq!(integer("-2147483648"), Some(i32::MIN));
        for text in ["2147483648", "", "+", " 7", "7 ", "7L", "0x7", "1e3", "--7"] {
            assert_eq!(integer(text), None, "{text}");
        }
        assert_eq!(long("2147483648"), Some(2_147_483_648));
        assert_eq!(long("9223372036854775808"), None);
    }

    #[test]
    fn doubles_are_written_in_more_ways() {
        let numbers = [("7", 7.0), (" 7.5 ", 7.5), (".5", 0.5), ("5.", 5.0)];
        let letters = [("1e3", 1000.0), ("1.5d", 1.5), ("-2E-1f", -0.2)];
        for (text, number) in numbers.into_iter().chain(letters) {
            assert_eq!(double(text), Some(number), "{text}");
        }
        assert_eq!(double("-Infinity"), Some(f64::NEG_INFINITY));
        assert!(double("NaN").unwrap().is_nan());
        for text in [
            "", ".", "d", "inf", "nan", "infinity", "1e", "+-1", "1,5", "1dd",
        ] {
            assert_eq!(double(text), None, "{text}");
        }
    }
}
