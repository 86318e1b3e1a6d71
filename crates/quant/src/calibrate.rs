//! Calibration: the prepared graph runs on samples, the observers watch.

use std::collections::HashMap;

use quantc_interp::Interpreter;
use quantc_ir::NodeId;
use quantc_pattern::FixedQParams;
use quantc_tensor::{DType, QRange, Tensor, Value};

use crate::bias_correction::InputMeans;
use crate::error::{InfiniteInput, QuantError};
use crate::observer::{Observer, ObserverError, Stateful};
use crate::prepare::{Observing, PreparedModel};

/// Scale, zero point and range of one observed value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationQParams {
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// Integer type and range.
    pub range: QRange,
    /// The smallest and largest value seen, or that the parameters can represent if they are fixed.
    pub seen: (f32, f32),
}

/// Runs samples through a prepared model, batch by batch. Memory does not grow with the number of samples: observers keep
/// bounded state, and values are dropped after their last use.
pub struct Calibrator<'p> {
    prepared: &'p PreparedModel,
    interpreter: Interpreter<'p>,
    observers: Vec<Option<Box<dyn Observer>>>,
    /// The observer of each `observer` node.
    slot_of: HashMap<NodeId, usize>,
    means: InputMeans,
    batches: usize,
}

impl<'p> Calibrator<'p> {
    /// Observers that have seen nothing.
    ///
    /// # Errors
    /// If an observer's arguments contradict each other.
    pub fn new(prepared: &'p PreparedModel) -> Result<Calibrator<'p>, QuantError> {
        let observers = prepared
            .observers
            .iter()
            .map(|slot| match &slot.observing {
                Observing::Fixed(_) => Ok(None),
                Observing::Calibrated(spec) => spec
                    .build()
                    .map(Some)
                    .map_err(|source| QuantError::Observer { value: slot.values.join(", "), source }),
            })
            .collect::<Result<_, _>>()?;
        let graph = &prepared.graph;
        let slot_of = graph.calls().filter_map(|id| observer_slot(prepared, id).map(|slot| (id, slot))).collect();
        let means = InputMeans::new(prepared);
        Ok(Calibrator { prepared, interpreter: Interpreter::new(graph), observers, slot_of, means, batches: 0 })
    }

    /// Runs one batch.
    ///
    /// # Errors
    /// If the batch holds a NaN, does not fit the model, or an observed value is NaN.
    pub fn observe(&mut self, inputs: &[(String, Tensor)]) -> Result<(), QuantError> {
        let infinity = first_infinity(inputs, self.batches)?;
        let mut failed = None;
        let Calibrator { prepared, interpreter, observers, slot_of, means, .. } = self;
        interpreter.run_with(inputs, |node, values| {
            let (Some(slot), Some(value)) = (slot_of.get(&node), values.first()) else { return };
            means.observe(node, value);
            if let (Some(observer), None) = (&mut observers[*slot], &failed)
                && let Err(source) = observe_value(observer.as_mut(), value)
            {
                let value = prepared.observers[*slot].values.join(", ");
                failed = Some(match (source, &infinity) {
                    (ObserverError::NaN { .. }, Some(at)) => {
                        QuantError::NaNFromInfinity { value, infinity: at.clone() }
                    }
                    (source, _) => QuantError::Observer { value, source },
                });
            }
        })?;
        self.batches += 1;
        failed.map_or(Ok(()), Err)
    }

    /// The means of the layers' inputs so far, for [`crate::correct_biases`].
    pub fn input_means(&self) -> &InputMeans {
        &self.means
    }

    /// The observers, those of fixed parameters left out, under the names that PyTorch gives them in a prepared model:
    /// for [`get_observer_state_dict`](crate::observer::get_observer_state_dict).
    pub fn observers(&self) -> impl Iterator<Item = (String, &dyn Stateful)> {
        self.observers.iter().enumerate().filter_map(|(i, o)| Some((name(i), o.as_deref()? as &dyn Stateful)))
    }

    /// The same, for [`load_observer_state_dict`](crate::observer::load_observer_state_dict).
    pub fn observers_mut(&mut self) -> impl Iterator<Item = (String, &mut dyn Stateful)> {
        self.observers
            .iter_mut()
            .enumerate()
            .filter_map(|(i, o)| Some((name(i), o.as_deref_mut()? as &mut dyn Stateful)))
    }

    /// Parameters for each observer.
    ///
    /// # Errors
    /// If no data were seen though an observer needs them.
    pub fn finish(self) -> Result<Vec<ActivationQParams>, QuantError> {
        // Without a batch the observers may still have a state that was loaded.
        let empty = || self.observers.iter().flatten().all(|o| o.ranges().is_empty());
        if self.batches == 0 && self.prepared.needs_calibration() && empty() {
            return Err(QuantError::NoCalibrationData);
        }
        self.prepared
            .observers
            .iter()
            .zip(&self.observers)
            .map(|(slot, observer)| match (&slot.observing, observer) {
                (Observing::Fixed(FixedQParams { dtype, scale, zero_point }), _) => {
                    let range = QRange::full(*dtype).unwrap_or(QRange { dtype: DType::U8, qmin: 0, qmax: 255 });
                    let end = |q: i32| (q - zero_point) as f32 * scale;
                    let seen = (end(range.qmin), end(range.qmax));
                    Ok(ActivationQParams { scale: *scale, zero_point: *zero_point, range, seen })
                }
                (Observing::Calibrated(_), Some(observer)) => {
                    let fail = |source| QuantError::Observer { value: slot.values.join(", "), source };
                    let found = observer.calculate_qparams().map_err(fail)?;
                    let seen = observer.ranges().first().map_or((0.0, 0.0), |r| (r.min, r.max));
                    if observer.infinities() > 0 {
                        tracing::warn!(
                            "the value {}: infinities in the calibration data, {} in all, are left out of its range",
                            slot.values.join(", "),
                            observer.infinities()
                        );
                    }
                    // The observer of a module that nobody calls watches nothing.
                    if !found.observed && !slot.values.is_empty() {
                        tracing::warn!(
                            "the value {} was never observed: scale 1, zero point 0",
                            slot.values.join(", ")
                        );
                    }
                    Ok(ActivationQParams {
                        scale: found.qparams.scale.first().copied().unwrap_or(1.0),
                        zero_point: found.qparams.zero_point.first().copied().unwrap_or(0),
                        range: found.qparams.range,
                        seen,
                    })
                }
                (Observing::Calibrated(_), None) => Err(QuantError::NoCalibrationData),
            })
            .collect()
    }
}

/// The first infinity of a batch: it is no error, since observers leave infinities out, and a mask may have them.
///
/// # Errors
/// If the batch holds a NaN.
pub(crate) fn first_infinity(inputs: &[(String, Tensor)], batch: usize) -> Result<Option<InfiniteInput>, QuantError> {
    let mut first = None;
    for (input, tensor) in inputs {
        let Ok(data) = tensor.slice::<f32>() else { continue };
        if let Some(element) = data.iter().position(|v| v.is_nan()) {
            return Err(QuantError::NaNInput { input: input.clone(), batch, element });
        }
        if let (None, Some(element)) = (&first, data.iter().position(|v| v.is_infinite())) {
            first = Some(InfiniteInput { input: input.clone(), batch, element });
        }
    }
    Ok(first)
}

/// The name of an observer, by its slot.
fn name(slot: usize) -> String {
    format!("activation_post_process_{slot}")
}

fn observer_slot(prepared: &PreparedModel, id: NodeId) -> Option<usize> {
    let (op, attrs) = prepared.graph.node(id).call()?;
    match op.signature().attr(attrs, "id") {
        Some(quantc_ops::Attr::Int(slot)) if op.name() == "observer" => usize::try_from(slot).ok(),
        _ => None,
    }
}

fn observe_value(observer: &mut dyn Observer, value: &Value) -> Result<(), crate::observer::ObserverError> {
    let tensor = value.to_tensor();
    observer.observe(tensor.slice().unwrap_or(&[]), tensor.shape())
}
