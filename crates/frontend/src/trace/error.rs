//! Errors of tracing: where in the file and in which module, what is wrong, and what to do.

use std::fmt;

use quantc_ops::OpError;

/// A place in a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A module, as errors name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRef {
    /// Its path; empty for the root.
    pub path: String,
    /// Its type.
    pub type_name: String,
}

impl fmt::Display for ModuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "the model ({})", self.type_name)
        } else {
            write!(f, "module `{}` ({})", self.path, self.type_name)
        }
    }
}

/// Why a model could not be traced.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", self.render())]
pub struct TraceError {
    /// The file, if there is one.
    pub path: Option<String>,
    /// Where in the description; `None` for a model built in Rust.
    pub position: Option<Position>,
    /// The module being built or called.
    pub module: Option<Box<ModuleRef>>,
    /// The cause.
    pub kind: Box<TraceErrorKind>,
    /// Byte offset in the description.
    pub(super) offset: Option<usize>,
}

impl TraceError {
    fn render(&self) -> String {
        let mut out = String::new();
        match (&self.path, self.position) {
            (Some(path), Some(p)) => out += &format!("{path}:{}:{}: ", p.line, p.column),
            (Some(path), None) => out += &format!("{path}: "),
            (None, Some(p)) => out += &format!("{}:{}: ", p.line, p.column),
            (None, None) => {}
        }
        if let Some(module) = &self.module {
            out += &format!("in {module}: ");
        }
        out + &self.kind.to_string()
    }
}

