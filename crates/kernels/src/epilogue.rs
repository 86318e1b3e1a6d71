//! What happens to an exact i32 accumulator before it is stored: bias is already in the accumulator.

use quantc_tensor::round::{requantize, round_saturate};

/// The stage fused into the end of an integer convolution or matmul. Per-channel slices are indexed by output channel
/// and always have one entry per channel, also for per-tensor weights. Quantized activations are u8 in every kernel
/// (an i8 activation `q` is stored as `q + 128`, its zero point and clamp shifted alike).
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// u8 out: `clamp(rne(f32(acc) * multiplier[c]) + zero_point, lo, hi)`. The clamp carries relu, relu6, hardtanh.
    Requantize {
        /// `s_x * s_w[c] / s_y`.
        multiplier: &'a [f32],
        /// Zero point of the output.
        zero_point: i32,
        /// Inclusive bounds, within 0..=255.
        clamp: (i32, i32),
    },
    /// u8 out, residual added in real numbers, in exactly this order of f32 operations, none fused:
    /// `real = f32(acc) * scale[c] + f32(residual - residual_zero_point) * residual_scale`,
    /// `clamp(rne(real * inverse_scale) + zero_point, lo, hi)`.
    AddRequantize {
        /// `s_x * s_w[c]`.
        scale: &'a [f32],
        /// The residual operand at the same rows and channels as the output, row stride `residual_stride`.
        residual: &'a [u8],
        /// Elements from one output row (pixel) of the residual to the next.
        residual_stride: usize,
        /// Scale of the residual.
        residual_scale: f32,
        /// Zero point of the residual.
        residual_zero_point: i32,
        /// `1 / s_y`.
        inverse_scale: f32,
        /// Zero point of the output.
        zero_point: i32,
        /// Inclusive bounds, within 0..=255.
        clamp: (i32, i32),
    },
    /// f32 out: `min(max(f32(acc) * scale[c], lo), hi)`.
    Dequantize {
        /// `s_x * s_w[c]`.
        scale: &'a [f32],
        /// Real bounds, infinite where there is no activation.
        clamp: (f32, f32),
    },
}

impl<'a> Epilogue<'a> {
    /// The epilogue of the output channels from `start` on, counted from there.
    ///
    /// # Panics
    /// If there are fewer channels.
    pub fn from_channel(self, start: usize) -> Epilogue<'a> {
        match self {
            Epilogue::Requantize { multiplier, zero_point, clamp } => {
                Epilogue::Requantize { multiplier: &multiplier[start..], zero_point, clamp }
            }
            Epilogue::AddRequantize {
                scale,
                residual,
                residual_stride,
                residual_scale,
                residual_zero_point,
                inverse_scale,
                zero_point,
                clamp,
            } => Epilogue::AddRequantize {
                scale: &scale[start..],
                residual: &residual[start..],
                residual_stride,
                residual_scale,
                residual_zero_point,
                inverse_scale,
                zero_point,
                clamp,
            },
            Epilogue::Dequantize { scale, clamp } => Epilogue::Dequantize { scale: &scale[start..], clamp },
        }
    }

    /// The u8 result for one accumulator: the definition that every tier must reproduce bit for bit.
    /// `row` counts from the first row of this call, `channel` from the first output channel.
    /// `Dequantize` has no u8 result; it gives 0.
    #[inline(always)]
    pub fn u8_at(&self, acc: i32, row: usize, channel: usize) -> u8 {
        match *self {
            Epilogue::Requantize { multiplier, zero_point, clamp: (lo, hi) } => {
                requantize(acc, multiplier[channel], zero_point, lo, hi) as u8
            }
            Epilogue::AddRequantize {
                scale,
                residual,
                residual_stride,
                residual_scale,
                residual_zero_point,
                inverse_scale,
                zero_point,
                clamp: (lo, hi),
            } => {
                let r = i32::from(residual[row * residual_stride + channel]);
                let real = acc as f32 * scale[channel] + (r - residual_zero_point) as f32 * residual_scale;
                round_saturate(real * inverse_scale, zero_point, lo, hi) as u8
            }
            Epilogue::Dequantize { .. } => 0,
        }
    }

    /// The f32 result for one accumulator (`Dequantize` only; the others give NaN).
    #[inline(always)]
    pub fn f32_at(&self, acc: i32, channel: usize) -> f32 {
        match *self {
            Epilogue::Dequantize { scale, clamp: (lo, hi) } => (acc as f32 * scale[channel]).max(lo).min(hi),
            _ => f32::NAN,
        }
    }
}
