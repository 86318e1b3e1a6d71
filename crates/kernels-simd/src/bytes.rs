//! Elementwise kernels on u8 and quantization, for any tier's vectors.
//!
//! The last vector of a row ends with its last element and overlaps the one before; a row shorter than a vector goes
//! through a buffer.

use std::ops::Range;

use quantc_kernels::quantize::body::{check_pixels, dequantize_one};
use quantc_kernels::rows::{for_each_row, for_each_row_pair, row_start, span};
use quantc_kernels::{AddParams, AffineParams, DequantizeParams, MulParams, Operand, QuantizeParams, RowsMut};

use crate::simd::{PackU8, Simd};
use crate::transpose::{self, Tiles};

/// The largest vector.
const MOST: usize = 64;

/// What [`Simd::expand`] adds to each byte.
const EXPANDED: f32 = 8_388_608.0;

/// A function of two bytes.
trait Binary<S: Simd> {
    /// # Safety
    /// As [`Simd`].
    unsafe fn apply(&self, a: S::Bytes, b: S::Bytes) -> S::Bytes;
}

struct Add<S: Simd> {
    a_zero_point: S::Reals,
    a_scale: S::Reals,
    b_zero_point: S::Reals,
    b_scale: S::Reals,
    inverse_scale: S::Reals,
    pack: PackU8,
}

impl<S: Simd> Binary<S> for Add<S> {
    #[inline(always)]
    unsafe fn apply(&self, a: S::Bytes, b: S::Bytes) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut v, b) = (S::expand(a), S::expand(b));
            for (v, b) in v.iter_mut().zip(b) {
                let a = S::mul(S::sub(*v, self.a_zero_point), self.a_scale);
                let b = S::mul(S::sub(b, self.b_zero_point), self.b_scale);
                *v = S::mul(S::add(a, b), self.inverse_scale);
            }
            S::pack(&self.pack, v)
        }
    }
}

struct Mul<S: Simd> {
    a_zero_point: S::Reals,
    b_zero_point: S::Reals,
    multiplier: S::Reals,
    pack: PackU8,
}

impl<S: Simd> Binary<S> for Mul<S> {
    #[inline(always)]
    unsafe fn apply(&self, a: S::Bytes, b: S::Bytes) -> S::Bytes {
        // SAFETY: the caller's promise.
        unsafe {
            let (mut v, b) = (S::expand(a), S::expand(b));
            for (v, b) in v.iter_mut().zip(b) {
                // The product of two integers below 256 is exact.
                let product = S::mul(S::sub(*v, self.a_zero_point), S::sub(b, self.b_zero_point));
                *v = S::mul(product, self.multiplier);
            }
            S::pack(&self.pack, v)
        }
    }
}

/// `Elementwise::add`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn add<S: Simd>(
    p: &AddParams,
    rows: Range<usize>,
    columns: usize,
    a: Operand<'_, u8>,
    b: Operand<'_, u8>,
    out: RowsMut<'_, u8>,
) {
    // SAFETY: the caller's promise.
    let op = unsafe {
        Add::<S> {
            a_zero_point: S::splat_real(EXPANDED + p.a_zero_point as f32),
            a_scale: S::splat_real(p.a_scale),
            b_zero_point: S::splat_real(EXPANDED + p.b_zero_point as f32),
            b_scale: S::splat_real(p.b_scale),
            inverse_scale: S::splat_real(p.inverse_scale),
            pack: PackU8::new(p.zero_point, p.clamp),
        }
    };
    // SAFETY: the caller's promise.
    for_each_row_pair(rows, columns, a, b, out, |a, b, out| unsafe { binary_row(&op, a, b, out) });
}

