//! Per-tensor observers that keep a range.

use super::{
    Observer, ObserverError, QuantizationRule, Range, StateError, StateReader, StateTensor, Stateful, buffers,
    check_shape, finite_range, same_kind,
};
use crate::qconfig::ObserverSpec;

/// The smallest and largest value seen (PyTorch `MinMaxObserver`).
#[derive(Clone, Debug)]
pub struct MinMaxObserver {
    spec: ObserverSpec,
    range: Range,
    infinities: u64,
}

impl MinMaxObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
    pub fn new(spec: &ObserverSpec) -> Result<MinMaxObserver, ObserverError> {
        QuantizationRule::new("MinMaxObserver", spec, false)?;
        Ok(MinMaxObserver { spec: spec.clone(), range: Range::EMPTY, infinities: 0 })
    }
}

impl Observer for MinMaxObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        let (new, infinities) = finite_range(self.name(), data)?;
        self.range = self.range.union(new);
        self.infinities += infinities;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        self.range.seen()
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        let other = same_kind(self, other)?;
        self.range = self.range.union(other.range);
        self.infinities += other.infinities;
        Ok(())
    }
}

impl Stateful for MinMaxObserver {
    fn class(&self) -> &'static str {
        "MinMaxObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        range_state(&self.spec, self.range, self.infinities)
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        (self.spec, self.range, self.infinities) = load_range(&self.spec, state)?;
        Ok(())
    }
}

/// A moving average of the tensors' smallest and largest values (PyTorch `MovingAverageMinMaxObserver`): the result depends on the
/// order of the tensors.
#[derive(Clone, Debug)]
pub struct MovingAverageMinMaxObserver {
    spec: ObserverSpec,
    averaging_constant: f32,
    range: Range,
    infinities: u64,
}

impl MovingAverageMinMaxObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other, among them a dynamic spec with an averaging constant that is
    /// not 1.
    pub fn new(spec: &ObserverSpec, averaging_constant: f32) -> Result<MovingAverageMinMaxObserver, ObserverError> {
        let observer = "MovingAverageMinMaxObserver";
        check_averaging_constant(observer, averaging_constant)?;
        if spec.is_dynamic && averaging_constant != 1.0 {
            let reason = format!("it is dynamic only with averaging_constant 1, not {averaging_constant}");
            return Err(ObserverError::Spec { observer, reason });
        }
        QuantizationRule::new(observer, spec, false)?;
        Ok(MovingAverageMinMaxObserver { spec: spec.clone(), averaging_constant, range: Range::EMPTY, infinities: 0 })
    }
}

impl Observer for MovingAverageMinMaxObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        let (new, infinities) = finite_range(self.name(), data)?;
        self.range = self.range.move_towards(new, self.averaging_constant);
        self.infinities += infinities;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        self.range.seen()
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        Err(order_dependent(self, other))
    }
}

impl Stateful for MovingAverageMinMaxObserver {
    fn class(&self) -> &'static str {
        "MovingAverageMinMaxObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        range_state(&self.spec, self.range, self.infinities)
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        (self.spec, self.range, self.infinities) = load_range(&self.spec, state)?;
        Ok(())
    }
}

/// The buffers of an observer of one range, under PyTorch's names; the number of infinities is quantc's own.
fn range_state(spec: &ObserverSpec, range: Range, infinities: u64) -> Vec<(String, StateTensor)> {
    buffers([
        ("eps", StateTensor::f32s(&[spec.eps])),
        ("min_val", StateTensor::scalar(range.min)),
        ("max_val", StateTensor::scalar(range.max)),
        ("infinities", StateTensor::u64s(&[infinities])),
    ])
}

/// The inverse of [`range_state`].
fn load_range(spec: &ObserverSpec, state: &StateReader<'_>) -> Result<(ObserverSpec, Range, u64), StateError> {
    Ok((state.with_eps(spec)?, saved_range(state)?, state.count("infinities")?))
}

/// The range from `min_val` to `max_val`.
pub(super) fn saved_range(state: &StateReader<'_>) -> Result<Range, StateError> {
    let range = Range { min: state.f32("min_val")?, max: state.f32("max_val")? };
    if range.is_valid() { Ok(range) } else { Err(state.invalid("max_val", "it is below min_val, or one is infinite")) }
}

/// Why moving averages are not merged.
pub(super) fn order_dependent(me: &dyn Observer, other: &dyn Observer) -> ObserverError {
    let reason = "a moving average depends on the order of the tensors";
    ObserverError::NotMergeable { observer: me.name(), other: other.name(), reason }
}

/// Refuses an averaging constant outside (0, 1].
pub(super) fn check_averaging_constant(observer: &'static str, averaging_constant: f32) -> Result<(), ObserverError> {
    if averaging_constant > 0.0 && averaging_constant <= 1.0 {
        return Ok(());
    }
    let reason = format!("averaging_constant must be above 0 and at most 1, not {averaging_constant}");
    Err(ObserverError::Spec { observer, reason })
}
