//! Observers: they watch the values of one edge during calibration and decide its scale and zero point.
//!
//! Names, arguments and arithmetic are those of `torch.ao.quantization.observer` (torch 2.8), with these differences, each on purpose:
//!
//! - NaN is an error that names the observer; infinities are left out and counted, by every observer (PyTorch: only by the
//!   histogram, and without a count).
//! - A channel that saw no finite value gets (1.0, 0), as an observer that saw none does; both are marked as not observed.
//! - A range too wide for f32 is an error instead of an infinite scale.
//! - Symmetric + reduce_range + quint8 is refused by every observer (its zero point, 128, is out of the range 0..127).
//! - The zero point of a 32-bit type is exact; PyTorch's overflows where the range needs all 32 bits.
//! - [`AlignedHistogramObserver`] is quantc's own.
//!
//! The state of an observer does not grow with the number of values it has seen; only a [`RecordingObserver`]'s does.

mod aligned;
mod error;
mod fixed;
mod histogram;
mod histogram_search;
mod min_max;
mod passive;
mod per_channel;
mod qparams;
mod range;
mod state;

use std::any::Any;

use quantc_tensor::{QParams, QRange};

use crate::qconfig::{ObserverKind, ObserverSpec};

pub use aligned::AlignedHistogramObserver;
pub use error::ObserverError;
pub use fixed::FixedQParamsObserver;
pub use histogram::HistogramObserver;
pub use min_max::{MinMaxObserver, MovingAverageMinMaxObserver};
pub use passive::{PassiveObserver, RecordedTensor, RecordingObserver};
pub use per_channel::{MovingAveragePerChannelMinMaxObserver, PerChannelMinMaxObserver};
pub(crate) use qparams::QuantizationRule;
pub use range::Range;
use range::finite_range;
pub(crate) use state::buffers;
pub use state::{
    ObserverStateDict, StateData, StateError, StateReader, StateTensor, Stateful, get_observer_state_dict,
    load_observer_state_dict,
};

/// What an observer decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedQParams {
    /// Scale(s), zero point(s), channel axis and integer range.
    pub qparams: QParams,
    /// False if nothing was observed (for a per-channel observer: in some channel), so that a scale of 1.0 and a zero point of 0 stand in.
    pub observed: bool,
}

/// Parameters of the scheme `per_channel_affine_float_qparams`: `q = rne(x / scale + zero_point)`.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatQParams {
    /// A scale for each channel.
    pub scale: Vec<f32>,
    /// A zero point for each channel.
    pub zero_point: Vec<f32>,
    /// The channel axis.
    pub axis: usize,
    /// Integer type and range.
    pub range: QRange,
    /// False if nothing was observed in some channel.
    pub observed: bool,
}

/// Watches tensors and computes quantization parameters from what it saw (PyTorch `ObserverBase`).
pub trait Observer: Stateful + Any + Send + Sync {
    /// Everything that determines the parameters but the values.
    fn spec(&self) -> &ObserverSpec;

