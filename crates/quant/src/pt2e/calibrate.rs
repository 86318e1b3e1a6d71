//! Calibration of a graph that [`super::prepare_pt2e`] prepared.

use std::collections::HashMap;

use quantc_interp::Interpreter;
use quantc_ir::NodeId;
use quantc_tensor::{QParams, Tensor, Value};

use super::error::Pt2eError;
use super::prepare::{PreparedObserver, PreparedPt2e, observer_number, original};
use crate::QuantError;
use crate::calibrate::first_infinity;
use crate::observer::{Observer, ObserverError};

/// The parameters of each observer: one entry for each, in order; `None` where the range is taken when the model runs, and of tables of
/// embeddings, whose rows tell when they are converted.
pub type ObservedPt2e = Vec<Option<QParams>>;

/// Runs samples through a prepared graph, batch by batch. Memory does not grow with the number of samples. Observers of constants
/// (weights) see them once, not once for each batch as in PyTorch.
pub struct Pt2eCalibrator<'p> {
    prepared: &'p PreparedPt2e,
    interpreter: Interpreter<'p>,
    observers: Vec<Option<Box<dyn Observer>>>,
    /// The observer of each `observer` node that watches something else than a constant.
    number_of: HashMap<NodeId, usize>,
    batches: usize,
}

impl<'p> Pt2eCalibrator<'p> {
    /// Observers that have seen the constants.
    ///
    /// # Errors
    /// If an observer's arguments contradict each other, or a constant holds a NaN.
    pub fn new(prepared: &'p PreparedPt2e) -> Result<Pt2eCalibrator<'p>, Pt2eError> {
        let graph = &prepared.graph;
        let mut observers = Vec::with_capacity(prepared.observers.len());
        for (number, observer) in prepared.observers.iter().enumerate() {
            observers.push(match observer {
                PreparedObserver::Observed(spec) if !spec.is_dynamic() && !spec.is_table() => {
                    Some(spec.observer.build().map_err(|source| failed(prepared, number, source))?)
                }
                _ => None,
            });
        }
        let mut number_of = HashMap::new();
        for id in graph.calls() {
            let Some(number) = observer_number(graph, id).filter(|n| *n < observers.len()) else { continue };
            let Some(Some(value)) = graph.node(id).inputs().first() else { continue };
            match (graph.constant(original(graph, *value)), &mut observers[number]) {
                (Some(constant), Some(observer)) => observe(prepared, number, observer.as_mut(), constant)?,
                (_, Some(_)) => {
                    number_of.insert(id, number);
                }
                (_, None) => {}
            }
        }
        Ok(Pt2eCalibrator { prepared, interpreter: Interpreter::new(graph), observers, number_of, batches: 0 })
    }

    /// Whether any observer must see data.
    pub fn needs_calibration(&self) -> bool {
        !self.number_of.is_empty()
    }

    /// Runs one batch.
    ///
    /// # Errors
    /// If the batch does not fit the graph, or holds a NaN, or an observed value does.
    pub fn observe(&mut self, inputs: &[(String, Tensor)]) -> Result<(), Pt2eError> {
        let infinity = first_infinity(inputs, self.batches)?;
        let Pt2eCalibrator { prepared, interpreter, observers, number_of, .. } = self;
        let mut result = Ok(());
        interpreter.run_with(inputs, |node, values: &[Value]| {
            let (Some(number), Some(value)) = (number_of.get(&node), values.first()) else { return };
            if let (Some(observer), Ok(())) = (&mut observers[*number], &result) {
                result = observe(prepared, *number, observer.as_mut(), &value.to_tensor());
            }
        })?;
        self.batches += 1;
        match (result, infinity) {
            (Err(Pt2eError::Observer { at: value, source: ObserverError::NaN { .. } }), Some(infinity)) => {
                Err(QuantError::NaNFromInfinity { value, infinity }.into())
            }
            (result, _) => result,
        }
    }

    /// The parameters of each observer.
    ///
    /// # Errors
    /// If no data were seen though an observer needs them, or derived parameters can't be computed.
    pub fn finish(self) -> Result<ObservedPt2e, Pt2eError> {
        if self.batches == 0 && self.needs_calibration() {
            return Err(QuantError::NoCalibrationData.into());
        }
        let prepared = self.prepared;
        let mut out: ObservedPt2e = vec![None; prepared.observers.len()];
        for (number, observer) in prepared.observers.iter().enumerate() {
            out[number] = match (observer, &self.observers[number]) {
                (PreparedObserver::Fixed(spec), _) => {
                    Some(QParams::per_tensor(spec.scale, spec.zero_point, spec.range))
                }
                (PreparedObserver::Observed(_), Some(observer)) => {
                    let found = observer.calculate_qparams().map_err(|source| failed(prepared, number, source))?;
                    if !found.observed {
                        tracing::warn!("{} was never observed: scale 1, zero point 0", prepared.describe(number));
                    }
                    Some(found.qparams)
                }
                _ => None,
            };
        }
        for number in 0..out.len() {
            derive(prepared, number, &mut out)?;
        }
        Ok(out)
    }
}

/// Computes the parameters of a derived observer, and before it those that it takes them from. [`super::prepare_pt2e`] has refused
/// circles.
fn derive(prepared: &PreparedPt2e, number: usize, out: &mut ObservedPt2e) -> Result<(), Pt2eError> {
    let PreparedObserver::Derived(spec) = &prepared.observers[number] else { return Ok(()) };
    if out[number].is_some() {
        return Ok(());
    }
    let refuse = |message: String| Pt2eError::Derive { at: prepared.describe(number), message };
    let mut from = Vec::with_capacity(spec.derived_from.len());
    for source in prepared.sources(number, spec)? {
        derive(prepared, source, out)?;
        from.push(out[source].clone().ok_or_else(|| refuse("an observer it takes them from has none".to_owned()))?);
    }
    let (scale, zero_point) = (spec.derive_qparams_fn)(&from).map_err(refuse)?;
    let per_channel = spec.qscheme.is_per_channel();
    if scale.len() != zero_point.len() || scale.is_empty() || (!per_channel && scale.len() > 1) {
        let (scales, zeros) = (scale.len(), zero_point.len());
        return Err(refuse(format!("{scales} scales and {zeros} zero points for {:?}", spec.qscheme)));
    }
    if let Some(scale) = scale.iter().find(|s| !(**s > 0.0 && s.is_finite())) {
        return Err(refuse(format!("the scale {scale} is not a positive number")));
    }
    let axis = per_channel.then_some(spec.ch_axis);
    out[number] = Some(QParams { scale, zero_point, axis, range: spec.range });
    Ok(())
}

fn failed(prepared: &PreparedPt2e, number: usize, source: ObserverError) -> Pt2eError {
    Pt2eError::Observer { at: prepared.describe(number), source }
}

fn observe(
    prepared: &PreparedPt2e,
    number: usize,
    observer: &mut dyn Observer,
    tensor: &Tensor,
) -> Result<(), Pt2eError> {
    let data = tensor.slice().unwrap_or(&[]);
    observer.observe(data, tensor.shape()).map_err(|source| failed(prepared, number, source))
}
