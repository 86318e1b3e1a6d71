//! Observers: they watch the values of one edge during calibration and decide its scale and zero point.
//!
//! Names, arguments and arithmetic are those of `torch.ao.quantization.observer` (torch 2.8), with these differences, each on purpose:
//!
//! - NaN is an error that names the observer; infinities are left out and counted, by every observer (PyTorch: only by the
//!   histogram, and without a count).
//! - A channel that saw no finite value gets (1.0, 0), as an observer that saw none does; both are marked as not observed.
//! - A range too wide for f32 is an error instead of an infinite scale.
//! - Symmetric + reduce_range + quint8 is refused by every observer (its zero point, 128, is out of the range 0..127).
//!
//! The state of an observer does not grow with the number of values it has seen.

mod error;
mod histogram;
mod histogram_search;
mod min_max;
mod per_channel;
mod qparams;

use std::any::Any;

use quantc_tensor::QParams;
use quantc_tensor::reduce;

use crate::qconfig::{ObserverKind, ObserverSpec};

pub use error::ObserverError;
pub use histogram::HistogramObserver;
pub use min_max::{MinMaxObserver, MovingAverageMinMaxObserver};
pub use per_channel::{MovingAveragePerChannelMinMaxObserver, PerChannelMinMaxObserver};
pub use qparams::QuantizationRule;

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

    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// One step of an exponential moving average towards `new`; an empty range starts at `new`, an empty `new` changes nothing.
    fn move_towards(self, new: Range, averaging_constant: f32) -> Range {
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

/// What an observer decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedQParams {
    /// Scale(s), zero point(s), channel axis and integer range.
    pub qparams: QParams,
    /// False if nothing was observed (for a per-channel observer: in some channel), so that a scale of 1.0 and a zero point of 0 stand in.
    pub observed: bool,
}

/// Watches tensors and computes quantization parameters from what it saw.
pub trait Observer: Any + Send + Sync {
    /// The class name, as PyTorch has it.
    fn name(&self) -> &'static str;

    /// Integer type, scheme and range that the parameters are for.
    fn rule(&self) -> &QuantizationRule;

    /// Takes in one tensor in row-major order. A tensor without elements changes nothing.
    ///
    /// # Errors
    /// A NaN, a shape that does not fit `data` or the channels seen before. The state is then unchanged.
    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError>;

    /// The range(s) that the parameters are computed from: one, or one for each channel; none if nothing was observed.
    fn ranges(&self) -> Vec<Range>;

    /// The channel axis of the tensors, if the parameters are per channel.
    fn ch_axis(&self) -> Option<usize> {
        None
    }

    /// How many infinities were left out so far.
    fn infinities(&self) -> u64;

    /// Adds what `other`, an observer of the same class and configuration, has seen: the result is exactly that of one observer
    /// that saw the tensors of both.
    ///
    /// # Errors
    /// [`ObserverError::NotMergeable`] where the exact result cannot be had: the classes or configurations differ, the result
    /// depends on the order (moving averages), or two histograms have different ranges. The state is then unchanged.
    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError>;

    /// Scale(s) and zero point(s) for what was observed.
    ///
    /// # Errors
    /// [`ObserverError::RangeTooWide`] if the width of a range is not a finite f32.
    fn calculate_qparams(&self) -> Result<ObservedQParams, ObserverError> {
        let ranges = self.ranges();
        if ranges.is_empty() {
            // As in PyTorch, a per-channel observer that saw nothing does not know its channels either.
            let qparams = QParams::per_tensor(1.0, 0, self.rule().range());
            return Ok(ObservedQParams { qparams, observed: false });
        }
        let observed = !ranges.iter().any(|r| r.is_empty());
        let (mut scale, mut zero_point) = (Vec::with_capacity(ranges.len()), Vec::with_capacity(ranges.len()));
        for range in ranges {
            let (s, z) = self.rule().qparams(range).ok_or(ObserverError::RangeTooWide {
                observer: self.name(),
                min: range.min,
                max: range.max,
            })?;
            scale.push(s);
            zero_point.push(z);
        }
        let qparams = QParams { scale, zero_point, axis: self.ch_axis(), range: self.rule().range() };
        Ok(ObservedQParams { qparams, observed })
    }
}

impl ObserverSpec {
    /// A new observer of this kind, per channel if the scheme is, that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other, and for [`ObserverKind::Dynamic`], which observes nothing.
    pub fn build(&self) -> Result<Box<dyn Observer>, ObserverError> {
        Ok(match (self.observer, self.qscheme.is_per_channel()) {
            (ObserverKind::MinMax, false) => Box::new(MinMaxObserver::new(self)?),
            (ObserverKind::MinMax, true) => Box::new(PerChannelMinMaxObserver::new(self)?),
            (ObserverKind::MovingAverageMinMax { averaging_constant }, false) => {
                Box::new(MovingAverageMinMaxObserver::new(self, averaging_constant)?)
            }
            (ObserverKind::MovingAverageMinMax { averaging_constant }, true) => {
                Box::new(MovingAveragePerChannelMinMaxObserver::new(self, averaging_constant)?)
            }
            (ObserverKind::Histogram, _) => Box::new(HistogramObserver::new(self)?),
            (ObserverKind::Dynamic | ObserverKind::Placeholder | ObserverKind::Float16 { .. }, _) => {
                let reason = if self.observer == ObserverKind::Dynamic {
                    "a dynamic spec takes the range from each input when the model runs; it has no observer"
                } else {
                    "a placeholder observes nothing"
                }
                .to_owned();
                return Err(ObserverError::Spec { observer: "PlaceholderObserver", reason });
            }
        })
    }
}

/// The range of the finite values of `data` and how many infinities there are.
fn finite_range(observer: &'static str, data: &[f32]) -> Result<(Range, u64), ObserverError> {
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

/// Checks that `shape` describes `len` values.
fn check_shape(observer: &'static str, len: usize, shape: &[usize]) -> Result<(), ObserverError> {
    if shape.iter().product::<usize>() == len {
        Ok(())
    } else {
        Err(ObserverError::Shape { observer, len, shape: shape.to_vec() })
    }
}

/// `other` as an observer of the same class and rule, for `merge`.
fn same_kind<'a, O: Observer>(me: &O, other: &'a dyn Observer) -> Result<&'a O, ObserverError> {
    let refuse = |reason| ObserverError::NotMergeable { observer: me.name(), other: other.name(), reason };
    let same = (other as &dyn Any).downcast_ref::<O>().ok_or_else(|| refuse("the classes differ"))?;
    if same.rule() == me.rule() { Ok(same) } else { Err(refuse("dtype, scheme, range or eps differ")) }
}
