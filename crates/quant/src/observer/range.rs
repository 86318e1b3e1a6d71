//! The range of the values seen.

use quantc_tensor::reduce;

use super::ObserverError;

/// The closed range of the values seen; `min > max` if there were none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

impl Range {
    /// The range of no values.
    pub const EMPTY: Range = Range { min: f32::INFINITY, max: f32::NEG_INFINITY };

    /// Whether the range is of no values.
    pub fn is_empty(self) -> bool {
        self.min > self.max
    }

    /// Whether an observer can have it: finite ends in order, or of no values.
    pub(super) fn is_valid(self) -> bool {
        self == Range::EMPTY || (self.min <= self.max && self.min.is_finite() && self.max.is_finite())
    }

    /// The answer of [`super::Observer::ranges`] for one range.
    pub(super) fn seen(self) -> Vec<Range> {
        if self.is_empty() { Vec::new() } else { vec![self] }
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// One step of an exponential moving average towards `new`; an empty range starts at `new`, an empty `new` changes nothing.
    pub(super) fn move_towards(self, new: Range, averaging_constant: f32) -> Range {
        if new.is_empty() {
            return self;
        }
        if self.is_empty() {
            return new;
        }
        let step = |old: f32, new: f32| {
            let moved = old + averaging_constant * (new - old);
            // The difference of two huge values overflows f32, their average does not.
            if moved.is_finite() {
                moved
            } else {
                (f64::from(old) + f64::from(averaging_constant) * (f64::from(new) - f64::from(old))) as f32
            }
        };
        Range { min: step(self.min, new.min), max: step(self.max, new.max) }
    }
}

/// The range of the finite values of `data` and how many infinities there are.
pub(super) fn finite_range(observer: &'static str, data: &[f32]) -> Result<(Range, u64), ObserverError> {
    let all = reduce::min_max(data);
    if all.has_nan {
        let index = data.iter().position(|v| v.is_nan()).unwrap_or_default();
        return Err(ObserverError::NaN { observer, index });
    }
    if data.is_empty() || (all.min.is_finite() && all.max.is_finite()) {
        return Ok((Range { min: all.min, max: all.max }, 0));
    }
    let mut range = Range::EMPTY;
    let mut infinities = 0;
    for &v in data {
        if v.is_finite() {
            range = range.union(Range { min: v, max: v });
        } else {
            infinities += 1;
        }
    }
    Ok((range, infinities))
}
