use std::{collections::BTreeSet, sync::Arc};

use sensorium_contract::{Batch, Name, Seed};

use super::{Numbers, damaged_numbers, numbers, preparation};
use crate::{Dataset, LoadError, LoadedBatch, Loader, LoaderConfig, Prepared};

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig { workers: Some(workers), ..Default::default() }
}

fn prepared(dataset: Dataset, config: LoaderConfig) -> Prepared {
    Prepared::new(dataset, preparation(), config).unwrap()
}

fn train(prepared: &Prepared, steps: std::ops::Range<u64>) -> Loader {
    let seed = Seed::new(9);
    prepared.train(prepared.order(48, seed), seed, steps)
}

fn batches(loader: Loader) -> Vec<Batch> {
    loader.map(|loaded| loaded.unwrap().batch).collect()
}

#[test]
fn batches_are_the_same_for_any_number_of_workers_and_when_resumed() {
    let expected = batches(train(&prepared(numbers(500), config(0)), 0..40));
    assert_eq!(expected.len(), 40);
    for workers in [1, 2, 8] {
        for (cache_mb, disk_cache_mb) in [(0, 0), (64, 0), (0, 64)] {
            let prepared = prepared(numbers(500), LoaderConfig { cache_mb, disk_cache_mb, ..config(workers) });
            assert_eq!(batches(train(&prepared, 0..40)), expected, "{workers} workers");
            assert_eq!(batches(train(&prepared, 17..40)), expected[17..], "{workers} workers, resumed");
        }
    }
}

/// Keys and augmented values of the sound samples of each step, in their order.
fn drawn(loader: Loader) -> Vec<Vec<(String, u32)>> {
    let of = |batch: Batch| {
        let values = batch.parts.get(&Name::new("x")).map(|part| part.arrays.f32("x").clone());
        let values: Vec<u32> = values.iter().flatten().map(|value| value.to_bits()).collect();
        batch.keys.into_iter().zip(values).collect()
    };
    batches(loader).into_iter().map(of).collect()
}

/// Twelve steps of 47 samples, so that no number of ranks divides a batch.
fn drawn_of_rank(prepared: &Prepared, rank: usize, ranks: usize) -> Vec<Vec<(String, u32)>> {
    let seed = Seed::new(9);
    let order = prepared.order(47, seed).of_rank(rank, ranks.try_into().unwrap());
    drawn(prepared.train(order, seed, 0..12))
}

#[test]
fn the_order_is_the_same_for_any_number_of_workers_and_ranks() {
    let source = |len| Arc::new(Numbers { len, damaged: vec![3, 8], ..Default::default() });
    let weighted = || Dataset::new(vec![(source(10), Some(1.0)), (source(300), Some(2.0))]).unwrap();
    let sets: [&dyn Fn() -> Dataset; 3] = [&|| numbers(500), &|| damaged_numbers(500, &[7, 90, 91]), &weighted];
    for dataset in sets {
        let all = |workers| prepared(dataset(), LoaderConfig { max_damaged: 1.0, ..config(workers) });
        let expected = drawn_of_rank(&all(0), 0, 1);
        assert!(expected.iter().flatten().map(|(key, _)| key).collect::<BTreeSet<_>>().len() > 100);
        for workers in [0, 1, 2, 8] {
            for ranks in [1, 2, 4] {
                let parts: Vec<_> = (0..ranks).map(|rank| drawn_of_rank(&all(workers), rank, ranks)).collect();
                for (step, whole) in expected.iter().enumerate() {
                    let joined: Vec<_> = parts.iter().flat_map(|part| part[step].clone()).collect();
                    assert_eq!(joined, *whole, "{workers} workers, {ranks} ranks, step {step}");
                }
                let most = parts.iter().flatten().map(Vec::len).max();
                assert!(most <= Some(47_usize.div_ceil(ranks)), "{ranks} ranks, {most:?}");
            }
        }
    }
}

#[test]
fn augmentation_depends_on_the_step() {
    let prepared = prepared(numbers(48), config(2));
    let value = |batch: &Batch, key: &str| {
        let row = batch.keys.iter().position(|other| other == key).unwrap();
        batch.parts[&Name::new("x")].arrays.f32("x")[[row, 0]]
    };
    let batches = batches(train(&prepared, 0..3));
    let values: BTreeSet<u32> = batches.iter().map(|batch| value(batch, "7").to_bits()).collect();
    assert_eq!(values.len(), 3, "an epoch is one step here, each with other random numbers");
    let added = |key: &str| value(&batches[0], key) - key.parse::<f32>().unwrap();
    assert_ne!(added("7"), added("8"), "each sample gets its own");
}

