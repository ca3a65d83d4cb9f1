//! Numbers as people read them.

/// About three significant digits, two of small numbers: `4.85`, `0.283`, `0.0028`, `12,480`, `7.3e−5`.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        _ if !(1e-4..1e6).contains(&size) => scientific(value, 1),
        _ if size >= 1000.0 => thousands(value),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ if size < 0.01 => fixed(value, (1 - size.log10().floor() as i32) as usize),
        _ => fixed(value, (2 - size.log10().floor() as i32).max(0) as usize),
    }
}

/// So many decimals, with a true minus sign.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$}").replace('-', "−")
}

/// `7.3e-5`, without a trailing `.0`.
pub(crate) fn scientific(value: f64, decimals: usize) -> String {
    format!("{value:.decimals$e}").replace(".0e", "e").replace('-', "−")
}

/// A whole number with its digits in groups.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut grouped = String::from(if value < 0.0 { "−" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_well() {
        let cases = [
            (0.0, "0"),
            (4.8520, "4.85"),
            (0.28349, "0.283"),
            (0.001, "0.0010"),
            (0.0123, "0.0123"),
            (12480.0, "12,480"),
            (1234567.0, "1.2e6"),
            (7.3e-5, "7.3e−5"),
            (-0.5, "−0.500"),
            (128.0, "128"),
            (99.96, "100.0"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(thousands(-1000.0), "−1,000");
    }
}
