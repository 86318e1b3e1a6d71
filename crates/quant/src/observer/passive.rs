//! Observers that compute no parameters.

use super::{
    ObservedQParams, Observer, ObserverError, Range, StateError, StateReader, StateTensor, Stateful, check_shape,
    refuse_dynamic, same_kind,
};
use crate::qconfig::{ObserverKind, ObserverSpec};

/// Values pass unseen, there are no parameters; only its spec says something (PyTorch `PlaceholderObserver`, `NoopObserver`,
/// `ReuseInputObserver`, and `torch.nn.Identity` where an observer is expected).
#[derive(Clone, Debug)]
pub struct PassiveObserver {
    spec: ObserverSpec,
}

impl PassiveObserver {
    /// An observer of the spec's kind.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for a kind that observes, and for one but a placeholder that is dynamic.
    pub fn new(spec: &ObserverSpec) -> Result<PassiveObserver, ObserverError> {
        match spec.observer {
            ObserverKind::Placeholder => {}
            ObserverKind::Noop | ObserverKind::ReuseInput | ObserverKind::Identity => {
                refuse_dynamic(spec.name(), spec)?;
            }
            _ => {
                let reason = "it observes values".to_owned();
                return Err(ObserverError::Spec { observer: spec.name(), reason });
            }
        }
        Ok(PassiveObserver { spec: spec.clone() })
    }
}

impl Observer for PassiveObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)
    }

    fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }

    fn infinities(&self) -> u64 {
        0
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        same_kind(self, other).map(|_| ())
    }

    fn calculate_qparams(&self) -> Result<ObservedQParams, ObserverError> {
        Err(ObserverError::NoQParams { observer: self.name() })
    }
}

impl Stateful for PassiveObserver {
    fn class(&self) -> &'static str {
        self.spec.name()
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        Vec::new()
    }

    fn load(&mut self, _: &StateReader<'_>) -> Result<(), StateError> {
        Ok(())
    }
}

/// A tensor that a [`RecordingObserver`] saw: its values in row-major order, and its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedTensor {
    /// The values.
    pub data: Vec<f32>,
    /// The shape.
    pub shape: Vec<usize>,
}

/// Keeps every tensor it sees, for debugging (PyTorch `RecordingObserver`). The one observer whose memory grows with the data. As in
/// PyTorch the tensors are not part of its saved state.
#[derive(Clone, Debug)]
pub struct RecordingObserver {
    spec: ObserverSpec,
    tensors: Vec<RecordedTensor>,
}

impl RecordingObserver {
    /// An observer that has seen nothing.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for a dynamic spec.
    pub fn new(spec: &ObserverSpec) -> Result<RecordingObserver, ObserverError> {
        refuse_dynamic("RecordingObserver", spec)?;
        Ok(RecordingObserver { spec: spec.clone(), tensors: Vec::new() })
    }

    /// All tensors seen, in order (PyTorch `get_tensor_value`).
    pub fn get_tensor_value(&self) -> &[RecordedTensor] {
        &self.tensors
    }
}

impl Observer for RecordingObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    /// Keeps the tensor as it is: NaN, infinities and tensors without elements too.
    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)?;
        self.tensors.push(RecordedTensor { data: data.to_vec(), shape: shape.to_vec() });
        Ok(())
    }

    fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }

    fn infinities(&self) -> u64 {
        0
    }

    /// The other's tensors come after its own.
    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        let other = same_kind(self, other)?;
        self.tensors.extend_from_slice(&other.tensors);
        Ok(())
    }

    fn calculate_qparams(&self) -> Result<ObservedQParams, ObserverError> {
        Err(ObserverError::NoQParams { observer: self.name() })
    }
}

impl Stateful for RecordingObserver {
    fn class(&self) -> &'static str {
        "RecordingObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        Vec::new()
    }

    fn load(&mut self, _: &StateReader<'_>) -> Result<(), StateError> {
        Ok(())
    }
}
