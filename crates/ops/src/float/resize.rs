//! Linear resampling. Reference evaluation and compiled plans call the same functions.

/// What a place of the result is made of: two places of the input, and the share of the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// The place before.
    pub low: usize,
    /// The place behind; the same at the end.
    pub high: usize,
    /// Share of `high`.
    pub part: f32,
}

/// Resamples the outer axis of `x`, whose places have `inner` elements each.
pub fn resample_row(x: &[f32], inner: usize, neighbours: &[Neighbour], out: &mut [f32]) {
    for (of, out) in neighbours.iter().zip(out.chunks_exact_mut(inner.max(1))) {
        let (low, high) = (&x[of.low * inner..][..inner], &x[of.high * inner..][..inner]);
        for ((out, a), b) in out.iter_mut().zip(low).zip(high) {
            *out = a * (1.0 - of.part) + b * of.part;
        }
    }
}

/// `low * (1 - part) + high * part`, in the place of `low`.
pub fn blend(low: &mut [f32], high: &[f32], part: f32) {
    for (a, b) in low.iter_mut().zip(high) {
        *a = *a * (1.0 - part) + b * part;
    }
}
