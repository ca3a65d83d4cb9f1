//! What single cells say.

use std::ops::RangeInclusive;

use sensorium_contract::Value;

/// Further ways in which people write that there is nothing, beside those that every table knows.
const MISSING: [&str; 10] = ["n/a", "na", "nan", "none", "null", "nil", "<na>", "#n/a", "-", "."];

/// Whether a text says that there is nothing.
pub fn is_missing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || MISSING.iter().any(|missing| text.eq_ignore_ascii_case(missing))
}

/// Letters of Thai and Lao, of kana, and of Chinese.
const UNSPACED: [RangeInclusive<char>; 4] =
    ['\u{0e00}'..='\u{0eff}', '\u{3040}'..='\u{30ff}', '\u{3400}'..='\u{9fff}', '\u{f900}'..='\u{faff}'];

/// Whether a text is written without blanks between words: in Chinese, Japanese, Thai or Lao.
pub fn is_unspaced(text: &str) -> bool {
    let unspaced = |letter: &char| UNSPACED.iter().any(|letters| letters.contains(letter));
    2 * text.chars().filter(unspaced).count() > text.chars().count()
}

/// The number that a cell holds.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bytes(_) | Value::List(_) => None,
    }
}

/// Days since 1970-01-01 of `2020-03-17`, `2020-03-17T08:15:00`, `2020/03/17`, `17.03.2020`, or
/// `03/17/2020`.
pub fn days(text: &str) -> Option<f64> {
    let (date, time) = match text.trim().split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text.trim(), None),
    };
    let separator = ['-', '/', '.'].into_iter().find(|&separator| date.matches(separator).count() == 2)?;
    let parts: Vec<&str> = date.split(separator).collect();
    if parts.iter().any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let number = |place: usize| parts[place].parse::<i64>().ok();
    let [year, month, day] = match (separator, parts[0].len()) {
        (_, 4) => [number(0)?, number(1)?, number(2)?],
        ('/', _) if parts[2].len() == 4 => [number(2)?, number(0)?, number(1)?],
        (_, _) if parts[2].len() == 4 => [number(2)?, number(1)?, number(0)?],
        _ => return None,
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(since_1970(year, month, day) as f64 + time.map_or(Some(0.0), share_of_day)?)
}

/// Days of the Gregorian calendar, by counting from March so that leap days come last (Howard
/// Hinnant, "chrono-compatible low-level date algorithms").
fn since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `08:15` or `08:15:30`, with anything after it.
fn share_of_day(time: &str) -> Option<f64> {
    let mut parts = time.split(':').map(|part| part.get(..2).unwrap_or(part).parse::<f64>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    Some((hours + minutes / 60.0) / 24.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_people_write_them() {
        for text in ["2020-03-17", "2020/03/17", "17.03.2020", "03/17/2020"] {
            assert_eq!(days(text), Some(18_338.0), "{text}");
        }
        assert_eq!(days("1970-01-01T12:00:00Z"), Some(0.5));
        assert_eq!(days("2000-02-29"), Some(11_016.0));
        for text in ["3.14", "1.2.3", "2020-13-01", "a-b-c", "2020", "1-2", "10.0.0.1"] {
            assert_eq!(days(text), None, "{text}");
        }
    }

    #[test]
    fn scripts_without_blanks_are_known() {
        assert!(is_unspaced("患者发烧，咳嗽") && is_unspaced("熱があります 38.5") && is_unspaced("มีไข้"));
        assert!(!is_unspaced("열이 있다") && !is_unspaced("Müller (发烧)") && !is_unspaced(""));
    }

    #[test]
    fn nothing_is_written_in_many_ways() {
        for text in ["", " ", "N/A", "nan", "None", "-", "<NA>"] {
            assert!(is_missing(text), "{text}");
        }
        assert!(!is_missing("no") && !is_missing("0"));
    }
}
