//! Backends as PyTorch's `BackendConfig.to_dict` has them, in JSON: classes and functions are dotted names, methods words, tuples lists.
//! The vocabulary is in docs/qpat.md.

mod dtypes;
mod entry;
mod export;
mod import;
mod read;
mod spell;
mod text;
mod tree;
mod world;

pub use export::{Exported, export_backend};
pub use import::{Imported, import_backend};
pub use read::FormError;

use crate::backend::ObservationType;
use crate::source::QpatErrors;

/// Why a document can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum BackendJsonError {
    /// It is no JSON.
    #[error("the backend configuration is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// What it holds is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Form(Vec<FormError>),
    /// What was made of it is no sound backend.
    #[error("what the configuration says is no sound backend\n\n{0}")]
    Qpat(#[from] QpatErrors),
}

/// PyTorch's names of the observation types.
const OBSERVATION_TYPES: &[(&str, ObservationType)] = &[
    ("OUTPUT_USE_DIFFERENT_OBSERVER_AS_INPUT", ObservationType::OutputUseDifferentObserverAsInput),
    ("OUTPUT_SHARE_OBSERVER_WITH_INPUT", ObservationType::OutputShareObserverWithInput),
    ("INPUT_OUTPUT_NOT_OBSERVED", ObservationType::InputOutputNotObserved),
];

fn observation_name(kind: ObservationType) -> &'static str {
    OBSERVATION_TYPES.iter().find(|o| o.1 == kind).map_or("", |o| o.0)
}
