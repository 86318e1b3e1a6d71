//! The quantization attributes of fused operators, in stored (u8) terms: an i8 value `q` is stored as `q + 128`, its zero
//! point and bounds shifted alike, which changes no result.

use quantc_ops::quantize::range_of;
use quantc_tensor::scaled::clamp_bounds;
use quantc_tensor::{DType, QRange, Tensor};

use crate::attrs::AttrView;
use crate::error::NodeError;

/// What is added to an integer of this type to store it.
pub(crate) fn shift(dtype: DType) -> i32 {
    if dtype == DType::I8 { 128 } else { 0 }
}

/// Whether integers of this type are stored as u8.
pub(crate) fn is_code(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8)
}

/// Every value of a code type, in the order of the stored codes.
pub(crate) fn all_codes(dtype: DType) -> Tensor {
    match dtype {
        DType::I8 => Tensor::vector((i8::MIN..=i8::MAX).collect::<Vec<i8>>()),
        _ => Tensor::vector((0..=u8::MAX).collect::<Vec<u8>>()),
    }
}

/// The zero point attribute of an operand of this type, as stored; `None` if it is outside u8.
pub(crate) fn stored_zero_point(attrs: &AttrView<'_>, name: &str, dtype: DType) -> Result<Option<i32>, NodeError> {
    let stored = attrs.int(name)?.saturating_add(i64::from(shift(dtype)));
    Ok(u8::try_from(stored).ok().map(i32::from))
}

/// How a result is quantized.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantized {
    /// Scale.
    pub(crate) scale: f32,
    /// Zero point as stored.
    pub(crate) stored_zero_point: i32,
    /// Bounds as stored, activation included.
    pub(crate) clamp: (i32, i32),
}

impl Quantized {
    /// The result's quantization from `scale`, `zero_point`, `dtype`, `quant_min`, `quant_max` and, if `activation`, its clamp;
    /// `None` if it cannot be stored as u8.
    pub(crate) fn of(attrs: &AttrView<'_>, activation: (f32, f32)) -> Result<Option<Quantized>, NodeError> {
        let dtype = attrs.dtype("dtype")?;
        if !is_code(dtype) {
            return Ok(None);
        }
        let has_range = |name| attrs.opt_int(name);
        let range: QRange = range_of(dtype, has_range("quant_min")?, has_range("quant_max")?)?;
        let (scale, zero_point) = (attrs.float("scale")?, attrs.int("zero_point")? as i32);
        let (lo, hi) = clamp_bounds(activation, scale, zero_point, range);
        let shift = shift(dtype);
        let stored = zero_point.saturating_add(shift);
        let fits = (0..=255).contains(&stored) && lo <= hi;
        Ok(fits.then_some(Quantized { scale, stored_zero_point: stored, clamp: (lo + shift, hi + shift) }))
    }
}

/// The clamp of a fused activation.
pub(crate) fn activation(attrs: &AttrView<'_>) -> Result<(f32, f32), NodeError> {
    Ok((attrs.float("activation_min")?, attrs.float("activation_max")?))
}
