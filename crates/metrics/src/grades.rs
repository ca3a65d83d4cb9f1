use crate::{Classes, Detail, Metric, Predictions};

/// Classes with an order, from the lowest grade to the highest.
#[derive(Clone, Debug)]
pub struct Grades(pub Classes);

impl Predictions for Grades {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn measure(&self, counts: &[u32]) -> Vec<(Metric, Option<f64>)> {
        let confusion = self.0.confusion(counts);
        let mut measures =
            vec![(Metric::QuadraticKappa, confusion.quadratic_kappa()), (Metric::GradeError, confusion.grade_error())];
        measures.extend(self.0.measure(counts));
        measures
    }

    fn detail(&self) -> Detail {
        self.0.detail()
    }
}
