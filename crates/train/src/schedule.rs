use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the learning rate goes over a run: a linear warm-up, then a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The course after the warm-up.
    pub kind: Curve,
    /// The warm-up, in steps (an integer) or as a share of all steps (below 1).
    pub warmup: Warmup,
    /// Share of the peak at the end of `cosine` and `linear`, and the least of `inverse-sqrt`.
    pub final_share: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { kind: Curve::Cosine, warmup: Warmup::Share(0.1), final_share: 0.0 }
    }
}

/// The course of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// Half a cosine down to the final share.
    #[default]
    Cosine,
    /// The peak.
    Constant,
    /// A straight line down to the final share.
    Linear,
    /// Inverse square root of the step, as in the original Transformer.
    InverseSqrt,
}

/// The length of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of steps (an integer) or a share of all steps (below 1.0)")]
pub enum Warmup {
    /// So many steps.
    Steps(u64),
    /// A share of all steps.
    Share(f64),
}

impl ScheduleConfig {
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match self.warmup {
            Warmup::Share(share) if !(0.0..1.0).contains(&share) => {
                return Err(TrainError::config(
                    "schedule.warmup",
                    format!("a share must be at least 0 and below 1, found {share}"),
                ));
            }
            _ => {}
        }
        match (0.0..=1.0).contains(&self.final_share) {
            true => Ok(()),
            false => {
                Err(TrainError::config("schedule.final_share", format!("must be 0 to 1, found {}", self.final_share)))
            }
        }
    }

    /// Steps of the warm-up in a run of `steps`.
    pub fn warmup_steps(&self, steps: u64) -> u64 {
        match self.warmup {
            Warmup::Steps(warmup) => warmup,
            Warmup::Share(share) => (share * steps as f64).round() as u64,
        }
    }

    /// Factor of the peak learning rate at `step` (counted from 0) of `steps`.
    ///
    /// The first step of a warm-up of `w` steps takes `1 / w` of the peak and the last one all of
    /// it, as in open_clip.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        let warmup = self.warmup_steps(steps);
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let done = (step - warmup) as f64 / (steps.saturating_sub(warmup)).max(1) as f64;
        let down_to_final = |share: f64| self.final_share + (1.0 - self.final_share) * share;
        match self.kind {
            Curve::Constant => 1.0,
            Curve::Linear => down_to_final(1.0 - done.min(1.0)),
            Curve::Cosine => down_to_final(0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())),
            Curve::InverseSqrt => (warmup.max(1) as f64 / (step + 1) as f64).sqrt().max(self.final_share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(kind: Curve, warmup: Warmup, final_share: f64, steps: u64) -> Vec<f64> {
        let schedule = ScheduleConfig { kind, warmup, final_share };
        (0..steps).map(|step| (schedule.factor(step, steps) * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn values_by_hand() {
        let warm = [0.5, 1.0];
        let two = Warmup::Steps(2);
        assert_eq!(factors(Curve::Constant, two, 0.0, 4), [warm.as_slice(), &[1.0, 1.0]].concat());
        assert_eq!(factors(Curve::Linear, two, 0.0, 6), [warm.as_slice(), &[1.0, 0.75, 0.5, 0.25]].concat());
        assert_eq!(factors(Curve::Linear, two, 0.2, 6), [warm.as_slice(), &[1.0, 0.8, 0.6, 0.4]].concat());
        // 0.5 (1 + cos(π k / 4))
        assert_eq!(factors(Curve::Cosine, two, 0.0, 6), [warm.as_slice(), &[1.0, 0.853553, 0.5, 0.146447]].concat());
        assert_eq!(factors(Curve::Cosine, two, 0.5, 6), [warm.as_slice(), &[1.0, 0.926777, 0.75, 0.573223]].concat());
        // √(2 / (step + 1)), continuous at the end of the warm-up
        assert_eq!(
            factors(Curve::InverseSqrt, two, 0.0, 8)[1..],
            [1.0, 0.816497, (0.5_f64.sqrt() * 1e6).round() / 1e6, 0.632456, 0.57735, 0.534522, 0.5]
        );
        assert_eq!(factors(Curve::InverseSqrt, two, 0.6, 8)[7], 0.6);
    }

    #[test]
    fn a_share_is_of_all_steps() {
        let schedule = ScheduleConfig::default();
        assert_eq!(schedule.warmup_steps(690), 69);
        assert_eq!(schedule.factor(68, 690), 1.0);
        assert!(schedule.factor(0, 690) < 0.02);
        assert!(schedule.factor(689, 690) < 1e-4);
        assert_eq!(factors(Curve::Linear, Warmup::Share(0.0), 0.0, 2), [1.0, 0.5]);
    }

    #[test]
    fn both_forms_of_a_warmup_are_read() {
        let read = |text: &str| serde_json::from_str::<ScheduleConfig>(text);
        assert_eq!(read(r#"{"warmup": 100}"#).unwrap().warmup, Warmup::Steps(100));
        assert_eq!(read(r#"{"warmup": 0.1, "kind": "inverse-sqrt"}"#).unwrap().warmup, Warmup::Share(0.1));
        assert!(read(r#"{"warmup": "long"}"#).unwrap_err().to_string().contains("number of steps"));
        assert!(read(r#"{"warmup": 1.5}"#).unwrap().check().is_err());
        assert!(read(r#"{"final_share": -0.5}"#).unwrap().check().is_err());
    }
}
