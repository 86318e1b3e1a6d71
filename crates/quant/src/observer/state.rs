//! The state of observers, saved and loaded (torch.ao.quantization.get_observer_state_dict and load_observer_state_dict): tensors under
//! the names that PyTorch's `state_dict` gives them, and the class of each observer.
//!
//! The JSON form:
//!
//! ```json
//! {
//!   "version": 1,
//!   "classes": {"activation_post_process_0": "MinMaxObserver"},
//!   "state": {"activation_post_process_0.min_val": {"dtype": "float32", "shape": [], "data": [-1.5]}}
//! }
//! ```
//!
//! Every f32 is read back with the same bits: it is written as the f64 of the same value, infinities as `"inf"` and `"-inf"`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::qconfig::ObserverSpec;

/// The version of the JSON form.
const VERSION: u32 = 1;

/// What PyTorch calls the observers of a prepared model; only keys that hold it are an observer's.
const MARKER: &str = "activation_post_process";

/// The buffer that only quantc's observers have: how many infinities were left out.
const OPTIONAL: &str = ".infinities";

/// The values of a [`StateTensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum StateData {
    /// `float32`.
    Float32(Vec<f32>),
    /// `int32`.
    Int32(Vec<i32>),
    /// `uint8`.
    Uint8(Vec<u8>),
    /// `uint64`.
    Uint64(Vec<u64>),
}

impl StateData {
    fn dtype(&self) -> &'static str {
        match self {
            StateData::Float32(_) => "float32",
            StateData::Int32(_) => "int32",
            StateData::Uint8(_) => "uint8",
            StateData::Uint64(_) => "uint64",
        }
    }

    fn len(&self) -> usize {
        match self {
            StateData::Float32(data) => data.len(),
            StateData::Int32(data) => data.len(),
            StateData::Uint8(data) => data.len(),
            StateData::Uint64(data) => data.len(),
        }
    }
}

/// One buffer of an observer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TensorJson", into = "TensorJson")]
pub struct StateTensor {
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values in row-major order.
    pub data: StateData,
}

impl StateTensor {
    /// A scalar.
    pub fn scalar(value: f32) -> StateTensor {
        StateTensor { shape: Vec::new(), data: StateData::Float32(vec![value]) }
    }

    /// A vector of f32.
    pub fn f32s(data: &[f32]) -> StateTensor {
        StateTensor { shape: vec![data.len()], data: StateData::Float32(data.to_vec()) }
    }

    /// A vector of i32.
    pub fn i32s(data: &[i32]) -> StateTensor {
        StateTensor { shape: vec![data.len()], data: StateData::Int32(data.to_vec()) }
    }

    /// A vector of one u8 that is 0 or 1.
    pub fn flag(on: bool) -> StateTensor {
        StateTensor { shape: vec![1], data: StateData::Uint8(vec![u8::from(on)]) }
    }

    /// A vector of u64.
    pub fn u64s(data: &[u64]) -> StateTensor {
        StateTensor { shape: vec![data.len()], data: StateData::Uint64(data.to_vec()) }
    }
}

