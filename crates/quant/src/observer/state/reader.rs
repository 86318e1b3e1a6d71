//! Reading the saved buffers of one observer.

use std::collections::BTreeMap;

use super::{MARKER, ObserverStateDict, StateData, StateError, StateTensor};
use crate::qconfig::ObserverSpec;

/// The saved buffers of one observer.
#[derive(Clone, Debug)]
pub struct StateReader<'a> {
    state: &'a BTreeMap<String, StateTensor>,
    prefix: String,
}

impl<'a> StateReader<'a> {
    /// The buffers of the module `prefix`.
    pub(super) fn new(dict: &'a ObserverStateDict, prefix: &str) -> StateReader<'a> {
        StateReader { state: &dict.state, prefix: prefix.to_owned() }
    }

    /// The buffers of the module `name` within this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        StateReader { state: self.state, prefix: self.key(name) }
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// An error about the buffer `name`.
    pub fn invalid(&self, name: &str, message: &str) -> StateError {
        StateError::Invalid { key: self.key(name), message: message.to_owned() }
    }

    /// Whether the buffer `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.state.contains_key(&self.key(name))
    }

    /// Whether the buffer `name` must be there: it is one that [`get_observer_state_dict`](super::get_observer_state_dict) saves.
    pub fn requires(&self, name: &str) -> bool {
        self.key(name).contains(MARKER)
    }

    fn tensor(&self, name: &str) -> Result<&StateTensor, StateError> {
        self.state.get(&self.key(name)).ok_or_else(|| StateError::MissingKey { key: self.key(name) })
    }

    fn wrong_dtype(&self, name: &str, expected: &str, tensor: &StateTensor) -> StateError {
        self.invalid(name, &format!("dtype must be {expected}, not {}", tensor.data.dtype()))
    }

    /// The buffer `name` as f32. A NaN is refused: no observer's state has one.
    ///
    /// # Errors
    /// If it is missing or of another dtype.
    pub fn f32s(&self, name: &str) -> Result<&[f32], StateError> {
        let tensor = self.tensor(name)?;
        match &tensor.data {
            StateData::Float32(data) if data.iter().any(|v| v.is_nan()) => Err(self.invalid(name, "it has a NaN")),
            StateData::Float32(data) => Ok(data),
            _ => Err(self.wrong_dtype(name, "float32", tensor)),
        }
    }

    /// The buffer `name` as i32.
    ///
    /// # Errors
    /// If it is missing or of another dtype.
    pub fn i32s(&self, name: &str) -> Result<&[i32], StateError> {
        let tensor = self.tensor(name)?;
        match &tensor.data {
            StateData::Int32(data) => Ok(data),
            _ => Err(self.wrong_dtype(name, "int32", tensor)),
        }
    }

    /// The buffer `name` as u64.
    ///
    /// # Errors
    /// If it is missing or of another dtype.
    pub fn u64s(&self, name: &str) -> Result<&[u64], StateError> {
        let tensor = self.tensor(name)?;
        match &tensor.data {
            StateData::Uint64(data) => Ok(data),
            _ => Err(self.wrong_dtype(name, "uint64", tensor)),
        }
    }

    /// The buffer `name`, a u8 that is 0 or 1.
    ///
    /// # Errors
    /// If it is missing or anything else.
    pub fn flag(&self, name: &str) -> Result<bool, StateError> {
        let tensor = self.tensor(name)?;
        match &tensor.data {
            StateData::Uint8(data) if matches!(data[..], [0 | 1]) => Ok(data == &[1]),
            StateData::Uint8(_) => Err(self.invalid(name, "it must be one value, 0 or 1")),
            _ => Err(self.wrong_dtype(name, "uint8", tensor)),
        }
    }

    fn one<T: Copy>(&self, name: &str, data: &[T]) -> Result<T, StateError> {
        match data {
            [value] => Ok(*value),
            _ => Err(self.invalid(name, &format!("it must be one value, not {}", data.len()))),
        }
    }

    /// The buffer `name`, one f32.
    ///
    /// # Errors
    /// If it is missing or anything else.
    pub fn f32(&self, name: &str) -> Result<f32, StateError> {
        self.one(name, self.f32s(name)?)
    }

    /// The buffer `name`, one i32.
    ///
    /// # Errors
    /// If it is missing or anything else.
    pub fn i32(&self, name: &str) -> Result<i32, StateError> {
        self.one(name, self.i32s(name)?)
    }

    /// The buffer `name`, one u64; 0 if it is missing, as in a state that PyTorch saved.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn count(&self, name: &str) -> Result<u64, StateError> {
        if self.has(name) { self.one(name, self.u64s(name)?) } else { Ok(0) }
    }

    /// `spec` with the saved `eps`.
    ///
    /// # Errors
    /// If it is missing, or not positive and finite.
    pub fn with_eps(&self, spec: &ObserverSpec) -> Result<ObserverSpec, StateError> {
        let eps = self.f32("eps")?;
        if eps > 0.0 && eps.is_finite() {
            Ok(ObserverSpec { eps, ..spec.clone() })
        } else {
            Err(self.invalid("eps", "it must be positive and finite"))
        }
    }
}
