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

mod reader;
mod tensor;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use reader::StateReader;
pub(crate) use tensor::buffers;
pub use tensor::{StateData, StateTensor};

/// The version of the JSON form.
const VERSION: u32 = 1;

/// What PyTorch calls the observers of a prepared model; only keys that hold it are an observer's.
const MARKER: &str = "activation_post_process";

/// The buffer that only quantc's observers have: how many infinities were left out.
const OPTIONAL: &str = ".infinities";

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
    modules.iter_mut().try_for_each(|(prefix, m)| m.load(&StateReader::new(dict, prefix)))
}
