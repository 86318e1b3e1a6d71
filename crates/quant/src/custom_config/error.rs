//! What can be wrong with a custom configuration.

use crate::qconfig_mapping::MappingError;

/// A custom configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CustomConfigError {
    /// The JSON text is malformed.
    #[error("PrepareCustomConfig: not valid JSON: {0}")]
    Json(String),
    /// The JSON is not of the configuration's form.
    #[error("PrepareCustomConfig: {at}: {message}")]
    Form {
        /// Where in the document.
        at: String,
        /// What is wrong.
        message: String,
    },
    /// A mapping inside.
    #[error("PrepareCustomConfig: {at}: {source}")]
    Mapping {
        /// Where in the document.
        at: String,
        /// What is wrong.
        source: MappingError,
    },
    /// The model has no such module.
    #[error("PrepareCustomConfig: {entry}: the model has no module {what} `{name}`{}", hint.as_ref().map_or(String::new(), |h| format!(" (hint: {h})")))]
    NoModule {
        /// The setting.
        entry: &'static str,
        /// `called` or `of the class`.
        what: &'static str,
        /// The name.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// Two settings are about one module.
    #[error("PrepareCustomConfig: {entry}: `{name}` {conflict}")]
    Conflict {
        /// The setting.
        entry: &'static str,
        /// The module.
        name: String,
        /// With what, and what to do.
        conflict: String,
    },
    /// The model has no such input or output.
    #[error("PrepareCustomConfig: {entry}: index {index}: there are {count} of them, counted from 0")]
    NoIndex {
        /// The setting.
        entry: &'static str,
        /// The index.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A custom module cannot be swapped.
    #[error("the custom module `{module}` ({class}): {message}")]
    CustomModule {
        /// Its path.
        module: String,
        /// Its class.
        class: String,
        /// Why.
        message: String,
    },
    /// The model has no such parameter.
    #[error("preserved_attributes: the model has no parameter `{name}`{}", hint.as_ref().map_or(String::new(), |h| format!(" (hint: {h})")))]
    NoAttribute {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// An input or output cannot be quantized.
    #[error("PrepareCustomConfig: `{name}` cannot be quantized: {reason}")]
    Port {
        /// The input or output.
        name: String,
        /// Why.
        reason: String,
    },
}
