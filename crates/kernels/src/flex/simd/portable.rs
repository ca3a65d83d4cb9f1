use super::Simd;

/// Arrays of numbers, for processors without a set of instructions of their own here; also, with
/// the sizes of another set, to test what depends on them.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const LANES: usize, const ROWS: usize>;

#[inline(always)]
fn both<const LANES: usize>(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl<const LANES: usize, const ROWS: usize> Simd for Portable<LANES, ROWS> {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    const TILE_ROWS: usize = ROWS;

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }
    #[inline(always)]
    fn fma(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        // `mul_add` would call a function where the processor has no such instruction.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: [f32; LANES]) -> [f32; LANES] {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn abs(self, a: [f32; LANES]) -> [f32; LANES] {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn if_negative(self, x: [f32; LANES], a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        std::array::from_fn(|i| if x[i].is_sign_negative() { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn power_of_two(self, n: [f32; LANES]) -> [f32; LANES] {
        n.map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn sum(self, a: [f32; LANES]) -> f32 {
        let mut a = a;
        let mut half = LANES / 2;
        while half > 0 {
            for i in 0..half {
                a[i] += a[i + half];
            }
            half /= 2;
        }
        a[0]
    }
    #[inline(always)]
    fn largest(self, a: [f32; LANES]) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> [f32; LANES] {
        // SAFETY: the trait's contract; an array of numbers has their alignment.
        unsafe { at.cast::<[f32; LANES]>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32, x: [f32; LANES]) {
        // SAFETY: as in `load`.
        unsafe { at.cast::<[f32; LANES]>().write(x) }
    }
    #[inline(always)]
    unsafe fn load_first(self, at: *const f32, count: usize) -> [f32; LANES] {
        // SAFETY: the trait's contract.
        std::array::from_fn(|i| if i < count { unsafe { *at.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_first(self, at: *mut f32, count: usize, x: [f32; LANES]) {
        for (i, x) in x.into_iter().enumerate().take(count) {
            // SAFETY: the trait's contract.
            unsafe { *at.add(i) = x };
        }
    }
}
