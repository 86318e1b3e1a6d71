//! The observer with given parameters.

use quantc_tensor::QParams;

use super::{
    ObservedQParams, Observer, ObserverError, QuantizationRule, Range, StateError, StateReader, StateTensor, Stateful,
    buffers, check_shape, refuse_dynamic, same_kind,
};
use crate::qconfig::{ObserverKind, ObserverSpec};

/// Scale and zero point are given; values pass unseen (PyTorch `FixedQParamsObserver`).
#[derive(Clone, Debug)]
pub struct FixedQParamsObserver {
    spec: ObserverSpec,
    scale: f32,
    zero_point: i32,
}

impl FixedQParamsObserver {
    /// An observer with this scale and zero point.
    ///
    /// # Errors
    /// [`ObserverError::Spec`] for arguments that contradict each other, a scale that is not positive and finite, and a zero point
    /// outside the range.
    pub fn new(spec: &ObserverSpec, scale: f32, zero_point: i32) -> Result<FixedQParamsObserver, ObserverError> {
        let observer = "FixedQParamsObserver";
        refuse_dynamic(observer, spec)?;
        let range = QuantizationRule::new(observer, spec, false)?.range();
        if !(scale > 0.0 && scale.is_finite() && (range.qmin..=range.qmax).contains(&zero_point)) {
            let reason = format!(
                "the scale {scale} must be positive and finite, the zero point {zero_point} within {}..{}",
                range.qmin, range.qmax
            );
            return Err(ObserverError::Spec { observer, reason });
        }
        Ok(FixedQParamsObserver { spec: spec.clone(), scale, zero_point })
    }
}

impl Observer for FixedQParamsObserver {
    fn spec(&self) -> &ObserverSpec {
        &self.spec
    }

    fn observe(&mut self, data: &[f32], shape: &[usize]) -> Result<(), ObserverError> {
        check_shape(self.name(), data.len(), shape)
    }

    /// What the parameters can represent.
    fn ranges(&self) -> Vec<Range> {
        let range = self.spec.range();
        let end = |q: i32| (q - self.zero_point) as f32 * self.scale;
        vec![Range { min: end(range.qmin), max: end(range.qmax) }]
    }

    fn infinities(&self) -> u64 {
        0
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        same_kind(self, other).map(|_| ())
    }

    fn calculate_qparams(&self) -> Result<ObservedQParams, ObserverError> {
        let qparams = QParams::per_tensor(self.scale, self.zero_point, self.spec.range());
        Ok(ObservedQParams { qparams, observed: true })
    }
}

impl Stateful for FixedQParamsObserver {
    fn class(&self) -> &'static str {
        "FixedQParamsObserver"
    }

    fn state(&self) -> Vec<(String, StateTensor)> {
        buffers([("scale", StateTensor::f32s(&[self.scale])), ("zero_point", StateTensor::i32s(&[self.zero_point]))])
    }

    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError> {
        let (scale, zero_point) = (state.f32("scale")?, state.i32("zero_point")?);
        let observer = ObserverKind::FixedQParams { scale, zero_point };
        let spec = ObserverSpec { observer, ..self.spec.clone() };
        *self =
            FixedQParamsObserver::new(&spec, scale, zero_point).map_err(|e| state.invalid("scale", &e.to_string()))?;
        Ok(())
    }
}