    /// The class name, as PyTorch has it.
    fn name(&self) -> &'static str {
        self.class()
    }

    /// Takes in one tensor in row-major order. A tensor without elements changes nothing.
    ///
    /// # Errors
    /// A NaN, a shape that does not fit `data` or the channels seen before. The state is then unchanged.
    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError>;

    /// The range(s) that the parameters are computed from: one, or one for each channel; none if nothing was observed.
    fn ranges(&self) -> Vec<Range>;

    /// The channel axis of the tensors, if the parameters are per channel.
    fn ch_axis(&self) -> Option<usize> {
        let spec = self.spec();
        spec.qscheme.is_per_channel().then_some(spec.ch_axis)
    }

    /// How many infinities were left out so far.
    fn infinities(&self) -> u64;

    /// Adds what `other`, an observer of the same class and configuration, has seen: the result is exactly that of one observer
    /// that saw the tensors of both.
    ///
    /// # Errors
    /// [`ObserverError::NotMergeable`] where the exact result cannot be had: the classes or configurations differ, the result
    /// depends on the order (moving averages), or two of PyTorch's histograms have different ranges. The state is then unchanged.
    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError>;

    /// Scale(s) and zero point(s) for what was observed.
    ///
    /// # Errors
    /// [`ObserverError::RangeTooWide`] if the width of a range is not a finite f32, [`ObserverError::FloatZeroPoints`] if the scheme
    /// has float zero points, [`ObserverError::NoQParams`] if the observer computes none.
    fn calculate_qparams(&self) -> Result<ObservedQParams, ObserverError> {
        let rule = QuantizationRule::new(self.name(), self.spec(), self.ch_axis().is_some())?;
        if rule.has_float_zero_points() {
            return Err(ObserverError::FloatZeroPoints { observer: self.name() });
        }
        let ranges = self.ranges();
        if ranges.is_empty() {
            // As in PyTorch, a per-channel observer that saw nothing does not know its channels either.
            let qparams = QParams::per_tensor(1.0, 0, rule.range());
            return Ok(ObservedQParams { qparams, observed: false });
        }
        let observed = !ranges.iter().any(|r| r.is_empty());
        let too_wide = |r: &Range| ObserverError::RangeTooWide { observer: self.name(), min: r.min, max: r.max };
        let (scale, zero_point) = ranges
            .iter()
            .map(|range| rule.qparams(*range).ok_or_else(|| too_wide(range)))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        let qparams = QParams { scale, zero_point, axis: self.ch_axis(), range: rule.range() };
        Ok(ObservedQParams { qparams, observed })
    }

    /// Scales and zero points of the scheme `per_channel_affine_float_qparams`; no channels if nothing was observed.
    ///
    /// # Errors
    /// [`ObserverError::RangeTooWide`] if the width of a range is not a finite f32, [`ObserverError::IntegerZeroPoints`] for any
    /// other scheme.
    fn calculate_float_qparams(&self) -> Result<FloatQParams, ObserverError> {
        let rule = QuantizationRule::new(self.name(), self.spec(), self.ch_axis().is_some())?;
        let (true, Some(axis)) = (rule.has_float_zero_points(), self.ch_axis()) else {
            return Err(ObserverError::IntegerZeroPoints { observer: self.name() });
        };
        let ranges = self.ranges();
        let observed = !ranges.is_empty() && !ranges.iter().any(|r| r.is_empty());
        let too_wide = |r: &Range| ObserverError::RangeTooWide { observer: self.name(), min: r.min, max: r.max };
        let (scale, zero_point) = ranges
            .iter()
            .map(|range| rule.float_qparams(*range).ok_or_else(|| too_wide(range)))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .unzip();
        Ok(FloatQParams { scale, zero_point, axis, range: rule.range(), observed })
    }
}

impl ObserverSpec {
    /// A new observer of this kind, per channel if the scheme is, that has seen nothing; for a spec with a fake-quantize module the
    /// observer within it.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
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
            (ObserverKind::AlignedHistogram { search }, _) => Box::new(AlignedHistogramObserver::new(self, search)?),
            (ObserverKind::FixedQParams { scale, zero_point }, _) => {
                Box::new(FixedQParamsObserver::new(self, scale, zero_point)?)
            }
            (ObserverKind::Recording, _) => Box::new(RecordingObserver::new(self)?),
            (ObserverKind::Placeholder | ObserverKind::Noop | ObserverKind::ReuseInput | ObserverKind::Identity, _) => {
                Box::new(PassiveObserver::new(self)?)
            }
        })
    }
}

/// Refuses a dynamic spec for a class that PyTorch has no dynamic form of.
fn refuse_dynamic(observer: &'static str, spec: &ObserverSpec) -> Result<(), ObserverError> {
    if !spec.is_dynamic {
        return Ok(());
    }
    let reason =
        "it has no dynamic form (hint: a placeholder, or a moving average with averaging_constant 1)".to_owned();
    Err(ObserverError::Spec { observer, reason })
}

/// Checks that `shape` describes `len` values.
fn check_shape(observer: &'static str, len: usize, shape: &[usize]) -> Result<(), ObserverError> {
    if shape.iter().product::<usize>() == len {
        Ok(())
    } else {
        Err(ObserverError::Shape { observer, len, shape: shape.to_vec() })
    }
}

/// `other` as an observer of the same class and configuration, for `merge`.
fn same_kind<'a, O: Observer>(me: &O, other: &'a dyn Observer) -> Result<&'a O, ObserverError> {
    let refuse = |reason| ObserverError::NotMergeable { observer: me.name(), other: other.name(), reason };
    let same = (other as &dyn Any).downcast_ref::<O>().ok_or_else(|| refuse("the classes differ"))?;
    if same.spec() == me.spec() { Ok(same) } else { Err(refuse("dtype, scheme, range, axis or eps differ")) }
}
