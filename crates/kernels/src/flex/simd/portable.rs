use super::Simd;

/// Arrays of eight numbers, for processors without a set of instructions of their own here.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type Eight = [f32; 8];

#[inline(always)]
fn both(a: Eight, b: Eight, f: impl Fn(f32, f32) -> f32) -> Eight {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = Eight;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Eight {
        [x; 8]
    }
    #[inline(always)]
    fn fma(self, a: Eight, b: Eight, c: Eight) -> Eight {
        // `mul_add` would call a function where the processor has no such instruction.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn add(self, a: Eight, b: Eight) -> Eight {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Eight, b: Eight) -> Eight {
        both(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Eight, b: Eight) -> Eight {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Eight, b: Eight) -> Eight {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: Eight, b: Eight) -> Eight {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Eight, b: Eight) -> Eight {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn sqrt(self, a: Eight) -> Eight {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn abs(self, a: Eight) -> Eight {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn if_negative(self, x: Eight, a: Eight, b: Eight) -> Eight {
        std::array::from_fn(|i| if x[i].is_sign_negative() { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn power_of_two(self, n: Eight) -> Eight {
        n.map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn sum(self, a: Eight) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn largest(self, a: Eight) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Eight {
        // SAFETY: the trait's contract; an array of numbers has their alignment.
        unsafe { at.cast::<Eight>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32, x: Eight) {
        // SAFETY: as in `load`.
        unsafe { at.cast::<Eight>().write(x) }
    }
    #[inline(always)]
    unsafe fn load_first(self, at: *const f32, count: usize) -> Eight {
        // SAFETY: the trait's contract.
        std::array::from_fn(|i| if i < count { unsafe { *at.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_first(self, at: *mut f32, count: usize, x: Eight) {
        for (i, x) in x.into_iter().enumerate().take(count) {
            // SAFETY: the trait's contract.
            unsafe { *at.add(i) = x };
        }
    }
}
