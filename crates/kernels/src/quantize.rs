//! Conversions between f32 and u8, with and without a change of layout.

use std::ops::Range;

use quantc_tensor::reduce::MinMax;

use crate::rows::{Operand, RowsMut};

/// Quantization of f32: `clamp(rne(x * inverse_scale) + zero_point, lo, hi)`, NaN giving `lo`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantizeParams {
    /// `1 / scale`, computed in f32.
    pub inverse_scale: f32,
    /// Zero point, 0..=255.
    pub zero_point: i32,
    /// Inclusive bounds, within 0..=255.
    pub clamp: (i32, i32),
}

/// Dequantization of u8: `f32(q - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DequantizeParams {
    /// Scale.
    pub scale: f32,
    /// Zero point, 0..=255.
    pub zero_point: i32,
}

/// Kernels that convert between f32 and u8.
pub trait Quantize: Send + Sync {
    /// What reports call these kernels, for example `quantize.avx2`.
    fn name(&self) -> &'static str;

    /// Quantizes row by row.
    ///
    /// # Panics
    /// If the operand or the output is too short.
    fn quantize(
        &self,
        params: &QuantizeParams,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, f32>,
        out: RowsMut<'_, u8>,
    );

    /// Quantizes the pixels `pixels` of one image `[channels][plane]` (NCHW) into rows of `channels` (NHWC). `out` starts at
    /// the first of these pixels.
    ///
    /// # Panics
    /// If the image does not hold `channels` planes with these pixels, or the output is too short.
    fn quantize_to_nhwc(
        &self,
        params: &QuantizeParams,
        image: &[f32],
        channels: usize,
        pixels: Range<usize>,
        out: RowsMut<'_, u8>,
    );

    /// Dequantizes row by row.
    ///
    /// # Panics
    /// If the operand or the output is too short.
    fn dequantize(
        &self,
        params: &DequantizeParams,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, u8>,
        out: RowsMut<'_, f32>,
    );

    /// Dequantizes the channels `channels` of one image, whose pixels are rows `x_stride` elements apart (NHWC), into planes
    /// (NCHW) of `out.len() / channels.len()` elements. `out` starts at the first of these channels.
    ///
    /// # Panics
    /// If the image is too short, or the planes do not fill `out`.
    fn dequantize_to_nchw(
        &self,
        params: &DequantizeParams,
        image: &[u8],
        x_stride: usize,
        channels: Range<usize>,
        out: &mut [f32],
    );

    /// The range of a slice, for dynamic quantization.
    fn min_max(&self, x: &[f32]) -> MinMax;
}

/// `q + 128` as u8 for i8 values and back: `out[i] = x[i] ^ 0x80`.
///
/// # Panics
/// If the lengths differ.
pub fn flip_sign(x: &[u8], out: &mut [u8]) {
    assert_eq!(x.len(), out.len(), "flip_sign keeps the length");
    for (o, x) in out.iter_mut().zip(x) {
        *o = x ^ 0x80;
    }
}

/// Conversions in plain Rust.
pub(crate) struct PortableQuantize;

impl Quantize for PortableQuantize {
    fn name(&self) -> &'static str {
        "quantize.portable"
    }

    fn quantize(
        &self,
        params: &QuantizeParams,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, f32>,
        out: RowsMut<'_, u8>,
    ) {
        body::quantize(params, rows, columns, x, out);
    }

    fn quantize_to_nhwc(
        &self,
        params: &QuantizeParams,
        image: &[f32],
        channels: usize,
        pixels: Range<usize>,
        out: RowsMut<'_, u8>,
    ) {
        body::quantize_to_nhwc(params, image, channels, pixels, out);
    }

    fn dequantize(
        &self,
        params: &DequantizeParams,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, u8>,
        out: RowsMut<'_, f32>,
    ) {
        body::dequantize(params, rows, columns, x, out);
    }

    fn dequantize_to_nchw(
        &self,
        params: &DequantizeParams,
        image: &[u8],
        x_stride: usize,
        channels: Range<usize>,
        out: &mut [f32],
    ) {
        body::dequantize_to_nchw(params, image, x_stride, channels, out);
    }

    fn min_max(&self, x: &[f32]) -> MinMax {
        quantc_tensor::reduce::min_max(x)
    }
}

/// The definitions, inlined always so that a tier can compile them with its own instructions.
pub mod body {
    use super::*;
    use crate::rows::{for_each_row, map, span};
    use quantc_tensor::round;

    /// Pixels whose rows stay in the first-level cache while the channels are walked.
    const PIXEL_BLOCK: usize = 64;

    /// Checks that an image's planes of `plane` pixels hold the pixels.
    ///
    /// # Panics
    /// If they do not.
    #[inline(always)]
    pub fn check_pixels(pixels: &Range<usize>, plane: usize) {
        assert!(pixels.end <= plane, "pixels {pixels:?} of {plane}");
    }

    /// One element of [`Quantize::quantize`].
    #[inline(always)]
    pub fn quantize_one(p: &QuantizeParams, x: f32) -> u8 {
        round::quantize(x, p.inverse_scale, p.zero_point, p.clamp.0, p.clamp.1) as u8
    }

    /// One element of [`Quantize::dequantize`].
    #[inline(always)]
    pub fn dequantize_one(p: &DequantizeParams, q: u8) -> f32 {
        round::dequantize(i32::from(q), p.scale, p.zero_point)
    }

    /// [`Quantize::quantize`].
    #[inline(always)]
    pub fn quantize(
        params: &QuantizeParams,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, f32>,
        out: RowsMut<'_, u8>,
    ) {
        for_each_row(rows, columns, x, out, |x, out| map(x, out, |x| quantize_one(params, x)));
    }

    /// [`Quantize::quantize_to_nhwc`].
    #[inline(always)]
    pub fn quantize_to_nhwc(
        params: &QuantizeParams,
        image: &[f32],
        channels: usize,
        pixels: Range<usize>,
        mut out: RowsMut<'_, u8>,
    ) {
        let Some(plane) = image.len().checked_div(channels) else { return };
        check_pixels(&pixels, plane);
        let first = pixels.start;
        for start in pixels.clone().step_by(PIXEL_BLOCK) {
            let end = pixels.end.min(start + PIXEL_BLOCK);
            for c in 0..channels {
                for (i, &x) in image[c * plane + start..c * plane + end].iter().enumerate() {
                    out.row(start - first + i, channels)[c] = quantize_one(params, x);
                }
            }
        }
    }

    /// [`Quantize::dequantize`].
    #[inline(always)]
    pub fn dequantize(
        params: &DequantizeParams,
        rows: Range<usize>,
        columns: usize,
        x: Operand<'_, u8>,
        out: RowsMut<'_, f32>,
    ) {
        for_each_row(rows, columns, x, out, |x, out| map(x, out, |q| dequantize_one(params, q)));
    }

    /// [`Quantize::dequantize_to_nchw`].
    #[inline(always)]
    pub fn dequantize_to_nchw(
        params: &DequantizeParams,
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
        for start in (0..plane).step_by(PIXEL_BLOCK) {
            let end = plane.min(start + PIXEL_BLOCK);
            for (i, c) in channels.clone().enumerate() {
                for (pixel, o) in (start..end).zip(&mut out[i * plane + start..i * plane + end]) {
                    *o = dequantize_one(params, image[pixel * x_stride + c]);
                }
            }
        }
    }
}