/// The answer of [`Stateful::state`].
pub(crate) fn buffers<const N: usize>(buffers: [(&str, StateTensor); N]) -> Vec<(String, StateTensor)> {
    buffers.map(|(name, tensor)| (name.to_owned(), tensor)).into()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorJson {
    dtype: String,
    shape: Vec<usize>,
    data: Vec<serde_json::Value>,
}

impl From<StateTensor> for TensorJson {
    fn from(tensor: StateTensor) -> TensorJson {
        let dtype = tensor.data.dtype().to_owned();
        let data = match tensor.data {
            StateData::Float32(data) => data.into_iter().map(float_json).collect(),
            StateData::Int32(data) => data.into_iter().map(Into::into).collect(),
            StateData::Uint8(data) => data.into_iter().map(Into::into).collect(),
            StateData::Uint64(data) => data.into_iter().map(Into::into).collect(),
        };
        TensorJson { dtype, shape: tensor.shape, data }
    }
}

fn float_json(value: f32) -> serde_json::Value {
    if value.is_finite() { f64::from(value).into() } else { value.to_string().into() }
}

impl TryFrom<TensorJson> for StateTensor {
    type Error = String;

    fn try_from(json: TensorJson) -> Result<StateTensor, String> {
        fn integers<T: for<'a> Deserialize<'a>>(data: &[serde_json::Value]) -> Result<Vec<T>, String> {
            data.iter().map(|v| T::deserialize(v).map_err(|e| format!("{v}: {e}"))).collect()
        }
        let float = |v: &serde_json::Value| match v {
            serde_json::Value::String(s) if s == "inf" => Ok(f32::INFINITY),
            serde_json::Value::String(s) if s == "-inf" => Ok(f32::NEG_INFINITY),
            _ => v.as_f64().map(|v| v as f32).ok_or_else(|| format!("{v} is not a number, \"inf\" or \"-inf\"")),
        };
        let data = match json.dtype.as_str() {
            "float32" => StateData::Float32(json.data.iter().map(float).collect::<Result<_, _>>()?),
            "int32" => StateData::Int32(integers(&json.data)?),
            "uint8" => StateData::Uint8(integers(&json.data)?),
            "uint64" => StateData::Uint64(integers(&json.data)?),
            other => return Err(format!("dtype `{other}` is not one of float32, int32, uint8, uint64")),
        };
        if json.shape.iter().product::<usize>() != data.len() {
            return Err(format!("{} values do not fill the shape {:?}", data.len(), json.shape));
        }
        Ok(StateTensor { shape: json.shape, data })
    }
}

/// What can be wrong with a saved state.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StateError {
    /// The text is not JSON of this form.
    #[error("observer state: {0}")]
    Json(String),
    /// Another version of the form.
    #[error(
        "observer state: version {found} is not {VERSION}, the only one that this program reads (hint: save it again with this program)"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// The state is of another class.
    #[error(
        "observer state: `{prefix}` is a {expected}, the state saved is a {found}'s (hint: prepare with the QConfig of the saved state)"
    )]
    WrongClass {
        /// The observer.
        prefix: String,
        /// Its class.
        expected: &'static str,
        /// The class saved.
        found: String,
    },
    /// A buffer is missing.
    #[error("observer state: `{key}` is missing (hint: the state is of another model, or not whole)")]
    MissingKey {
        /// The buffer.
        key: String,
    },
    /// A buffer that no observer has.
    #[error("observer state: no observer has `{key}` (hint: the state is of another model)")]
    UnexpectedKey {
        /// The buffer.
        key: String,
    },
    /// A buffer with values that its observer cannot have.
    #[error("observer state: `{key}`: {message}")]
    Invalid {
        /// The buffer.
        key: String,
        /// What is wrong.
        message: String,
    },
}

/// The state of observers: buffers under the path of their observer and their own name, as PyTorch's `state_dict` has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserverStateDict {
    version: u32,
    /// The class of each observer.
    pub classes: BTreeMap<String, String>,
    /// The buffers.
    pub state: BTreeMap<String, StateTensor>,
}

impl Default for ObserverStateDict {
    fn default() -> ObserverStateDict {
        ObserverStateDict { version: VERSION, classes: BTreeMap::new(), state: BTreeMap::new() }
    }
}

impl ObserverStateDict {
    /// The JSON text: the same bytes for the same state.
    ///
    /// # Errors
    /// [`StateError::Json`] if it cannot be written.
    pub fn to_json(&self) -> Result<String, StateError> {
        serde_json::to_string_pretty(self).map_err(|e| StateError::Json(e.to_string()))
    }

