//! Quantizing and dequantizing in one, with what the gradient needs.

use super::FakeQuantizeError;

/// Values quantized and dequantized, and which of them were within the integer range before clamping.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantized {
    /// The values.
    pub values: Vec<f32>,
    /// Whether the gradient passes, for each value.
    pub mask: Vec<bool>,
}

impl FakeQuantized {
    /// The gradient of the input for that of the output: straight through within the integer range, zero outside (with the sign that
    /// multiplying by 0 gives).
    ///
    /// # Errors
    /// [`FakeQuantizeError::Gradient`] if there is not one number for each value.
    pub fn backward(&self, gradient: &[f32]) -> Result<Vec<f32>, FakeQuantizeError> {
        if gradient.len() != self.mask.len() {
            return Err(FakeQuantizeError::Gradient { values: self.mask.len(), got: gradient.len() });
        }
        Ok(gradient.iter().zip(&self.mask).map(|(g, &inside)| g * f32::from(u8::from(inside))).collect())
    }

    fn of(values: impl Iterator<Item = (f32, bool)>) -> FakeQuantized {
        let (values, mask) = values.unzip();
        FakeQuantized { values, mask }
    }

    /// The values as they are, all of them with a gradient.
    pub(super) fn unchanged(values: &[f32]) -> FakeQuantized {
        FakeQuantized { values: values.to_vec(), mask: vec![true; values.len()] }
    }
}

/// The integer range.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    quant_min: i64,
    quant_max: i64,
}

impl Bounds {
    /// `q`, an integer not yet clamped, as (real value, whether it is within the bounds). A NaN, which no integer is near, is taken
    /// as `quant_min`.
    fn dequantize(self, q: f32, zero_point: f64, scale: f32) -> (f32, bool) {
        // As an i64, for which infinities saturate. PyTorch's conversion turns all that does not fit into the smallest i64, so that
        // large positive values become `quant_min` there.
        let rounded = if q.is_nan() { i64::MIN } else { q as i64 };
        let clamped = rounded.clamp(self.quant_min, self.quant_max);
        (((clamped as f64 - zero_point) * f64::from(scale)) as f32, clamped == rounded)
    }
}

fn check(scale: &[f32], quant_min: i32, quant_max: i32) -> Result<Bounds, FakeQuantizeError> {
    if quant_min > quant_max {
        return Err(FakeQuantizeError::Range { quant_min, quant_max });
    }
    if let Some(scale) = scale.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
        return Err(FakeQuantizeError::Scale { scale: *scale });
    }
    Ok(Bounds { quant_min: quant_min.into(), quant_max: quant_max.into() })
}

/// `(clamp(rne(x * (1 / scale)) + zero_point, quant_min, quant_max) - zero_point) * scale` (torch.fake_quantize_per_tensor_affine).
/// Infinities saturate; in PyTorch values of 2^63 steps and more become `quant_min`.
///
/// # Errors
/// [`FakeQuantizeError::Scale`], [`FakeQuantizeError::Range`].
pub fn fake_quantize_per_tensor_affine(
    x: &[f32],
    scale: f32,
    zero_point: i32,
    quant_min: i32,
    quant_max: i32,
) -> Result<FakeQuantized, FakeQuantizeError> {
    let bounds = check(&[scale], quant_min, quant_max)?;
    let inverse = 1.0 / scale;
    let of = |x: &f32| {
        let q = (x * inverse).round_ties_even() + zero_point as f32;
        bounds.dequantize(q, f64::from(zero_point), scale)
    };
    Ok(FakeQuantized::of(x.iter().map(of)))
}

/// The zero points of channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ZeroPoints<'a> {
    /// Integers: added after rounding.
    Int(&'a [i32]),
    /// Floats, of the scheme `per_channel_affine_float_qparams`: added before rounding.
    Float(&'a [f32]),
}

impl ZeroPoints<'_> {
    fn len(self) -> usize {
        match self {
            ZeroPoints::Int(z) => z.len(),
            ZeroPoints::Float(z) => z.len(),
        }
    }
}

/// The same with a scale and a zero point for each index of `axis` (torch.fake_quantize_per_channel_affine). With float zero points
/// it is `(clamp(rne(x * (1 / scale) + zero_point)) - zero_point) * scale`, product and sum rounded once.
///
/// # Errors
/// [`FakeQuantizeError::Channels`] if the shape has no such axis, does not fit the values, or there is not one scale and one zero point for
/// each channel; [`FakeQuantizeError::Scale`], [`FakeQuantizeError::Range`].
pub fn fake_quantize_per_channel_affine(
    x: &[f32],
    shape: &[usize],
    scale: &[f32],
    zero_points: ZeroPoints<'_>,
    axis: usize,
    quant_min: i32,
    quant_max: i32,
) -> Result<FakeQuantized, FakeQuantizeError> {
    let bounds = check(scale, quant_min, quant_max)?;
    let fits = shape.get(axis).is_some_and(|&n| n == scale.len() && n == zero_points.len());
    if !fits || shape.iter().product::<usize>() != x.len() {
        return Err(FakeQuantizeError::Channels { shape: shape.to_vec(), axis, scales: scale.len() });
    }
    let inner = shape[axis + 1..].iter().product::<usize>().max(1);
    let inverse: Vec<f32> = scale.iter().map(|s| 1.0 / s).collect();
    let of = |(i, x): (usize, &f32)| {
        let channel = (i / inner) % scale.len();
        match zero_points {
            ZeroPoints::Int(z) => {
                let q = (x * inverse[channel]).round_ties_even() + z[channel] as f32;
                bounds.dequantize(q, f64::from(z[channel]), scale[channel])
            }
            ZeroPoints::Float(z) => {
                let q = x.mul_add(inverse[channel], z[channel]).round_ties_even();
                bounds.dequantize(q, f64::from(z[channel]), scale[channel])
            }
        }
    };
    Ok(FakeQuantized::of(x.iter().enumerate().map(of)))
}
