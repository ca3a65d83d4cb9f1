//! Memory that is used again from step to step, so that a training run in its steady state takes
//! no page faults and fills nothing with zeros that it then overwrites.

use std::{
    collections::VecDeque,
    fmt,
    mem::MaybeUninit,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};
use burn_std::{AccessError, AccessPolicy, AllocationController, AllocationProperty, Bytes};
use memmap2::MmapMut;

/// A cache line, so that vectors never straddle two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Numbers in a cache line.
const LINE: usize = 16;

/// Bytes from which memory is mapped. Large pieces of many sizes that come and go leave holes in the allocator's heap,
/// which stay with the process; maps go back to the system.
const MAPPED: usize = 1 << 20;

/// Lines of zeros at first.
enum Memory {
    Heap(Vec<Line>),
    Map(MmapMut),
}

impl Memory {
    fn new(lines: usize) -> Self {
        let bytes = lines * size_of::<Line>();
        match (bytes >= MAPPED).then(|| MmapMut::map_anon(bytes)) {
            Some(Ok(map)) => Self::Map(map),
            // A system without maps, or without more of them.
            _ => Self::Heap(vec![Line([0.0; LINE]); lines]),
        }
    }

    fn lines(&self) -> usize {
        match self {
            Self::Heap(lines) => lines.len(),
            Self::Map(map) => map.len() / size_of::<Line>(),
        }
    }

    /// As many numbers as the lines hold, on the boundary of a line: a map begins on that of a page.
    fn start(&self) -> *const f32 {
        match self {
            Self::Heap(lines) => lines.as_ptr().cast(),
            Self::Map(map) => map.as_ptr().cast(),
        }
    }

    fn start_mut(&mut self) -> *mut f32 {
        match self {
            Self::Heap(lines) => lines.as_mut_ptr().cast(),
            Self::Map(map) => map.as_mut_ptr().cast(),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

/// Numbers on the boundary of a cache line. New ones hold whatever was there before: zeros, or
/// another buffer's numbers.
#[derive(Default)]
pub(crate) struct Buffer {
    memory: Memory,
    length: usize,
}

impl Buffer {
    /// Room for `length` numbers, whose values are arbitrary.
    pub(crate) fn new(length: usize) -> Self {
        let lines = length.div_ceil(LINE);
        let class = size_class(lines);
        // Not while the pool is locked.
        let idle = pool().take(class);
        Self { memory: idle.unwrap_or_else(|| Memory::new(class)), length }
    }

    /// Room for `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::new(length);
        buffer.fill(0.0);
        buffer
    }

    /// Makes it hold `length` numbers, whose values are then arbitrary.
    pub(crate) fn resize(&mut self, length: usize) {
        if length > self.memory.lines() * LINE {
            *self = Self::new(length);
        }
        self.length = length;
    }

    /// The same memory as a tensor.
    pub(crate) fn into_tensor(self, shape: Shape) -> FlexTensor {
        assert_eq!(shape.num_elements(), self.length, "shape and buffer differ");
        let bytes = self.length * size_of::<f32>();
        // SAFETY: all of the buffer's lines are initialised, and it holds at least `length` numbers.
        let bytes = unsafe { Bytes::from_controller(Box::new(self), bytes) };
        FlexTensor::new(bytes, Layout::contiguous(shape), DType::F32)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.lines() > 0 {
            // What goes back to the system goes when the pool is no longer locked.
            let _surplus = pool().give(std::mem::take(&mut self.memory));
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is sixteen numbers without padding, and `length` is within the lines.
        unsafe { std::slice::from_raw_parts(self.memory.start(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start_mut(), self.length) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.length)
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<Line>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let numbers: &mut [f32] = self;
        // SAFETY: any byte of a number may be written with any initialised byte.
        Ok(unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let numbers: &[f32] = self;
        // SAFETY: a number is four initialised bytes.
        Ok(unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) })
    }
}

/// Sizes are rounded up by at most an eighth, so that ragged batches find each other's memory.
fn size_class(lines: usize) -> usize {
    let step = (lines.next_power_of_two() / 16).max(1);
    lines.next_multiple_of(step)
}

/// Buffers that nobody uses now.
struct Pool {
    idle: VecDeque<Memory>,
    idle_lines: usize,
    used_lines: usize,
    most_used_lines: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: VecDeque::new(), idle_lines: 0, used_lines: 0, most_used_lines: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    // Nothing in here panics between two changes that belong together.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn take(&mut self, class: usize) -> Option<Memory> {
        self.used_lines += class;
        self.most_used_lines = self.most_used_lines.max(self.used_lines);
        let place = self.idle.iter().rposition(|memory| memory.lines() == class)?;
        self.idle_lines -= class;
        self.idle.remove(place)
    }

    /// Keeps at most as much as was once in use; gives what has lain longest and is too much.
    fn give(&mut self, memory: Memory) -> Vec<Memory> {
        self.used_lines = self.used_lines.saturating_sub(memory.lines());
        self.idle_lines += memory.lines();
        self.idle.push_back(memory);
        let mut surplus = Vec::new();
        while self.idle_lines + self.used_lines > self.most_used_lines {
            let Some(oldest) = self.idle.pop_front() else { break };
            self.idle_lines -= oldest.lines();
            surplus.push(oldest);
        }
        surplus
    }
}

/// The tensor's elements in order.
///
/// # Panics
/// If the tensor is not contiguous and of f32; see [`contiguous`].
pub(crate) fn numbers(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + tensor.layout().num_elements()]
}

/// The elements of a contiguous truth tensor, 0 where false.
pub(crate) fn truths(tensor: &FlexTensor) -> &[u8] {
    let start = tensor.layout().start_offset();
    &tensor.bytes()[start..start + tensor.layout().num_elements()]
}

/// The elements of a contiguous integer tensor as places; nothing for an integer type that is not read here. What is
/// negative becomes a place beyond all.
pub(crate) fn indices(tensor: &FlexTensor) -> Option<Vec<usize>> {
    let start = tensor.layout().start_offset();
    let range = start..start + tensor.layout().num_elements();
    match tensor.dtype() {
        DType::I64 => Some(tensor.storage::<i64>()[range].iter().map(|&index| index as usize).collect()),
        DType::I32 => Some(tensor.storage::<i32>()[range].iter().map(|&index| index as usize).collect()),
        _ => None,
    }
}

/// The tensor with its elements in order, without a copy where they are.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for lines in 1..5000 {
            let class = size_class(lines);
            assert!(class >= lines && class as f64 <= lines as f64 * 1.125 + 1.0, "{lines} {class}");
        }
    }

    #[test]
    fn a_tensor_reads_and_writes_the_buffer() {
        let mut buffer = Buffer::new(6);
        buffer.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut tensor = buffer.into_tensor(Shape::from([2, 3]));
        tensor.storage_mut::<f32>()[4] = 7.0;
        let shared = tensor.clone();
        tensor.storage_mut::<f32>()[0] = 9.0;
        assert_eq!(numbers(&tensor), [9.0, 2.0, 3.0, 4.0, 7.0, 6.0]);
        assert_eq!(numbers(&shared), [1.0, 2.0, 3.0, 4.0, 7.0, 6.0]);
    }
}