    /// Reads the JSON text.
    ///
    /// # Errors
    /// [`StateError::Json`] with line and column, [`StateError::Version`].
    pub fn from_json(text: &str) -> Result<ObserverStateDict, StateError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let json = |e: serde_json::Error| StateError::Json(e.to_string());
        let Versioned { version: found } = serde_json::from_str(text).map_err(json)?;
        if found != VERSION {
            return Err(StateError::Version { found });
        }
        serde_json::from_str(text).map_err(json)
    }
}

/// What has a state to save: observers and fake-quantize modules.
pub trait Stateful {
    /// The class name, as PyTorch has it.
    fn class(&self) -> &'static str;

    /// The buffers and their names.
    fn state(&self) -> Vec<(String, StateTensor)>;

    /// Takes in saved buffers.
    ///
    /// # Errors
    /// A buffer that is missing or has values that cannot be. Nothing is changed then.
    fn load(&mut self, state: &StateReader<'_>) -> Result<(), StateError>;
}

/// The saved buffers of one observer.
#[derive(Clone, Debug)]
pub struct StateReader<'a> {
    state: &'a BTreeMap<String, StateTensor>,
    prefix: String,
}

impl StateReader<'_> {
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

    /// Whether the buffer `name` must be there: it is one that [`get_observer_state_dict`] saves.
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

/// The state of named observers and fake-quantize modules: of their buffers, those whose key holds `activation_post_process`
/// (torch.ao.quantization.get_observer_state_dict).
pub fn get_observer_state_dict<'a, N: Into<String>>(
    modules: impl IntoIterator<Item = (N, &'a dyn Stateful)>,
) -> ObserverStateDict {
    let mut dict = ObserverStateDict::default();
    for (prefix, module) in modules {
        let prefix = prefix.into();
        let buffers = module.state().into_iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor));
        let before = dict.state.len();
        dict.state.extend(buffers.filter(|(key, _)| key.contains(MARKER)));
        if prefix.contains(MARKER) || dict.state.len() > before {
            dict.classes.insert(prefix, module.class().to_owned());
        }
    }
    dict
}

/// Loads a saved state into the named observers and fake-quantize modules (torch.ao.quantization.load_observer_state_dict). Keys that
/// do not hold `activation_post_process` and belong to none of them are passed over.
///
/// # Errors
/// [`StateError::WrongClass`], [`StateError::MissingKey`] and [`StateError::UnexpectedKey`], and nothing is changed; PyTorch passes over
/// a missing or unknown observer. [`StateError::Invalid`]: modules before the one at fault are loaded then.
pub fn load_observer_state_dict<'a, N: Into<String>>(
    modules: impl IntoIterator<Item = (N, &'a mut dyn Stateful)>,
    dict: &ObserverStateDict,
) -> Result<(), StateError> {
    let mut modules: Vec<(String, &mut dyn Stateful)> = modules.into_iter().map(|(n, m)| (n.into(), m)).collect();
    let mut unread: BTreeSet<&str> = dict.state.keys().map(String::as_str).filter(|k| k.contains(MARKER)).collect();
    for (prefix, module) in &modules {
        let expected = module.class();
        let found = dict.classes.get(prefix);
        if let Some(found) = found.filter(|found| *found != expected) {
            return Err(StateError::WrongClass { prefix: prefix.clone(), expected, found: found.clone() });
        }
        for key in module.state().into_iter().map(|(name, _)| format!("{prefix}.{name}")) {
            // What only quantc counts is not in the states that PyTorch saved.
            let required = key.contains(MARKER) && !key.ends_with(OPTIONAL);
            if required && (found.is_none() || !dict.state.contains_key(&key)) {
                return Err(StateError::MissingKey { key });
            }
            unread.remove(key.as_str());
        }
    }
    if let Some(key) = unread.first() {
        return Err(StateError::UnexpectedKey { key: (*key).to_owned() });
    }
    modules.iter_mut().try_for_each(|(prefix, m)| m.load(&StateReader { state: &dict.state, prefix: prefix.clone() }))
}
