//! Scales and zero points: what the integers of a quantized tensor mean.

use super::{QDType, QuantizedError, around};
use crate::{QScheme, round};

/// The parameters of a quantized tensor (PyTorch's `Quantizer`). As there, affine scales are f64, though all arithmetic takes them as
/// f32.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantizer {
    /// `x = (q - zero_point) * scale`.
    PerTensorAffine {
        /// The real distance of two neighbours.
        scale: f64,
        /// The integer of 0.
        zero_point: i32,
    },
    /// The same with parameters for each index of an axis.
    PerChannelAffine {
        /// One for each channel.
        scales: Vec<f64>,
        /// One for each channel.
        zero_points: Vec<i32>,
        /// The channel axis.
        axis: usize,
    },
    /// The same with zero points that are no integers, so that a channel's least value can be met exactly.
    PerChannelAffineFloatQParams {
        /// One for each channel.
        scales: Vec<f32>,
        /// One for each channel.
        zero_points: Vec<f32>,
        /// The channel axis.
        axis: usize,
    },
}

impl Quantizer {
    /// The scheme (`torch.Tensor.qscheme`). A symmetric scheme is one of observers: the parameters it leads to are affine ones.
    pub fn qscheme(&self) -> QScheme {
        match self {
            Quantizer::PerTensorAffine { .. } => QScheme::PerTensorAffine,
            Quantizer::PerChannelAffine { .. } => QScheme::PerChannelAffine,
            Quantizer::PerChannelAffineFloatQParams { .. } => QScheme::PerChannelAffineFloatQParams,
        }
    }

    /// The channel axis, if there is one.
    pub fn axis(&self) -> Option<usize> {
        match self {
            Quantizer::PerTensorAffine { .. } => None,
            Quantizer::PerChannelAffine { axis, .. } | Quantizer::PerChannelAffineFloatQParams { axis, .. } => {
                Some(*axis)
            }
        }
    }

    /// The same parameters along another axis.
    pub(super) fn with_axis(mut self, new: usize) -> Quantizer {
        match &mut self {
            Quantizer::PerTensorAffine { .. } => {}
            Quantizer::PerChannelAffine { axis, .. } | Quantizer::PerChannelAffineFloatQParams { axis, .. } => {
                *axis = new
            }
        }
        self
    }

    /// Fails unless the parameters can be those of a tensor of that shape and type.
    pub(super) fn check(&self, shape: &[usize], dtype: QDType) -> Result<(), QuantizedError> {
        if let Some(axis) = self.axis() {
            let dim = i64::try_from(axis).unwrap_or(i64::MAX);
            let channels = *shape.get(axis).ok_or(QuantizedError::Dimension { dim, rank: shape.len() })?;
            let (scales, zero_points) = match self {
                Quantizer::PerTensorAffine { .. } => (channels, channels),
                Quantizer::PerChannelAffine { scales, zero_points, .. } => (scales.len(), zero_points.len()),
                Quantizer::PerChannelAffineFloatQParams { scales, zero_points, .. } => {
                    (scales.len(), zero_points.len())
                }
            };
            for (what, got) in [("scales", scales), ("zero points", zero_points)] {
                if got != channels {
                    return Err(QuantizedError::Channels { what, got, expected: channels });
                }
            }
        }
        let scale = |scale: f64| {
            let f32_scale = scale as f32;
            let usable = f32_scale > 0.0 && f32_scale.is_finite() && (1.0 / f32_scale).is_finite();
            if usable { Ok(()) } else { Err(QuantizedError::Scale(scale)) }
        };
        let zero_point = |zero_point: i32| {
            let (lo, hi) = dtype.range();
            let within = (lo..=hi).contains(&zero_point);
            if within { Ok(()) } else { Err(QuantizedError::ZeroPoint { zero_point: zero_point.into(), dtype }) }
        };
        match self {
            Quantizer::PerTensorAffine { scale: s, zero_point: z } => scale(*s).and(zero_point(*z)),
            Quantizer::PerChannelAffine { scales, zero_points, .. } => {
                scales.iter().try_for_each(|s| scale(*s))?;
                zero_points.iter().try_for_each(|z| zero_point(*z))
            }
            Quantizer::PerChannelAffineFloatQParams { scales, zero_points, .. } => {
                scales.iter().try_for_each(|s| scale(f64::from(*s)))?;
                match zero_points.iter().find(|z| !z.is_finite()) {
                    Some(bad) => Err(QuantizedError::RealZeroPoint(*bad, "is not finite")),
                    None => Ok(()),
                }
            }
        }
    }

    /// Integers of the values of a tensor of that shape.
    pub(super) fn quantize(&self, values: &[f32], shape: &[usize], dtype: QDType) -> Vec<i32> {
        let (qmin, qmax) = dtype.range();
        let affine = |x: f32, inverse: f32, zero_point: i32| match dtype {
            QDType::QInt32 => round::quantize_i32(x, inverse, zero_point),
            _ => round::quantize(x, inverse, zero_point, qmin, qmax),
        };
        match self {
            Quantizer::PerTensorAffine { scale, zero_point } => {
                let inverse = 1.0 / *scale as f32;
                values.iter().map(|&x| affine(x, inverse, *zero_point)).collect()
            }
            Quantizer::PerChannelAffine { scales, zero_points, axis } => {
                let inverses: Vec<f32> = scales.iter().map(|s| 1.0 / *s as f32).collect();
                by_channel(values, shape, *axis, |x, c| affine(x, inverses[c], zero_points[c]))
            }
            Quantizer::PerChannelAffineFloatQParams { scales, zero_points, axis } => {
                let inverses: Vec<f32> = scales.iter().map(|s| 1.0 / s).collect();
                by_channel(values, shape, *axis, |x, c| {
                    round::round_saturate(x * inverses[c] + zero_points[c], 0, qmin, qmax)
                })
            }
        }
    }

    /// The values of a tensor's integers.
    pub(super) fn dequantize(&self, ints: &[i32], shape: &[usize]) -> Vec<f32> {
        // In i64 for qint32, where the difference may not fit.
        let affine = |q: i32, zero_point: i32, scale: f64| (i64::from(q) - i64::from(zero_point)) as f32 * scale as f32;
        match self {
            Quantizer::PerTensorAffine { scale, zero_point } => {
                ints.iter().map(|&q| affine(q, *zero_point, *scale)).collect()
            }
            Quantizer::PerChannelAffine { scales, zero_points, axis } => {
                by_channel(ints, shape, *axis, |q, c| affine(q, zero_points[c], scales[c]))
            }
            Quantizer::PerChannelAffineFloatQParams { scales, zero_points, axis } => {
                by_channel(ints, shape, *axis, |q, c| (q as f32 - zero_points[c]) * scales[c])
            }
        }
    }
}

/// Every element with its channel's number. [`Quantizer::check`] has seen that every channel has parameters.
fn by_channel<T: Copy, U>(items: &[T], shape: &[usize], axis: usize, f: impl Fn(T, usize) -> U) -> Vec<U> {
    let (_, channels, inner) = around(shape, axis);
    items.iter().enumerate().map(|(i, &v)| f(v, i / inner % channels)).collect()
}
