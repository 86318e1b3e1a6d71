//! QConfigMapping: which QConfig a call gets, by where it came from (torch.ao.quantization.QConfigMapping).

mod check;
mod defaults;
mod eager;
mod entry;
mod json;
mod resolve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use quantc_pattern::Mode;
use regex::Regex;

pub use defaults::{
    get_default_qat_qconfig_mapping, get_default_qconfig_mapping, get_symmetric_qnnpack_qat_qconfig_mapping,
    get_symmetric_qnnpack_qconfig_mapping,
};
use entry::{Entry, ObjectType};
pub use resolve::{Resolved, Resolver, Shadowed, Surprise};
pub(crate) use resolve::{parent_of, self_and_ancestors};

use crate::qconfig::{MaybeQConfig, QConfig};
use crate::weight_only::mode_of;

/// A mapping that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MappingError {
    /// The JSON text is malformed.
    #[error("QConfigMapping: not valid JSON: {0}")]
    Json(String),
    /// The JSON is not of the mapping's form.
    #[error("QConfigMapping: {at}: {message}")]
    Form {
        /// Where in the document.
        at: String,
        /// What is wrong.
        message: String,
    },
    /// An entry names what is not there.
    #[error("QConfigMapping: `{entry}`: {missing}{}", hint.as_ref().map_or(String::new(), |h| format!(" (hint: {h})")))]
    NoSuch {
        /// The entry, as reports print it.
        entry: String,
        /// What is not there.
        missing: String,
        /// What may have been meant.
        hint: Option<String>,
    },
}

/// Entries in rising priority: global < object type < module name regex < module name < module name + object type + index. An entry set
/// twice has the QConfig set last and the place it had, which only counts for regular expressions: the first that matches wins.
#[derive(Clone, Debug, Default)]
pub struct QConfigMapping {
    global: MaybeQConfig,
    object_type: Vec<(ObjectType, MaybeQConfig)>,
    module_name_regex: Vec<(Anchored, MaybeQConfig)>,
    module_name: Vec<(String, MaybeQConfig)>,
    module_name_object_type_order: Vec<(Order, MaybeQConfig)>,
}

/// A regular expression that matches from the start of a name, as Python's `re.match` does.
#[derive(Clone, Debug)]
struct Anchored {
    /// As it was given.
    text: String,
    regex: Regex,
}

impl PartialEq for Anchored {
    fn eq(&self, other: &Anchored) -> bool {
        self.text == other.text
    }
}

/// The `index`-th call of a type in a module.
#[derive(Clone, Debug, PartialEq)]
struct Order {
    module_name: String,
    object_type: ObjectType,
    index: u32,
}

/// Sets the value of a key where it is, or behind the others.
fn set<K: PartialEq>(entries: &mut Vec<(K, MaybeQConfig)>, key: K, qconfig: Option<QConfig>) {
    let qconfig = qconfig.map(Arc::new);
    match entries.iter_mut().find(|e| e.0 == key) {
        Some(entry) => entry.1 = qconfig,
        None => entries.push((key, qconfig)),
    }
}

impl QConfigMapping {
    /// No entries: nothing is quantized.
    pub fn new() -> QConfigMapping {
        QConfigMapping::default()
    }

    /// Sets the QConfig of everything without a more specific entry.
    pub fn set_global(mut self, qconfig: Option<QConfig>) -> Self {
        self.global = qconfig.map(Arc::new);
        self
    }

    /// Sets the QConfig of calls of a type: a module's class (`Conv2d`, `torch.nn.Conv2d`), an operator (`conv2d`), an operator of the source
    /// (ONNX's `Conv`) or one of PyTorch's functions and methods (`torch.nn.functional.conv2d`, `reshape`). A function's name does not reach
    /// the calls of modules, as in PyTorch; an operator's does.
    pub fn set_object_type(mut self, object_type: &str, qconfig: Option<QConfig>) -> Self {
        set(&mut self.object_type, ObjectType::new(object_type), qconfig);
        self
    }

    /// Sets the QConfig of modules whose path matches, anchored at its start; the first match registered wins.
    ///
    /// # Errors
    /// If the regular expression is malformed.
    pub fn set_module_name_regex(mut self, regex: &str, qconfig: Option<QConfig>) -> Result<Self, MappingError> {
        let anchored = Regex::new(&format!("^(?:{regex})")).map_err(|e| {
            // The message points at the place with lines of its own; the last one says what is wrong.
            let text = e.to_string();
            let message = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            MappingError::Form { at: format!("module_name_regex `{regex}`"), message }
        })?;
        set(&mut self.module_name_regex, Anchored { text: regex.to_owned(), regex: anchored }, qconfig);
        Ok(self)
    }

    /// Sets the QConfig of a module and everything inside it that has no nearer entry.
    pub fn set_module_name(mut self, module_name: &str, qconfig: Option<QConfig>) -> Self {
        set(&mut self.module_name, module_name.to_owned(), qconfig);
        self
    }

    /// Sets the QConfig of the `index`-th call of an object type in a module.
    pub fn set_module_name_object_type_order(
        mut self,
        module_name: &str,
        object_type: &str,
        index: u32,
        qconfig: Option<QConfig>,
    ) -> Self {
        let key = Order { module_name: module_name.to_owned(), object_type: ObjectType::new(object_type), index };
        set(&mut self.module_name_object_type_order, key, qconfig);
        self
    }

    /// Every entry with its QConfig, the global one first.
    fn entries(&self) -> impl Iterator<Item = (Entry<'_>, &MaybeQConfig)> {
        let global = std::iter::once((Entry::Global, &self.global));
        let types = self.object_type.iter().map(|(t, q)| (Entry::ObjectType(t), q));
        let regexes = self.module_name_regex.iter().map(|(r, q)| (Entry::ModuleNameRegex(&r.text), q));
        let names = self.module_name.iter().map(|(n, q)| (Entry::ModuleName(n), q));
        let orders = self.module_name_object_type_order.iter().map(|(o, q)| (Entry::Order(o), q));
        global.chain(types).chain(regexes).chain(names).chain(orders)
    }

    /// Whether any entry quantizes statically, so that calibration is needed.
    pub fn needs_calibration(&self) -> bool {
        self.entries().filter_map(|e| e.1.as_ref()).any(|q| mode_of(q) == Mode::Static)
    }
}
