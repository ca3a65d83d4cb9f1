use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use sensorium_contract::Seed;

use super::{Numbers, numbers};
use crate::{Dataset, Order, Piece, Source};

fn epoch(order: &Order, number: u64) -> Vec<usize> {
    let steps = order.steps_per_epoch();
    (number * steps..(number + 1) * steps).flat_map(|step| order.batch(step)).collect()
}

fn pieces(len: usize, size: usize, memory: f64) -> Dataset {
    let pieces = (0..len / size).map(|_| Piece { samples: size, memory }).collect();
    let source = Numbers { len, pieces, ..Default::default() };
    Dataset::new(vec![(Arc::new(source), None)]).unwrap()
}

#[test]
fn an_epoch_draws_each_sample_once() {
    for (dataset, window) in
        [(numbers(1000), 5000), (numbers(1000), 64), (numbers(1000), 1), (pieces(1000, 50, 0.2), 5000)]
    {
        let order = Order::new(&dataset, 10, Seed::new(0), window);
        assert_eq!(order.steps_per_epoch(), 100);
        let epochs: Vec<Vec<usize>> = (0..3).map(|number| epoch(&order, number)).collect();
        for drawn in &epochs {
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 1000, "window {window}");
        }
        assert_ne!(epochs[0], epochs[1]);
        assert_ne!(epochs[1], epochs[2]);
        assert_ne!(epochs[0], epoch(&Order::new(&dataset, 10, Seed::new(1), window), 0));
    }
}

#[test]
fn the_last_incomplete_batch_is_dropped_and_small_data_is_one_batch() {
    let order = Order::new(&numbers(105), 10, Seed::new(0), 1000);
    assert_eq!(order.steps_per_epoch(), 10);
    assert_eq!(epoch(&order, 0).into_iter().collect::<BTreeSet<_>>().len(), 100);
    let order = Order::new(&numbers(7), 10, Seed::new(0), 1000);
    assert_eq!((order.steps_per_epoch(), order.batch_size()), (1, 7));
    assert_eq!(order.batch(3).into_iter().collect::<BTreeSet<_>>().len(), 7);
}

#[test]
fn any_step_can_be_asked_for_first() {
    let dataset = numbers(10_000);
    let order = Order::new(&dataset, 32, Seed::new(3), 512);
    let all: Vec<Vec<usize>> = (0..700).map(|step| order.batch(step)).collect();
    for step in [699, 311, 312, 0, 313, 5] {
        let fresh = Order::new(&dataset, 32, Seed::new(3), 512);
        assert_eq!(fresh.batch(step), all[step as usize]);
        assert_eq!(order.batch(step), all[step as usize]);
    }
}

/// A cache of the pieces' memory sees each piece once an epoch.
#[test]
fn pieces_are_read_together() {
    let order = Order::new(&pieces(10_000, 100, 0.09), 20, Seed::new(0), 262_144);
    let mut kept: Vec<usize> = Vec::new();
    let mut misses = 0;
    for sample in epoch(&order, 0) {
        let piece = sample / 100;
        match kept.iter().position(|&other| other == piece) {
            Some(place) => drop(kept.remove(place)),
            None => misses += 1,
        }
        kept.push(piece);
        if kept.len() > 11 {
            kept.remove(0);
        }
    }
    assert_eq!(misses, 100);
    let firsts: BTreeSet<usize> = order.batch(0).into_iter().map(|sample| sample / 100).collect();
    assert!(firsts.len() > 2, "samples of several pieces are mixed: {firsts:?}");
}

#[test]
fn weights_give_proportions() {
    let source = |len| -> Arc<dyn Source> { Arc::new(Numbers { len, ..Default::default() }) };
    let dataset =
        Dataset::new(vec![(source(100), Some(1.0)), (source(5000), Some(6.0)), (source(10), Some(3.0))]).unwrap();
    let order = Order::new(&dataset, 50, Seed::new(2), 262_144);
    let draws: Vec<usize> = (0..2000).flat_map(|step| order.batch(step)).collect();
    let of =
        |range: std::ops::Range<usize>| draws.iter().copied().filter(|draw| range.contains(draw)).collect::<Vec<_>>();
    let (first, second, third) = (of(0..100), of(100..5100), of(5100..5110));
    for (drawn, share) in [(&first, 0.1), (&second, 0.6), (&third, 0.3)] {
        assert!((drawn.len() as f64 / 100_000.0 - share).abs() < 0.002, "{} of {share}", drawn.len());
    }
    // Each source goes through permutations: after n rounds each of its samples was drawn n times.
    for (drawn, len) in [(&first, 100), (&second, 5000), (&third, 10)] {
        for round in drawn.chunks_exact(len) {
            assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), len);
        }
    }
    let fresh = Order::new(&dataset, 50, Seed::new(2), 262_144);
    assert_eq!(fresh.batch(1500), draws[75_000..75_050]);
    let counts = (0..20).map(|step| order.batch(step).iter().filter(|&&draw| draw < 100).count());
    assert!(counts.collect::<BTreeSet<_>>().len() > 3, "draws are random within a block");
}

#[test]
fn sets_are_mixed_by_their_weights_whatever_their_parts() {
    let source = |len| -> (Arc<dyn Source>, Option<f64>) { (Arc::new(Numbers { len, ..Default::default() }), None) };
    let dataset = Dataset::new(vec![source(90), source(10)]).unwrap();
    let rare: Vec<usize> = (85..95).collect();
    let often: Vec<usize> = (0..85).chain(95..100).collect();
    let [often, rare] = [often, rare].map(|chosen| (dataset.choose(&chosen).unwrap(), 1.0));
    let mixed = Dataset::mixed(&[often, rare]).unwrap();
    assert_eq!(mixed.len(), 100);
    let order = Order::new(&mixed, 20, Seed::new(4), 262_144);
    assert_eq!(order.steps_per_epoch(), 5);
    let draws: Vec<usize> = (0..1000).flat_map(|step| order.batch(step)).collect();
    let share = |is: &dyn Fn(usize) -> bool| draws.iter().filter(|draw| is(**draw)).count() as f64 / 20_000.0;
    // The ten rare ones stand behind the ninety others.
    assert!((share(&|draw| draw >= 90) - 0.5).abs() < 0.01);
    assert!((share(&|draw| draw < 85) - 0.5 * 85.0 / 90.0).abs() < 0.01);
    assert_eq!(Order::new(&mixed, 20, Seed::new(4), 262_144).batch(77), draws[77 * 20..78 * 20]);
}

#[test]
fn tiny_weights_still_draw_evenly() {
    let source = || -> Arc<dyn Source> { Arc::new(Numbers { len: 3, ..Default::default() }) };
    let dataset = Dataset::new(vec![(source(), Some(1e-5)), (source(), Some(1.0)), (source(), Some(1e-5))]).unwrap();
    let order = Order::new(&dataset, 1000, Seed::new(2), 262_144);
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    (0..400).flat_map(|step| order.batch(step)).for_each(|draw| *counts.entry(draw / 3).or_default() += 1);
    assert_eq!(counts.values().sum::<usize>(), 400_000);
    assert!((3..=4).contains(&counts[&0]) && (3..=5).contains(&counts[&2]), "{counts:?}");
}

#[test]
fn a_far_step_of_large_data_is_found_at_once() {
    let dataset = numbers(200_000_000);
    let start = Instant::now();
    let order = Order::new(&dataset, 4096, Seed::new(0), 262_144);
    let batch = order.batch(1_000_000);
    assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), 4096);
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}
