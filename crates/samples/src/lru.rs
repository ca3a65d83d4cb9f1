//! Shards in memory, the last used ones.

use std::sync::{Arc, Mutex, PoisonError};

/// Values by number, of which those used last are kept while they fit.
///
/// Two threads that want the same value make it once; others are not held up meanwhile.
pub(crate) struct Lru<V> {
    budget: u64,
    /// Last used at the end.
    slots: Mutex<Vec<(usize, Arc<Slot<V>>)>>,
}

struct Slot<V>(Mutex<Option<(Arc<V>, u64)>>);

impl<V> Lru<V> {
    /// Keeps as many values as `budget` bytes hold, at least one.
    pub fn new(budget: u64) -> Self {
        Self { budget, slots: Mutex::new(Vec::new()) }
    }

    /// The value of this number, from `make` (which also tells its bytes) if it is not kept.
    pub fn get<E>(&self, number: usize, make: impl FnOnce() -> Result<(V, u64), E>) -> Result<Arc<V>, E> {
        let slot = self.slot(number);
        let mut content = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((value, _)) = &*content {
            return Ok(value.clone());
        }
        let (value, bytes) = make()?;
        let value = Arc::new(value);
        *content = Some((value.clone(), bytes));
        drop(content);
        self.shrink();
        Ok(value)
    }

    fn slot(&self, number: usize) -> Arc<Slot<V>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = slots.iter().position(|(kept, _)| *kept == number);
        let entry = match place {
            Some(place) => slots.remove(place),
            None => (number, Arc::new(Slot(Mutex::new(None)))),
        };
        let slot = entry.1.clone();
        slots.push(entry);
        slot
    }

    fn shrink(&self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.budget;
        let mut keep = Vec::with_capacity(slots.len());
        for (place, (_, slot)) in slots.iter().enumerate().rev() {
            // A slot that is locked is being filled now.
            let bytes = slot.0.try_lock().map_or(0, |content| content.as_ref().map_or(0, |(_, bytes)| *bytes));
            let fits = place + 1 == slots.len() || bytes <= left;
            left = if fits { left.saturating_sub(bytes) } else { 0 };
            keep.push(fits);
        }
        keep.reverse();
        let mut keep = keep.into_iter();
        slots.retain(|_| keep.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_used_last_are_kept() {
        let lru = Lru::new(10);
        let made = std::cell::RefCell::new(Vec::new());
        let get = |number: usize| {
            let make = || {
                made.borrow_mut().push(number);
                Ok::<_, ()>((number * 2, 4))
            };
            assert_eq!(*lru.get(number, make).unwrap(), number * 2);
        };
        [0, 1, 0, 2, 0, 1].into_iter().for_each(get);
        assert_eq!(*made.borrow(), [0, 1, 2, 1], "2 displaced 1, which had not been used for longest");
    }

    #[test]
    fn one_value_is_kept_whatever_its_size() {
        let lru = Lru::new(0);
        let get = || lru.get(7, || Ok::<_, ()>((1, 100))).unwrap();
        get();
        assert_eq!(*lru.get(7, || Err(())).unwrap(), 1);
    }
}