/// `Elementwise::mul`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn mul<S: Simd>(
    p: &MulParams,
    rows: Range<usize>,
    columns: usize,
    a: Operand<'_, u8>,
    b: Operand<'_, u8>,
    out: RowsMut<'_, u8>,
) {
    // SAFETY: the caller's promise.
    let op = unsafe {
        Mul::<S> {
            a_zero_point: S::splat_real(EXPANDED + p.a_zero_point as f32),
            b_zero_point: S::splat_real(EXPANDED + p.b_zero_point as f32),
            multiplier: S::splat_real(p.multiplier),
            pack: PackU8::new(p.zero_point, p.clamp),
        }
    };
    // SAFETY: the caller's promise.
    for_each_row_pair(rows, columns, a, b, out, |a, b, out| unsafe { binary_row(&op, a, b, out) });
}

/// A row of `n` elements, or one element for all of them.
enum Source<S: Simd> {
    Row(*const u8),
    One(S::Bytes),
}

impl<S: Simd> Source<S> {
    /// # Safety
    /// The machine has the tier.
    #[inline(always)]
    unsafe fn new(x: &[u8], n: usize) -> Self {
        match x {
            // SAFETY: the caller's promise.
            &[x] => Source::One(unsafe { S::splat(x) }),
            _ => {
                assert!(x.len() >= n, "operand too short");
                Source::Row(x.as_ptr())
            }
        }
    }

    /// # Safety
    /// The machine has the tier, and a vector from `start` on lies within the `n` elements.
    #[inline(always)]
    unsafe fn load(&self, start: usize) -> S::Bytes {
        match *self {
            // SAFETY: the caller's promise.
            Source::Row(x) => unsafe { S::load(x.add(start)) },
            Source::One(x) => x,
        }
    }
}

/// One row; an operand of one element serves all.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
unsafe fn binary_row<S: Simd>(op: &impl Binary<S>, a: &[u8], b: &[u8], out: &mut [u8]) {
    let n = out.len();
    let short = |x: &[u8]| {
        let mut buffer = [0; MOST];
        match x {
            &[x] => buffer.fill(x),
            _ => buffer[..n].copy_from_slice(&x[..n]),
        }
        buffer
    };
    // SAFETY: the machine has the tier. Long operands have as many elements as the output, at least one vector; `start`
    // leaves room for one. Buffers have room for any vector.
    unsafe {
        if n < S::BYTES {
            let mut buffer = [0; MOST];
            S::store(buffer.as_mut_ptr(), op.apply(S::load(short(a).as_ptr()), S::load(short(b).as_ptr())));
            out.copy_from_slice(&buffer[..n]);
            return;
        }
        let (a, b) = (Source::<S>::new(a, n), Source::<S>::new(b, n));
        for start in starts::<S>(n) {
            S::store(out.as_mut_ptr().add(start), op.apply(a.load(start), b.load(start)));
        }
    }
}

/// Where the vectors of a row of `n` elements start; at least one vector fits.
#[inline(always)]
fn starts<S: Simd>(n: usize) -> impl Iterator<Item = usize> {
    let last = n - S::BYTES;
    (0..n.div_ceil(S::BYTES)).map(move |i| (i * S::BYTES).min(last))
}

/// `Quantize::quantize`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn quantize<S: Simd>(
    p: &QuantizeParams,
    rows: Range<usize>,
    columns: usize,
    x: Operand<'_, f32>,
    out: RowsMut<'_, u8>,
) {
    // SAFETY: the caller's promise.
    for_each_row(rows, columns, x, out, |x, out| unsafe { quantize_row::<S>(p, x, out) });
}

/// One row; an operand of one element serves all.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn quantize_row<S: Simd>(p: &QuantizeParams, x: &[f32], out: &mut [u8]) {
    let n = out.len();
    // SAFETY: the machine has the tier; four vectors of reals lie in the operand from `start` on, or in a buffer.
    unsafe {
        let vector = QuantizeVector::<S>::new(p);
        if n < S::BYTES || x.len() < n {
            let (mut from, mut to) = ([0.0; MOST], [0; MOST]);
            match x {
                &[x] => from.fill(x),
                _ => from[..n].copy_from_slice(&x[..n]),
            }
            S::store(to.as_mut_ptr(), vector.apply(from.as_ptr()));
            for out in out.chunks_mut(S::BYTES) {
                out.copy_from_slice(&to[..out.len()]);
            }
        } else {
            for start in starts::<S>(n) {
                S::store(out.as_mut_ptr().add(start), vector.apply(x.as_ptr().add(start)));
            }
        }
    }
}

