//! Names as speech, by the program espeak-ng.

use std::{
    f64::consts::PI,
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
};

const PROGRAM: &str = "espeak-ng";
const LANGUAGES: [&str; 4] = ["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp"];
const VARIANTS: [&str; 10] = ["m1", "m2", "m3", "m4", "m5", "m7", "f1", "f2", "f3", "f4"];
/// espeak-ng speaks at 22,050 samples a second; half of that is kept.
const SPOKEN_RATE: u32 = 22_050;

/// Whether the program is there.
pub(super) fn installed() -> bool {
    let run = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// A spoken text.
pub(super) struct Speech {
    pub samples: Vec<i16>,
    pub rate: u32,
}

/// Speaks a text in a voice, at a pace and a pitch chosen by `choice`. `file` is written on the way.
///
/// # Errors
/// What the program, or reading what it wrote, said.
pub(super) fn speak(text: &str, choice: u64, file: &Path) -> Result<Speech, String> {
    let (language, choice) = (LANGUAGES[(choice % 4) as usize], choice / 4);
    let (variant, choice) = (VARIANTS[(choice % 10) as usize], choice / 10);
    let (pace, pitch) = (140 + choice % 41, 35 + choice / 41 % 31);
    let output = Command::new(PROGRAM)
        .args(["-v", &format!("{language}+{variant}"), "-s", &pace.to_string(), "-p", &pitch.to_string(), "-w"])
        .arg(file)
        .args(["--", text])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{PROGRAM}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{PROGRAM}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    let speech = read(file).map_err(|error| format!("what {PROGRAM} wrote: {error}"))?;
    match speech.samples.is_empty() {
        true => Err(format!("{PROGRAM} said nothing for `{text}`")),
        false => Ok(speech),
    }
}

fn read(file: &Path) -> Result<Speech, hound::Error> {
    let wav = hound::WavReader::open(file)?;
    let spec = wav.spec();
    if spec.channels != 1 || spec.bits_per_sample != 16 {
        return Err(std::io::Error::new(ErrorKind::InvalidData, format!("expected 16-bit mono, found {spec:?}")).into());
    }
    let samples = wav.into_samples::<i16>().collect::<Result<Vec<_>, _>>()?;
    Ok(match spec.sample_rate {
        SPOKEN_RATE => Speech { samples: halve(&samples), rate: SPOKEN_RATE / 2 },
        rate => Speech { samples, rate },
    })
}

/// Every second sample, after a low-pass filter (a sinc in a Hann window) that takes away what half
/// the rate cannot carry.
fn halve(samples: &[i16]) -> Vec<i16> {
    const REACH: i64 = 24;
    let tap = |offset: i64| {
        let x = offset as f64;
        let sinc = if offset == 0 { 0.5 } else { (PI * x / 2.0).sin() / (PI * x) };
        sinc * (0.5 + 0.5 * (PI * x / (REACH + 1) as f64).cos())
    };
    let taps: Vec<(i64, f64)> = (-REACH..=REACH).map(|offset| (offset, tap(offset))).collect();
    let total: f64 = taps.iter().map(|(_, tap)| tap).sum();
    let at =
        |place: i64| usize::try_from(place).ok().and_then(|place| samples.get(place)).map_or(0.0, |&x| f64::from(x));
    let filtered = |place: i64| taps.iter().map(|(offset, tap)| tap * at(place + offset)).sum::<f64>() / total;
    (0..samples.len() as i64).step_by(2).map(|place| filtered(place).round() as i16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64) -> Vec<i16> {
        let wave = |time: usize| (10_000.0 * (2.0 * PI * hertz * time as f64 / f64::from(SPOKEN_RATE)).sin()) as i16;
        (0..4000).map(wave).collect()
    }

    #[test]
    fn halving_keeps_speech_and_takes_what_would_alias() {
        let loudest = |samples: &[i16]| samples[100..1900].iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
        assert_eq!(halve(&tone(440.0)).len(), 2000);
        assert!((9_900..10_100).contains(&loudest(&halve(&tone(440.0)))));
        assert!((9_700..10_100).contains(&loudest(&halve(&tone(4000.0)))));
        assert!(loudest(&halve(&tone(7000.0))) < 100);
    }
}
