use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use rubato::{Fft, FixedSync, Resampler, audioadapter_buffers::direct::InterleavedSlice};

/// Samples of the filter: long enough for a pass band up to 0.98 of the lower rate's half.
const BLOCK: usize = 1024;

/// Changes rates, by a windowed sinc filter in the Fourier domain.
///
/// Filters of rates that were met before are kept; several threads may work at once. A sound's result
/// depends on the sound alone.
pub(super) struct Rates {
    to: u32,
    idle: Mutex<Vec<(u32, Fft<f32>)>>,
}

impl fmt::Debug for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rates").field("to", &self.to).finish_non_exhaustive()
    }
}

/// What the resampling library cannot do.
#[derive(Debug, thiserror::Error)]
#[error("{from} Hz cannot be resampled to {to} Hz: {reason}")]
pub(super) struct RateError {
    from: u32,
    to: u32,
    reason: String,
}

impl Rates {
    /// From any rate to `to`.
    pub fn new(to: u32) -> Self {
        Self { to, idle: Mutex::new(Vec::new()) }
    }

    /// `samples` at `from` Hz, as `ceil(samples · to / from)` samples.
    pub fn convert(&self, samples: Vec<f32>, from: u32) -> Result<Vec<f32>, RateError> {
        if from == self.to || samples.is_empty() {
            return Ok(samples);
        }
        let failed = |reason: String| RateError { from, to: self.to, reason };
        let mut filter = match self.take(from) {
            Some(filter) => filter,
            None => Fft::new(from as usize, self.to as usize, block(from, self.to), 1, FixedSync::Both)
                .map_err(|error| failed(error.to_string()))?,
        };
        let input = InterleavedSlice::new(&samples, 1, samples.len()).map_err(|error| failed(error.to_string()))?;
        let output = filter.process_all(&input, samples.len(), None).map_err(|error| failed(error.to_string()))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((from, filter));
        let mut output = output.take_data();
        output.resize((samples.len() as u64 * u64::from(self.to)).div_ceil(u64::from(from)) as usize, 0.0);
        Ok(output)
    }

    fn take(&self, from: u32) -> Option<Fft<f32>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().position(|(rate, _)| *rate == from)?;
        Some(idle.swap_remove(place).1)
    }
}

/// A block of at least [`BLOCK`] samples at `from` Hz that is a whole and even number of samples at both
/// rates: the filter's middle would lie half a sample beside that of an odd block.
fn block(from: u32, to: u32) -> usize {
    let least = (from / divisor(from, to)) as usize;
    least * BLOCK.div_ceil(least).next_multiple_of(2)
}

/// The greatest common divisor.
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|i| (std::f64::consts::TAU * hertz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    #[test]
    fn a_tone_stays_the_same_tone_at_every_rate() {
        let rates = Rates::new(16_000);
        for from in [8000u32, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000] {
            let samples = from as usize / 2 + 3;
            let converted = rates.convert(tone(1000.0, from, samples), from).unwrap();
            assert_eq!(converted.len(), (samples * 16_000).div_ceil(from as usize), "{from}");
            let expected = tone(1000.0, 16_000, converted.len());
            // The tone starts and ends at once, which no filter follows.
            for i in 600..converted.len() - 600 {
                assert!((converted[i] - expected[i]).abs() < 5e-5, "{from} Hz, {i}: {} {}", converted[i], expected[i]);
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_vanishes() {
        let converted = Rates::new(8000).convert(tone(5000.0, 16_000, 16_000), 16_000).unwrap();
        let loudest = converted[600..7000].iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
        assert!(loudest < 1e-6, "{loudest}");
    }

    #[test]
    fn earlier_sounds_leave_no_trace() {
        let rates = Rates::new(16_000);
        let first = rates.convert(tone(700.0, 8000, 900), 8000).unwrap();
        rates.convert(tone(300.0, 8000, 5000), 8000).unwrap();
        assert_eq!(rates.convert(tone(700.0, 8000, 900), 8000).unwrap(), first);
        assert_eq!(rates.convert(vec![0.5], 8000).unwrap().len(), 2);
        assert_eq!(rates.convert(vec![0.5, 0.25], 16_000).unwrap(), [0.5, 0.25]);
    }
}
