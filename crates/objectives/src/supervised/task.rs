use ndarray::{Array2, ArrayD};
use serde::{Deserialize, Serialize};

/// What a label is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// One of two or more classes, by cross-entropy.
    Classes {
        /// As they are written, numbers in their shortest form.
        classes: Vec<String>,
    },
    /// One of several grades in their order, by whether it is above each grade, given that it
    /// reaches it (CORN, Shi et al. 2021).
    Ordinal {
        /// From the least to the greatest.
        classes: Vec<String>,
    },
    /// Any number of classes at once, each by a yes or no.
    Labels {
        /// As they are written.
        classes: Vec<String>,
    },
    /// A number, by squared error of the standardised label.
    Number {
        /// Over the training samples.
        mean: f64,
        /// Over the training samples, above 0.
        deviation: f64,
    },
}

/// What a model says of one case: a probability for each class, or a number in the label's unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// In the order of the classes. They sum to 1, but for [`Task::Labels`].
    Probabilities(Vec<f32>),
    /// In the label's unit.
    Number(f64),
}

impl Task {
    /// The classes; none of a number.
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Classes { classes } | Self::Ordinal { classes } | Self::Labels { classes } => classes,
            Self::Number { .. } => &[],
        }
    }

    /// Numbers that a head gives.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Classes { classes } | Self::Labels { classes } => classes.len(),
            Self::Ordinal { classes } => classes.len().saturating_sub(1),
            Self::Number { .. } => 1,
        }
    }

    /// What is impossible about it.
    pub(super) fn problem(&self) -> Option<String> {
        let classes = self.classes();
        let twice = classes.iter().enumerate().find(|(place, class)| classes[..*place].contains(class));
        match self {
            _ if twice.is_some() => twice.map(|(_, class)| format!("`classes` names `{class}` twice")),
            Self::Classes { .. } | Self::Ordinal { .. } if classes.len() < 2 => {
                Some(format!("`classes`: expected two or more, found {}", classes.len()))
            }
            Self::Labels { .. } if classes.is_empty() => Some("`classes`: expected one or more".into()),
            Self::Number { mean, deviation } if !(mean.is_finite() && *deviation > 0.0 && deviation.is_finite()) => {
                Some(format!("expected a mean and a deviation above 0, found {mean} and {deviation}"))
            }
            _ => None,
        }
    }

    /// What a head's numbers for one case mean.
    pub fn answer(&self, logits: &[f32], temperature: f32) -> Answer {
        let sure = |logit: &f32| 1.0 / (1.0 + (-logit / temperature).exp());
        match self {
            Self::Classes { .. } => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let shares: Vec<f32> = logits.iter().map(|logit| ((logit - most) / temperature).exp()).collect();
                let sum: f32 = shares.iter().sum();
                Answer::Probabilities(shares.iter().map(|share| share / sum).collect())
            }
            Self::Ordinal { .. } => {
                let mut reaches = 1.0;
                let mut probabilities = Vec::with_capacity(logits.len() + 1);
                for above in logits.iter().map(sure) {
                    probabilities.push(reaches * (1.0 - above));
                    reaches *= above;
                }
                probabilities.push(reaches);
                Answer::Probabilities(probabilities)
            }
            Self::Labels { .. } => Answer::Probabilities(logits.iter().map(sure).collect()),
            Self::Number { mean, deviation } => {
                Answer::Number(mean + deviation * f64::from(logits.first().copied().unwrap_or_default()))
            }
        }
    }

    /// What the head should say: a class's share of the probability, a yes or no, the standardised
    /// number. `truth` as the target made it → `[rows, outputs]`.
    pub(super) fn wanted(&self, truth: &ArrayD<f32>, smoothing: f32) -> Array2<f32> {
        let (rows, outputs) = (truth.shape()[0], self.outputs());
        match self {
            Self::Classes { .. } => Array2::from_shape_fn((rows, outputs), |(row, class)| {
                let true_one = f32::from(truth[[row, 0]] as usize == class);
                true_one * (1.0 - smoothing) + smoothing / outputs as f32
            }),
            Self::Ordinal { .. } => Array2::from_shape_fn((rows, outputs), |(row, grade)| {
                f32::from(truth[[row, 0]] as usize > grade) * (1.0 - smoothing) + smoothing / 2.0
            }),
            Self::Labels { .. } => Array2::from_shape_fn((rows, outputs), |(row, class)| {
                truth[[row, class]] * (1.0 - smoothing) + smoothing / 2.0
            }),
            Self::Number { .. } => Array2::from_shape_fn((rows, 1), |(row, _)| truth[[row, 0]]),
        }
    }

    /// How much each output of each row counts, `[rows, outputs]`.
    pub(super) fn weights(&self, truth: &ArrayD<f32>, class_weights: &[f32]) -> Array2<f32> {
        let (rows, outputs) = (truth.shape()[0], self.outputs());
        let of_class = |class: usize| class_weights.get(class).copied().unwrap_or(1.0);
        match self {
            Self::Classes { .. } => {
                Array2::from_shape_fn((rows, outputs), |(row, _)| of_class(truth[[row, 0]] as usize))
            }
            // Whether it is above a grade is asked only where it reaches the grade.
            Self::Ordinal { .. } => Array2::from_shape_fn((rows, outputs), |(row, grade)| {
                let class = truth[[row, 0]] as usize;
                f32::from(class >= grade) * of_class(class)
            }),
            Self::Labels { .. } => Array2::from_elem((rows, outputs), 1.0 / outputs as f32),
            Self::Number { .. } => Array2::ones((rows, outputs)),
        }
    }
}
