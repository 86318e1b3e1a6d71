//! `.qpat` files parsed and type-checked into rewrite rules and backend configurations, every error with file, line, column
//! and caret; and the matcher both are used with. The language: `docs/qpat.md`.
#![forbid(unsafe_code)]

pub mod ast;
pub mod backend;
mod backend_json;
pub mod expr;
pub mod graph_host;
mod in_range;
pub mod library;
mod lint;
pub mod matcher;
mod parse;
pub mod print;
mod reader;
mod restrict;
pub mod source;
pub mod torch_names;
pub mod why_not;

pub use ast::{Example, Pattern, Phase, Rule, RuleClass, Template, family};
pub use backend::{
    BackendConfig, BackendPatternConfig, DTypeConfig, DTypeWithConstraints, FixedQParams, Mode, ObservationType, Role,
    Unsupported,
};
pub use backend_json::{BackendJsonError, Exported, FormError, Imported, export_backend, import_backend};
pub use graph_host::{Match, match_pattern};
pub use library::{Library, PatternError, RuleSet, builtin_sources};
pub use source::{QpatError, QpatErrors, Source, Span};
