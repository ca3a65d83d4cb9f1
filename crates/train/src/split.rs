use sensorium_contract::{Batch, Part};

/// A batch in at most `pieces` contiguous pieces, none empty, the first ones larger by a sample
/// where the numbers don't divide.
pub fn split_batch(batch: &Batch, pieces: usize) -> Vec<Batch> {
    let samples = batch.len();
    let pieces = pieces.clamp(1, samples.max(1));
    let (size, larger) = (samples / pieces, samples % pieces);
    let start = |piece: usize| piece * size + piece.min(larger);
    (0..pieces).map(|piece| piece_of(batch, start(piece), start(piece + 1))).collect()
}

fn piece_of(batch: &Batch, start: usize, end: usize) -> Batch {
    let keys = batch.keys[start..end].to_vec();
    let parts = batch.parts.iter().filter_map(|(name, part)| Some((name.clone(), part_of(part, start, end)?)));
    Batch { keys, parts: parts.collect() }
}

fn part_of(part: &Part, start: usize, end: usize) -> Option<Part> {
    let first = part.rows.partition_point(|&row| row < start);
    let last = part.rows.partition_point(|&row| row < end);
    let places: Vec<usize> = (first..last).collect();
    (first < last).then(|| Part {
        rows: part.rows[first..last].iter().map(|row| row - start).collect(),
        arrays: part.arrays.select(&places),
        content: part.content[first..last].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;
    use sensorium_contract::{Array, Arrays, Name};

    use super::*;

    fn batch(samples: usize, rows: &[usize]) -> Batch {
        let values = rows.iter().map(|&row| row as f32).collect();
        let x = Array::F32(ArrayD::from_shape_vec(vec![rows.len(), 1], values).unwrap());
        let content = rows.iter().map(|&row| row as u64 + 100).collect();
        let part = Part { rows: rows.to_vec(), arrays: Arrays::default().with("x", x), content };
        Batch { keys: (0..samples).map(|row| row.to_string()).collect(), parts: [(Name::new("left"), part)].into() }
    }

    #[test]
    fn pieces_are_contiguous_and_rows_count_from_their_start() {
        let pieces = split_batch(&batch(10, &[0, 3, 4, 9]), 4);
        let keys: Vec<String> = pieces.iter().map(|piece| piece.keys.join(" ")).collect();
        assert_eq!(keys, ["0 1 2", "3 4 5", "6 7", "8 9"]);
        let name = Name::new("left");
        let rows: Vec<_> = pieces.iter().map(|piece| piece.parts.get(&name).map(|part| part.rows.clone())).collect();
        assert_eq!(rows, [Some(vec![0]), Some(vec![0, 1]), None, Some(vec![1])]);
        let part = &pieces[1].parts[&name];
        assert_eq!(part.arrays.f32("x").iter().copied().collect::<Vec<_>>(), [3.0, 4.0]);
        assert_eq!(part.content, [103, 104]);
    }

    #[test]
    fn no_piece_is_empty() {
        assert_eq!(split_batch(&batch(2, &[1]), 5).len(), 2);
        assert_eq!(split_batch(&batch(3, &[0, 1]), 1), [batch(3, &[0, 1])]);
        assert_eq!(split_batch(&Batch::default(), 4), [Batch::default()]);
    }
}
