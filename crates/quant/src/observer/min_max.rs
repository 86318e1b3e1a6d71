//! Per-tensor observers that keep a range.

use super::{Observer, ObserverError, QuantizationRule, Range, check_shape, finite_range, same_kind};
use crate::qconfig::ObserverSpec;

/// The smallest and largest value seen (PyTorch `MinMaxObserver`).
#[derive(Clone, Debug)]
pub struct MinMaxObserver {
    rule: QuantizationRule,
    range: Range,
    infinities: u64,
}

impl MinMaxObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
    pub fn new(spec: &ObserverSpec) -> Result<MinMaxObserver, ObserverError> {
        Ok(MinMaxObserver {
            rule: QuantizationRule::new("MinMaxObserver", spec, false)?,
            range: Range::EMPTY,
            infinities: 0,
        })
    }
}

impl Observer for MinMaxObserver {
    fn name(&self) -> &'static str {
        "MinMaxObserver"
    }

    fn rule(&self) -> &QuantizationRule {
        &self.rule
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        let (new, infinities) = finite_range(self.name(), data)?;
        self.range = self.range.union(new);
        self.infinities += infinities;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        seen(self.range)
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

/// A moving average of the tensors' smallest and largest values (PyTorch `MovingAverageMinMaxObserver`): the result depends on the
/// order of the tensors.
#[derive(Clone, Debug)]
pub struct MovingAverageMinMaxObserver {
    rule: QuantizationRule,
    averaging_constant: f32,
    range: Range,
    infinities: u64,
}

impl MovingAverageMinMaxObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other.
    pub fn new(spec: &ObserverSpec, averaging_constant: f32) -> Result<MovingAverageMinMaxObserver, ObserverError> {
        check_averaging_constant("MovingAverageMinMaxObserver", averaging_constant)?;
        Ok(MovingAverageMinMaxObserver {
            rule: QuantizationRule::new("MovingAverageMinMaxObserver", spec, false)?,
            averaging_constant,
            range: Range::EMPTY,
            infinities: 0,
        })
    }
}

impl Observer for MovingAverageMinMaxObserver {
    fn name(&self) -> &'static str {
        "MovingAverageMinMaxObserver"
    }

    fn rule(&self) -> &QuantizationRule {
        &self.rule
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        let (new, infinities) = finite_range(self.name(), data)?;
        self.range = self.range.move_towards(new, self.averaging_constant);
        self.infinities += infinities;
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        seen(self.range)
    }

    fn infinities(&self) -> u64 {
        self.infinities
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        Err(order_dependent(self, other))
    }
}

/// The answer of [`Observer::ranges`] for a per-tensor range.
pub(super) fn seen(range: Range) -> Vec<Range> {
    if range.is_empty() { Vec::new() } else { vec![range] }
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