/// Quantizes as many reals as a vector has bytes.
struct QuantizeVector<S: Simd> {
    inverse_scale: S::Reals,
    pack: PackU8,
}

impl<S: Simd> QuantizeVector<S> {
    /// # Safety
    /// The machine has the tier.
    #[inline(always)]
    unsafe fn new(p: &QuantizeParams) -> Self {
        // SAFETY: the caller's promise.
        let inverse_scale = unsafe { S::splat_real(p.inverse_scale) };
        QuantizeVector { inverse_scale, pack: PackU8::new(p.zero_point, p.clamp) }
    }

    /// # Safety
    /// The machine has the tier, and `S::BYTES` reals are readable.
    #[inline(always)]
    unsafe fn apply(&self, from: *const f32) -> S::Bytes {
        let lanes = S::BYTES / 4;
        // SAFETY: the caller's promise.
        unsafe {
            let v = [
                S::mul(S::load_reals(from), self.inverse_scale),
                S::mul(S::load_reals(from.add(lanes)), self.inverse_scale),
                S::mul(S::load_reals(from.add(2 * lanes)), self.inverse_scale),
                S::mul(S::load_reals(from.add(3 * lanes)), self.inverse_scale),
            ];
            S::in_order(S::pack(&self.pack, v))
        }
    }
}

/// `Elementwise::affine`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn affine<S: Simd>(
    p: &AffineParams,
    rows: Range<usize>,
    x: &[u8],
    x_stride: usize,
    mut out: RowsMut<'_, u8>,
) {
    let n = p.factor.len().min(p.term.len());
    let (factor, term) = (&p.factor[..n], &p.term[..n]);
    // SAFETY: the machine has the tier. Rows have `n` elements, at least one vector where `start` leaves room for one, or are in buffers
    // with room for any vector.
    unsafe {
        let vector = AffineVector::<S>::new(p);
        if n < S::BYTES {
            let (mut long_factor, mut long_term) = ([0.0; MOST], [0.0; MOST]);
            long_factor[..n].copy_from_slice(factor);
            long_term[..n].copy_from_slice(term);
            for (index, row) in rows.enumerate() {
                let (mut from, mut to) = ([0; MOST], [0; MOST]);
                from[..n].copy_from_slice(&x[row_start(row, x_stride)..][..n]);
                S::store(to.as_mut_ptr(), vector.apply(from.as_ptr(), long_factor.as_ptr(), long_term.as_ptr()));
                out.row(index, n).copy_from_slice(&to[..n]);
            }
            return;
        }
        for (index, row) in rows.enumerate() {
            let (x, out) = (&x[row_start(row, x_stride)..][..n], out.row(index, n));
            for start in starts::<S>(n) {
                let (x, factor, term) = (x.as_ptr().add(start), factor.as_ptr().add(start), term.as_ptr().add(start));
                S::store(out.as_mut_ptr().add(start), vector.apply(x, factor, term));
            }
        }
    }
}

/// A factor and a term for each of as many bytes as a vector has.
struct AffineVector<S: Simd> {
    x_zero_point: S::Reals,
    x_scale: S::Reals,
    inverse_scale: S::Reals,
    pack: PackU8,
}

