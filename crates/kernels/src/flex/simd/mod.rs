//! Vector instructions chosen at run time: AVX-512, AVX2 with FMA, or whatever the compiler makes
//! of arrays of eight.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::sync::OnceLock;

/// A set of vector instructions. A value of the type proves that the processor has them.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A vector of `LANES` numbers.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a product's tile: as many as the registers hold beside two vectors of the right operand.
    const TILE_ROWS: usize;

    fn splat(self, x: f32) -> Self::V;
    /// `a · b + c`, rounded once where the instructions can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// `a` where `x` is negative (or −0), else `b`.
    fn if_negative(self, x: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// `2^n` for whole `n` in −126 ..= 127.
    fn power_of_two(self, n: Self::V) -> Self::V;
    /// The sum of the lanes, always in the same order.
    fn sum(self, a: Self::V) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::V) -> f32;

    /// # Safety
    /// `LANES` numbers may be read at `at`.
    unsafe fn load(self, at: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` numbers may be written at `at`.
    unsafe fn store(self, at: *mut f32, x: Self::V);
    /// The first `count < LANES` numbers; the other lanes are 0.
    ///
    /// # Safety
    /// `count` numbers may be read at `at`.
    unsafe fn load_first(self, at: *const f32, count: usize) -> Self::V;
    /// # Safety
    /// `count < LANES` numbers may be written at `at`.
    unsafe fn store_first(self, at: *mut f32, count: usize, x: Self::V);
}

/// Work that is compiled once for each set of instructions.
///
/// `run` and all that it calls must be `#[inline(always)]`, and the closures in it must not leave
/// the thread: only what is inlined gets the instructions.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
    /// Arrays of the sizes of AVX-512.
    #[cfg(test)]
    Wide,
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// Runs `work` once for each set of sizes, on a thread of its own that pretends to have no better
/// instructions.
#[cfg(test)]
pub(crate) fn on_each_level(work: impl Fn() + Sync) {
    for level in [Level::Portable, Level::Wide] {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(move |_| FORCED.set(Some(level))).build();
        pool.expect("a thread").install(&work);
    }
}

fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Portable
    })
}

/// Runs the work with the best instructions of this processor.
#[inline]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` found the instructions.
        Level::Avx512 => unsafe { avx512::run(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `level` found the instructions.
        Level::Avx2 => unsafe { avx2::run(kernel) },
        Level::Portable => kernel.run(portable::Portable::<8, 4>),
        #[cfg(test)]
        Level::Wide => kernel.run(portable::Portable::<16, 12>),
    }
}

/// Asks for so many numbers from `at`, wherever that is, before they are read or written.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32, count: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..count).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: nothing that the program sees is read, and a place without memory is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, count);
}

/// Width of a panel of [`super::panels::Panels`]: two vectors.
pub(crate) fn panel_width() -> usize {
    struct Width;
    impl Kernel for Width {
        type Output = usize;
        fn run<S: Simd>(self, _: S) -> usize {
            2 * S::LANES
        }
    }
    dispatch(Width)
}
