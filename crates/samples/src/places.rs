//! Samples of several files under one numbering.

/// Running sums: the number of samples before each file, and in all.
pub(crate) fn starts(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    let sums = lengths.scan(0, |sum, length| {
        *sum += length;
        Some(*sum)
    });
    std::iter::once(0).chain(sums).collect()
}

/// The file that a sample is in, and its number there. `starts` as [`starts`] makes them.
pub(crate) fn locate(starts: &[usize], index: usize) -> (usize, usize) {
    let file = starts.partition_point(|&start| start <= index) - 1;
    (file, index - starts[file])
}
