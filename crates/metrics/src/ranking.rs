/// Rows from the highest score to the lowest. Rows of equal score form one step.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    order: Vec<usize>,
    /// Where each step ends within `order`.
    ends: Vec<usize>,
}

/// Positive and negative rows, as often as they count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub positive: f64,
    pub negative: f64,
}

impl Ranking {
    pub(crate) fn new(scores: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let last = |place: &usize| *place == order.len() || scores[order[*place]] != scores[order[place - 1]];
        let ends = (1..=order.len()).filter(last).collect();
        Self { order, ends }
    }

    /// The rows of each step.
    fn steps(&self) -> impl Iterator<Item = &[usize]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.order[start..end])
    }

    /// What each step holds.
    fn tallies(&self, counts: &[u32], positive: impl Fn(usize) -> bool) -> impl Iterator<Item = Tally> {
        self.steps().map(move |rows| {
            let mut tally = Tally::default();
            for &row in rows {
                let side = if positive(row) { &mut tally.positive } else { &mut tally.negative };
                *side += f64::from(counts[row]);
            }
            tally
        })
    }

    /// The share of pairs of a positive and a negative row in which the positive one scores higher;
    /// equal scores count half. Nothing if either side is empty.
    pub(crate) fn auroc(&self, counts: &[u32], positive: impl Fn(usize) -> bool) -> Option<f64> {
        let (mut above, mut pairs) = (Tally::default(), 0.0);
        for step in self.tallies(counts, positive) {
            pairs += step.negative * (above.positive + step.positive / 2.0);
            above.positive += step.positive;
            above.negative += step.negative;
        }
        let all = above.positive * above.negative;
        (all > 0.0).then(|| pairs / all)
    }

    /// Precision at each step, weighed by the recall that it adds. Nothing without positive rows.
    pub(crate) fn average_precision(&self, counts: &[u32], positive: impl Fn(usize) -> bool) -> Option<f64> {
        let (mut above, mut sum) = (Tally::default(), 0.0);
        for step in self.tallies(counts, positive) {
            above.positive += step.positive;
            above.negative += step.negative;
            if step.positive > 0.0 {
                sum += step.positive * above.positive / (above.positive + above.negative);
            }
        }
        (above.positive > 0.0).then(|| sum / above.positive)
    }

    /// The corners of the ROC curve, `[false positive rate, true positive rate]` from (0, 0) to
    /// (1, 1); nothing if either side is empty.
    pub(crate) fn roc(&self, counts: &[u32], positive: impl Fn(usize) -> bool) -> Option<Vec<[f64; 2]>> {
        let mut points = vec![[0.0, 0.0]];
        for step in self.tallies(counts, positive) {
            let [x, y] = points[points.len() - 1];
            let next = [x + step.negative, y + step.positive];
            // A point on the line between its neighbours is no corner.
            let straight = match points.as_slice() {
                [.., a, b] => (b[0] - a[0]) * (next[1] - b[1]) == (b[1] - a[1]) * (next[0] - b[0]),
                _ => false,
            };
            if straight {
                points.pop();
            }
            points.push(next);
        }
        let [negative, positive] = points[points.len() - 1];
        let rate = |[x, y]: [f64; 2]| [x / negative, y / positive];
        (negative > 0.0 && positive > 0.0).then(|| points.into_iter().map(rate).collect())
    }

    /// The mean rank of each row's step, 1 for the highest score.
    pub(crate) fn ranks(&self, counts: &[u32]) -> Vec<f64> {
        let mut ranks = vec![0.0; self.order.len()];
        let mut above = 0.0;
        for rows in self.steps() {
            let here: f64 = rows.iter().map(|&row| f64::from(counts[row])).sum();
            rows.iter().for_each(|&row| ranks[row] = above + (here + 1.0) / 2.0);
            above += here;
        }
        ranks
    }
}
