//! Zero-shot classification as CLIP does it (Radford et al. 2021, section 3.1).

use ndarray::{Array2, ArrayView2};
use sensorium_metrics::Temperature;

/// What cosines are multiplied with before they become probabilities: the largest factor that CLIP's
/// training allows. It changes no prediction, only how sure they sound.
pub const SHARPNESS: f64 = 100.0;

/// One vector a class: the mean of its prompts' vectors, of length 1 again.
///
/// # Shapes
/// `prompts` `[prompts, embedding]`, each of length 1 and of the class that `class_of` says →
/// `[classes, embedding]`
pub fn class_vectors(prompts: ArrayView2<f32>, class_of: &[usize], classes: usize) -> Array2<f32> {
    let mut vectors = Array2::<f32>::zeros((classes, prompts.ncols()));
    for (prompt, &class) in prompts.outer_iter().zip(class_of) {
        vectors.row_mut(class).scaled_add(1.0, &prompt);
    }
    for mut vector in vectors.rows_mut() {
        let length = vector.dot(&vector).sqrt();
        vector /= length.max(f32::MIN_POSITIVE);
    }
    vectors
}

/// Probabilities by the cosine with each class's vector.
///
/// # Shapes
/// `vectors` `[rows, embedding]`, `classes` `[classes, embedding]` → `[rows, classes]`
pub fn zero_shot(vectors: ArrayView2<f32>, classes: ArrayView2<f32>, sharpness: f64) -> Array2<f64> {
    let cosines = vectors.dot(&classes.t()).mapv(f64::from); // [rows, classes]
    Temperature(1.0 / sharpness).probabilities(cosines.view())
}
