use std::ops::Range;

use super::buffer::Buffer;

/// Rows that a task takes at least, if it takes several samples, and at most, if it can.
const TASK_ROWS: usize = 96;

/// Rows that go through a product at most: more read a weight less often, fewer stay in the second cache.
const PIECE_ROWS: usize = 128;

/// The real tokens of a batch, and how they are shared out. Hidden tokens take no part in a block.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Tokens of a sample, hidden ones included.
    pub(crate) tokens: usize,
    /// Place of each real token among all; nothing if all are real.
    places: Option<Vec<usize>>,
    /// Consecutive samples, each task about as long as the others.
    pub(crate) tasks: Vec<Task>,
}

/// Consecutive samples that one thread carries through a block.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// Which samples.
    pub(crate) samples: Range<usize>,
    /// Their real tokens, among all real tokens.
    pub(crate) rows: Range<usize>,
    /// The real tokens of each sample, counted from the task's first.
    pub(crate) sequences: Vec<Range<usize>>,
}

impl Plan {
    /// A plan for `rows` samples of `tokens` tokens, of which those are real where `mask` is not 0.
    pub(crate) fn new(rows: usize, tokens: usize, mask: Option<&[u8]>) -> Self {
        let mask = mask.filter(|mask| mask.contains(&0));
        let real = |sample: usize| match mask {
            None => tokens,
            Some(mask) => mask[sample * tokens..][..tokens].iter().filter(|&&real| real != 0).count(),
        };
        let places = mask.map(|mask| (0..mask.len()).filter(|&place| mask[place] != 0).collect());
        let mut tasks: Vec<Task> = Vec::new();
        let mut row = 0;
        for sample in 0..rows {
            let count = real(sample);
            match tasks.last_mut() {
                Some(task) if task.rows.len() + count <= TASK_ROWS => task.push(count),
                _ => {
                    let mut task = Task { samples: sample..sample, rows: row..row, sequences: Vec::new() };
                    task.push(count);
                    tasks.push(task);
                }
            }
            row += count;
        }
        Self { tokens, places, tasks }
    }

    /// Number of real tokens.
    pub(crate) fn rows(&self) -> usize {
        self.tasks.last().map_or(0, |task| task.rows.end)
    }

    /// Each task with its samples' part of a matrix of all tokens.
    pub(crate) fn split<'a>(&'a self, mut all: &'a mut [f32], width: usize) -> Vec<(&'a Task, &'a mut [f32])> {
        let part = |task: &'a Task| (task, take(&mut all, task.samples.len() * self.tokens * width));
        self.tasks.iter().map(part).collect()
    }

    /// A task's part of a matrix of all tokens.
    pub(crate) fn samples<'a>(&self, task: &Task, all: &'a [f32], width: usize) -> &'a [f32] {
        &all[at(&task.samples, self.tokens * width)]
    }

    /// Whether all tokens are real.
    pub(crate) fn is_packed(&self) -> bool {
        self.places.is_none()
    }

    /// The places of a task's real tokens, counted from its first sample.
    fn places(&self, task: &Task) -> impl Iterator<Item = usize> {
        let first = task.samples.start * self.tokens;
        let places = self.places.as_ref().map(|places| &places[task.rows.clone()]);
        places.into_iter().flatten().map(move |place| place - first)
    }

    /// The real rows among those of a task's samples, in `scratch` if they have to be gathered.
    pub(crate) fn gather<'a>(&self, task: &Task, all: &'a [f32], width: usize, scratch: &'a mut Buffer) -> &'a [f32] {
        if self.is_packed() {
            return all;
        }
        scratch.resize(task.rows.len() * width);
        for (row, place) in scratch.chunks_exact_mut(width).zip(self.places(task)) {
            row.copy_from_slice(&all[place * width..][..width]);
        }
        scratch
    }

    /// The opposite of [`Plan::gather`].
    pub(crate) fn scatter(&self, task: &Task, real: &[f32], width: usize, all: &mut [f32]) {
        for (row, place) in real.chunks_exact(width).zip(self.places(task)) {
            all[place * width..][..width].copy_from_slice(row);
        }
    }
}

impl Task {
    fn push(&mut self, count: usize) {
        let length = self.rows.len();
        self.samples.end += 1;
        self.rows.end += count;
        self.sequences.push(length..length + count);
    }
}

/// Where rows of a width stand.
pub(crate) fn at(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

/// `rows` cut into nearly equal pieces that stay in the second cache.
pub(crate) fn pieces(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(PIECE_ROWS).max(1);
    let length = rows.div_ceil(count);
    (0..count).map(move |piece| piece * length..((piece + 1) * length).min(rows)).filter(|piece| !piece.is_empty())
}

/// The next `count` numbers of what is left of a buffer.
pub(crate) fn take<'a>(rest: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    let (taken, after) = std::mem::take(rest).split_at_mut(count);
    *rest = after;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_the_real_tokens_once() {
        let mask = [1, 1, 0, 0, 0, 0, 1, 0, 1];
        let plan = Plan::new(3, 3, Some(&mask));
        assert_eq!(plan.rows(), 4);
        assert_eq!(plan.tasks.len(), 1);
        assert_eq!(plan.tasks[0].sequences, [0..2, 2..2, 2..4]);
        assert_eq!(plan.places(&plan.tasks[0]).collect::<Vec<_>>(), [0, 1, 6, 8]);
        let plan = Plan::new(5, 65, None);
        assert_eq!((plan.tasks.len(), plan.rows()), (5, 325));
        assert_eq!(Plan::new(5, 32, Some(&[1; 160])).tasks[0].rows, 0..96);
    }

    #[test]
    fn pieces_cover_all_rows() {
        for rows in 0..500 {
            let covered: Vec<usize> = pieces(rows).flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
        }
    }
}
