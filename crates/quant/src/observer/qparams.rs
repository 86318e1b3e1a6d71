//! From a range to a scale and a zero point: the arithmetic of PyTorch's `UniformQuantizationObserverBase`, in f32.

use quantc_tensor::{QRange, QScheme};

use super::{ObserverError, Range};
use crate::qconfig::{ObserverDType, ObserverSpec};

/// Integer range, scheme and smallest scale, checked: all that the arithmetic needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuantizationRule {
    range: QRange,
    qscheme: QScheme,
    eps: f32,
    symmetric_zero_point: i32,
}

impl QuantizationRule {
    /// The rule of `spec` for the observer class `observer`, which wants a per-channel scheme or a per-tensor one.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for a scheme of the other granularity, a float dtype, a range that is not within the dtype or does not
    /// hold 0, an eps that is not positive, or symmetric + reduce_range + quint8.
    pub(crate) fn new(
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
        let Some((lowest, highest)) = dtype.quantized_range() else {
            return refuse(format!("dtype must be an integer type such as quint8 or qint8, not {dtype}"));
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
        if qscheme.is_symmetric() && reduce_range && dtype == ObserverDType::Quint8 {
            return refuse(
                "a symmetric quint8 range cannot be reduced: its zero point 128 is outside 0..127; use qint8"
                    .to_owned(),
            );
        }
        let range = spec.range();
        let symmetric_zero_point = match dtype {
            ObserverDType::Quint8 if quant_min.is_none() && quant_max.is_none() => 128,
            ObserverDType::Quint8 => (range.qmin + range.qmax).div_euclid(2),
            ObserverDType::Uint16 => 1 << 15,
            _ => 0,
        };
        Ok(QuantizationRule { range, qscheme, eps, symmetric_zero_point })
    }

    /// The integer type and range.
    pub(crate) fn range(&self) -> QRange {
        self.range
    }

    /// The scheme.
    pub(crate) fn qscheme(&self) -> QScheme {
        self.qscheme
    }

    /// Whether the zero points are floats.
    pub(crate) fn has_float_zero_points(&self) -> bool {
        self.qscheme == QScheme::PerChannelAffineFloatQParams
    }

    /// How many steps the integer range has.
    fn levels(&self) -> f32 {
        (i64::from(self.range.qmax) - i64::from(self.range.qmin)) as f32
    }

    /// Scale and zero point for the values of `range`, which is first extended to hold 0; (1.0, 0) for an empty range. `None` if
    /// the width of the range is not finite.
    pub(crate) fn qparams(&self, range: Range) -> Option<(f32, i32)> {
        if range.is_empty() {
            return Some((1.0, 0));
        }
        let QRange { qmin, qmax, .. } = self.range;
        let (lo, hi) = (range.min.min(0.0), range.max.max(0.0));
        if self.qscheme.is_symmetric() {
            // Half the number of steps in f64: PyTorch's is a Python float, rounded to f32 once.
            let half = ((f64::from(qmax) - f64::from(qmin)) / 2.0) as f32;
            let scale = ((-lo).max(hi) / half).max(self.eps);
            return scale.is_finite().then_some((scale, self.symmetric_zero_point));
        }
        let scale = ((hi - lo) / self.levels()).max(self.eps);
        // |lo / scale| is at most the number of steps, give or take a rounding, so that the conversion is exact.
        let zero_point = i64::from(qmin) - (lo / scale).round_ties_even() as i64;
        let zero_point = zero_point.clamp(i64::from(qmin), i64::from(qmax)) as i32;
        scale.is_finite().then_some((scale, zero_point))
    }

    /// Scale and float zero point for exactly the values of `range`: 0 need not be among them. A scale of at most eps becomes 1, an
    /// empty range gives (1.0, 0). `None` if the width of the range is not finite.
    pub(crate) fn float_qparams(&self, range: Range) -> Option<(f32, f32)> {
        if range.is_empty() {
            return Some((1.0, 0.0));
        }
        let scale = (range.max - range.min) / self.levels();
        let scale = if scale > self.eps { scale } else { 1.0 };
        scale.is_finite().then_some((scale, -range.min / scale))
    }
}