#[test]
fn sequential_batches_hold_everything_once_as_it_is() {
    for workers in [0, 3] {
        let prepared = prepared(numbers(101), config(workers));
        for _ in 0..2 {
            let batches = batches(prepared.sequential(25));
            assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [25, 25, 25, 25, 1]);
            let values: Vec<f32> =
                batches.iter().flat_map(|batch| batch.parts[&Name::new("x")].arrays.f32("x").iter().copied()).collect();
            assert_eq!(values, (0..101).map(|number| number as f32).collect::<Vec<_>>());
        }
    }
}

#[test]
fn damaged_samples_are_left_out_and_counted() {
    let damaged: Vec<usize> = (0..17).map(|number| number * 58).collect();
    let allowed = LoaderConfig { max_damaged: 0.02, ..config(2) };
    let prepared = prepared(damaged_numbers(1000, &damaged), allowed);
    let mut loader = prepared.sequential(100);
    let loaded: Vec<LoadedBatch> = loader.by_ref().map(Result::unwrap).collect();
    assert_eq!(*loader.counts(), [("not a number", 17)].into());
    assert_eq!(loaded.iter().map(|loaded| loaded.batch.len()).sum::<usize>(), 983);
    let sound: Vec<usize> = (0..1000).filter(|number| !damaged.contains(number)).collect();
    assert_eq!(loaded.iter().flat_map(|loaded| loaded.samples.clone()).collect::<Vec<_>>(), sound);
    let rest: Vec<LoadedBatch> = prepared.sequential_from(100, 7).map(Result::unwrap).collect();
    assert_eq!(rest.len(), 3);
    assert!(rest.iter().zip(&loaded[7..]).all(|(a, b)| (&a.batch, &a.samples) == (&b.batch, &b.samples)));
    let faults: Vec<_> = loaded.iter().flat_map(|loaded| &loaded.faults).collect();
    assert_eq!(faults.len(), 17);
    assert_eq!((faults[1].key.as_str(), faults[1].place.as_str()), ("58", "number 58"));
    // Again and again in other epochs, they are still 17.
    let mut loader = train(&prepared, 0..80);
    loader.by_ref().for_each(|loaded| assert!(loaded.is_ok()));
    assert_eq!(*loader.counts(), [("not a number", 17)].into());
}

#[test]
fn too_many_damaged_samples_are_an_error() {
    let damaged: Vec<usize> = (0..17).map(|number| number * 58).collect();
    for workers in [0, 2] {
        let results: Vec<_> = prepared(damaged_numbers(1000, &damaged), config(workers)).sequential(100).collect();
        let Err(error) = results.last().unwrap() else { panic!("17 of 1,000 are more than 1 %") };
        assert!(matches!(error, LoadError::TooManyDamaged { damaged: 17, read: 1000, .. }), "{error}");
        assert!(error.to_string().contains("17 × not a number"), "{error}");
        assert_eq!(results.len(), 10, "only the end of the epoch tells");
    }
    // Where everything is damaged, the first hundred do.
    let all: Vec<usize> = (0..1000).collect();
    let results: Vec<_> = train(&prepared(damaged_numbers(1000, &all), config(2)), 0..20).collect();
    assert_eq!(results.len(), 3);
    assert!(results[2].is_err());
}

#[test]
fn a_panic_of_a_decoder_is_a_fault() {
    for workers in [0, 2] {
        let source = Numbers { len: 1000, panics: Some(666), ..Default::default() };
        let dataset = Dataset::new(vec![(Arc::new(source), None)]).unwrap();
        let loaded: Vec<LoadedBatch> = prepared(dataset, config(workers)).sequential(100).map(Result::unwrap).collect();
        let faults: Vec<_> = loaded.iter().flat_map(|loaded| &loaded.faults).collect();
        assert_eq!(faults.len(), 1);
        assert_eq!((faults[0].key.as_str(), faults[0].fault.reason), ("666", "decoding failed"));
        assert_eq!(faults[0].fault.detail, "the decoder's own error");
    }
}

#[test]
fn a_loader_can_be_dropped_at_any_moment() {
    let prepared = prepared(numbers(10_000), config(4));
    for taken in 0..5 {
        assert_eq!(train(&prepared, 0..u64::MAX).take(taken).count(), taken);
    }
}

#[test]
fn weighted_data_is_loaded() {
    let source = |len| Arc::new(Numbers { len, ..Default::default() });
    let dataset = Dataset::new(vec![(source(10), Some(1.0)), (source(300), Some(1.0))]).unwrap();
    let batches = batches(train(&prepared(dataset, config(2)), 0..6));
    assert!(batches.iter().all(|batch| batch.len() == 48));
}