impl<S: Simd> AffineVector<S> {
    /// # Safety
    /// The machine has the tier.
    #[inline(always)]
    unsafe fn new(p: &AffineParams) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            AffineVector {
                x_zero_point: S::splat_real(p.x_zero_point as f32),
                x_scale: S::splat_real(p.x_scale),
                inverse_scale: S::splat_real(p.inverse_scale),
                pack: PackU8::new(p.zero_point, p.clamp),
            }
        }
    }

    /// # Safety
    /// The machine has the tier, and `S::BYTES` elements of each are readable.
    #[inline(always)]
    unsafe fn apply(&self, x: *const u8, factor: *const f32, term: *const f32) -> S::Bytes {
        let lanes = S::BYTES / 4;
        // SAFETY: the caller's promise.
        unsafe {
            let mut v = [self.x_zero_point; 4];
            for (i, v) in v.iter_mut().enumerate() {
                let x = S::mul(S::sub(S::widen(x.add(i * lanes)), self.x_zero_point), self.x_scale);
                let y = S::mul(x, S::load_reals(factor.add(i * lanes)));
                *v = S::mul(S::add(y, S::load_reals(term.add(i * lanes))), self.inverse_scale);
            }
            S::in_order(S::pack(&self.pack, v))
        }
    }
}

/// Pixels converted together, by a transpose in the first-level cache.
const PIXELS: usize = 128;
/// Channels converted together.
const CHANNELS: usize = 16;

/// `Quantize::quantize_to_nhwc`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn quantize_to_nhwc<S: Simd, T: Tiles>(
    p: &QuantizeParams,
    image: &[f32],
    channels: usize,
    pixels: Range<usize>,
    mut out: RowsMut<'_, u8>,
) {
    let Some(plane) = image.len().checked_div(channels) else { return };
    check_pixels(&pixels, plane);
    let mut tile = [0; CHANNELS * PIXELS];
    for start in pixels.clone().step_by(PIXELS) {
        let count = PIXELS.min(pixels.end - start);
        for first in (0..channels).step_by(CHANNELS) {
            let width = CHANNELS.min(channels - first);
            for (c, row) in (first..first + width).zip(tile.chunks_exact_mut(PIXELS)) {
                let from = &image[c * plane + start..][..count];
                // SAFETY: the caller's promise.
                unsafe { quantize_row::<S>(p, from, &mut row[..count]) };
            }
            let to = out.rows_from(start - pixels.start, count, channels);
            // SAFETY: the tile holds `width` rows of `count`, `to` as many columns from `first` on.
            unsafe {
                transpose::transpose_u8::<T>(width, count, tile.as_ptr(), PIXELS, to.0[first..].as_mut_ptr(), to.1);
            }
        }
    }
}

/// `Quantize::dequantize_to_nchw`.
///
/// # Safety
/// The machine has the tier.
#[inline(always)]
pub unsafe fn dequantize_to_nchw<T: Tiles>(
    p: &DequantizeParams,
    image: &[u8],
    x_stride: usize,
    channels: Range<usize>,
    out: &mut [f32],
) {
    let Some(plane) = out.len().checked_div(channels.len()) else { return };
    assert_eq!(plane * channels.len(), out.len(), "planes of one size");
    if plane == 0 {
        return;
    }
    assert!(image.len() >= span(plane, x_stride, channels.end), "image too short");
    let mut tile = [0; CHANNELS * PIXELS];
    for start in (0..plane).step_by(PIXELS) {
        let count = PIXELS.min(plane - start);
        for first in channels.clone().step_by(CHANNELS) {
            let width = CHANNELS.min(channels.end - first);
            let from = &image[start * x_stride + first..];
            // SAFETY: the image holds `count` rows of `width` channels, the tile as many columns.
            unsafe { transpose::transpose_u8::<T>(count, width, from.as_ptr(), x_stride, tile.as_mut_ptr(), PIXELS) };
            for (c, row) in (first - channels.start..).zip(tile.chunks_exact(PIXELS).take(width)) {
                for (o, &q) in out[c * plane + start..][..count].iter_mut().zip(row) {
                    *o = dequantize_one(p, q);
                }
            }
        }
    }
}
