//! From a range to a scale and a zero point: the arithmetic of PyTorch's `UniformQuantizationObserverBase`, in f32.

use quantc_tensor::{DType, QRange, QScheme};

use super::{ObserverError, Range};
use crate::qconfig::ObserverSpec;

/// Integer range, scheme and smallest scale, checked: all that the arithmetic needs.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationRule {
    range: QRange,
    qscheme: QScheme,
    eps: f32,
    symmetric_zero_point: i32,
}

impl QuantizationRule {
    /// The rule of `spec` for the observer class `observer`, which wants a per-channel scheme or a per-tensor one.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for a scheme of the other granularity, a dtype that is neither qint8 nor quint8, a range that is not
    /// within the dtype or does not hold 0, an eps that is not positive, or symmetric + reduce_range + quint8.
    pub(super) fn new(
        observer: &'static str,
        spec: &ObserverSpec,
        per_channel: bool,
    ) -> Result<QuantizationRule, ObserverError> {
        let refuse = |reason| Err(ObserverError::Spec { observer, reason });
        let &ObserverSpec { dtype, qscheme, reduce_range, quant_min, quant_max, eps, .. } = spec;
        if qscheme.is_per_channel() != per_channel {
            let wanted = if per_channel { "per_channel" } else { "per_tensor" };
            return refuse(format!("qscheme must be {wanted}_affine or {wanted}_symmetric"));
        }
        if qscheme == QScheme::PerChannelAffineFloatQParams {
            return refuse(format!("qscheme {qscheme} is not supported"));
        }
        let (lowest, highest) = match dtype {
            DType::U8 => (0, 255),
            DType::I8 => (-128, 127),
            other => return refuse(format!("dtype must be quint8 or qint8, not {other}")),
        };
        let (lo, hi) = (quant_min.unwrap_or(lowest), quant_max.unwrap_or(highest));
        if !(lo < hi && lo <= 0 && 0 <= hi && lo >= lowest && hi <= highest) {
            return refuse(format!(
                "quant_min {lo} and quant_max {hi} must enclose 0 and lie within {lowest}..{highest}"
            ));
        }
        if !(eps > 0.0 && eps.is_finite()) {
            return refuse(format!("eps must be positive and finite, not {eps}"));
        }
        if qscheme.is_symmetric() && reduce_range && dtype == DType::U8 {
            return refuse(
                "a symmetric quint8 range cannot be reduced: its zero point 128 is outside 0..127; use qint8"
                    .to_owned(),
            );
        }
        let range = spec.range();
        let symmetric_zero_point = match dtype {
            DType::U8 if quant_min.is_none() && quant_max.is_none() => 128,
            DType::U8 => (range.qmin + range.qmax).div_euclid(2),
            _ => 0,
        };
        Ok(QuantizationRule { range, qscheme, eps, symmetric_zero_point })
    }

    /// The integer type and range.
    pub fn range(&self) -> QRange {
        self.range
    }

    /// The scheme.
    pub fn qscheme(&self) -> QScheme {
        self.qscheme
    }

    /// Scale and zero point for the values of `range`, which is first extended to hold 0; (1.0, 0) for an empty range. `None` if
    /// the width of the range is not finite.
    pub fn qparams(&self, range: Range) -> Option<(f32, i32)> {
        if range.is_empty() {
            return Some((1.0, 0));
        }
        let QRange { qmin, qmax, .. } = self.range;
        let (lo, hi) = (range.min.min(0.0), range.max.max(0.0));
        let levels = (qmax - qmin) as f32;
        if self.qscheme.is_symmetric() {
            let scale = ((-lo).max(hi) / (levels / 2.0)).max(self.eps);
            return scale.is_finite().then_some((scale, self.symmetric_zero_point));
        }
        let scale = ((hi - lo) / levels).max(self.eps);
        // |lo / scale| is at most `levels`, give or take a rounding, so that the conversion is exact.
        let zero_point = qmin - (lo / scale).round_ties_even() as i32;
        scale.is_finite().then_some((scale, zero_point.clamp(qmin, qmax)))
    }
}