/// The cause of a [`TraceError`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceErrorKind {
    /// A file could not be read.
    #[error("can't read {file}: {message}")]
    Io {
        /// The file.
        file: String,
        /// The system's message.
        message: String,
    },
    /// The text is not JSON.
    #[error("not valid JSON: {message}")]
    Json {
        /// What is wrong.
        message: String,
    },
    /// JSON, but not of a description's form.
    #[error("{message} (hint: {hint})")]
    Form {
        /// What is wrong.
        message: String,
        /// What is expected.
        hint: String,
    },
    /// A statement or expression that does not parse.
    #[error("{message}")]
    Syntax {
        /// What was expected and found.
        message: String,
    },
    /// A module type that is neither built in nor defined.
    #[error("unknown module type `{name}`{}", suggestion(nearest))]
    UnknownModuleType {
        /// The name.
        name: String,
        /// A type that exists.
        nearest: Option<String>,
    },
    /// A hyper-parameter the type does not have.
    #[error("`{module_type}` has no hyper-parameter `{name}`{}", known_names(nearest, known))]
    UnknownHyper {
        /// The module's type.
        module_type: String,
        /// The name.
        name: String,
        /// One that exists.
        nearest: Option<String>,
        /// All that exist.
        known: Vec<String>,
    },
    /// A hyper-parameter that must be given.
    #[error("`{module_type}` needs the hyper-parameter `{name}`, {expected}")]
    MissingHyper {
        /// The module's type.
        module_type: String,
        /// The name.
        name: String,
        /// What it is.
        expected: String,
    },
    /// A hyper-parameter of another type.
    #[error("the hyper-parameter `{name}` of `{module_type}` must be {expected}, it is {got}")]
    HyperType {
        /// The module's type.
        module_type: String,
        /// The name.
        name: String,
        /// What it must be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Hyper-parameters that make no module.
    #[error("`{module_type}`: {message}")]
    HyperValue {
        /// The module's type.
        module_type: String,
        /// What is wrong.
        message: String,
    },
    /// A name nothing has.
    #[error("unknown {what} `{name}`{}", suggestion(nearest))]
    UnknownName {
        /// `value`, `module or operator`, `parameter` ...
        what: &'static str,
        /// The name.
        name: String,
        /// One that exists.
        nearest: Option<String>,
    },
    /// A value used by a statement before the one that computes it.
    #[error("`{name}` is used here, but computed only later (hint: move the statement that computes it up)")]
    UseBeforeDefinition {
        /// The value.
        name: String,
    },
    /// A wrong number of things.
    #[error("{what}: {expected} expected, {got} given")]
    Arity {
        /// Of what.
        what: String,
        /// How many it takes.
        expected: String,
        /// How many there are.
        got: usize,
    },
    /// A value where a constant is needed: its elements exist only when the model runs.
    #[error("{what} can't depend on a value of the model: it is only known when the model runs (hint: {hint})")]
    ControlFlow {
        /// What depends on it.
        what: String,
        /// What to do.
        hint: String,
    },
    /// An expression that has no result.
    #[error("{message}")]
    Expression {
        /// What is wrong.
        message: String,
    },
    /// A call whose inputs or attributes do not fit the operator.
    #[error("the call of `{op}` with ({}) is not possible: {source}", inputs.join(", "))]
    Op {
        /// The operator.
        op: String,
        /// The types of its inputs.
        inputs: Vec<String>,
        /// Why.
        source: OpError,
    },
    /// Modules that contain themselves.
    #[error("the definition contains itself: {}", cycle.join(" -> "))]
    Recursion {
        /// The types, the first and last are the same.
        cycle: Vec<String>,
    },
    /// The weights file is no safetensors file.
    #[error("{file} is no usable safetensors file: {message}")]
    Safetensors {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The weights file does not fit the model; every problem.
    #[error("{file} does not fit the model:{}", problems.iter().map(|p| format!("\n  {p}")).collect::<String>())]
    Weights {
        /// The file.
        file: String,
        /// One line each.
        problems: Vec<String>,
    },
    /// A model that is too large.
    #[error("the model is too large: {message}")]
    Limit {
        /// Which limit.
        message: String,
    },
    /// A value of another tracer.
    #[error("a value of another trace was passed in")]
    ForeignProxy,
    /// The graph built is not valid; a bug in a module or here.
    #[error("the traced graph is not valid: {0}")]
    Graph(#[from] quantc_ir::IrError),
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
}

fn known_names(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(n) => format!(" (did you mean `{n}`?)"),
        None if known.is_empty() => " (it has none)".to_owned(),
        None => format!(" (it has: {})", known.join(", ")),
    }
}

/// Short for the modules of tracing.
pub(super) use TraceErrorKind as Kind;

impl From<TraceErrorKind> for TraceError {
    fn from(kind: TraceErrorKind) -> Self {
        TraceError { path: None, position: None, module: None, kind: Box::new(kind), offset: None }
    }
}

impl TraceError {
    /// An error at a byte offset of the description.
    pub(super) fn at(offset: usize, kind: TraceErrorKind) -> TraceError {
        TraceError { offset: Some(offset), ..TraceError::from(kind) }
    }

    /// A [`TraceErrorKind::Form`] error.
    pub(super) fn form(offset: usize, message: impl Into<String>, hint: impl Into<String>) -> TraceError {
        TraceError::at(offset, Kind::Form { message: message.into(), hint: hint.into() })
    }

    /// The same error at an offset, unless it has one: the innermost place is the most useful.
    pub(super) fn or_at(mut self, offset: usize) -> TraceError {
        self.offset.get_or_insert(offset);
        self
    }

    /// The same error in a module, unless a deeper one is known.
    pub(super) fn in_module(mut self, path: &str, type_name: &str) -> TraceError {
        self.module
            .get_or_insert_with(|| Box::new(ModuleRef { path: path.to_owned(), type_name: type_name.to_owned() }));
        self
    }

    /// The error with its line and column in the description.
    pub(super) fn locate(mut self, source: &str) -> TraceError {
        self.position = self.offset.map(|offset| {
            let before = source.get(..offset).unwrap_or(source);
            let line_start = before.rfind('\n').map_or(0, |i| i + 1);
            Position {
                line: before.bytes().filter(|b| *b == b'\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            }
        });
        self
    }
}

/// The name among `known` most like `name`, if any is alike enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::osa_distance(&lower, &k.to_lowercase()), k))
        .filter(|(d, k)| *d * 3 <= k.chars().count().max(3))
        .min()
        .map(|(_, k)| k.to_owned())
}
