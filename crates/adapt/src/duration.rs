use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A time as people write it: `90s`, `10m`, `1.5h`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duration {
    /// Above 0 and finite.
    seconds: f64,
}

impl Duration {
    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.seconds
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a time above 0, such as 90s, 10m or 1h, found `{text}`");
        let (number, unit) = match text.trim().char_indices().last() {
            Some((at, 's')) => (&text.trim()[..at], 1.0),
            Some((at, 'm')) => (&text.trim()[..at], 60.0),
            Some((at, 'h')) => (&text.trim()[..at], 3600.0),
            _ => (text.trim(), 1.0),
        };
        let seconds = unit * number.trim().parse::<f64>().map_err(|_| wrong())?;
        if seconds > 0.0 && seconds.is_finite() { Ok(Self { seconds }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Duration> for String {
    fn from(time: Duration) -> Self {
        time.to_string()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let seconds = |text: &str| text.parse::<Duration>().map(Duration::seconds);
        assert_eq!(["90s", " 10m", "1.5 h", "7"].map(seconds), [90.0, 600.0, 5400.0, 7.0].map(Ok));
        for wrong in ["", "s", "0m", "-3s", "inf", "ten", "3d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        let time: Duration = "10m".parse().unwrap();
        assert_eq!(time.to_string().parse(), Ok(time));
    }
}
