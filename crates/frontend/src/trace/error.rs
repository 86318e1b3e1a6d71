//! Errors of tracing.

use std::fmt;

/// Most modules in each other that a message shows.
const MAX_PARTS: usize = 16;

/// Why a model could not be traced: where in the description (if it is one), which module, what, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceError {
    /// The description's file.
    pub file: Option<String>,
    /// Line and column in the description, from 1.
    pub position: Option<(usize, usize)>,
    /// The module's path and type; `None` outside any module.
    pub module: Option<Box<(String, String)>>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl TraceError {
    /// An error that knows no place yet.
    pub fn new(message: impl Into<String>) -> TraceError {
        TraceError { file: None, position: None, module: None, message: message.into(), hint: None }
    }

    /// The same error with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> TraceError {
        self.hint = Some(hint.into());
        self
    }

    /// The same error at a place in the description, unless it has one.
    pub(crate) fn at(mut self, position: (usize, usize)) -> TraceError {
        self.position.get_or_insert(position);
        self
    }

    /// Of a model that returns another number of values than its outputs have names.
    pub(crate) fn outputs(returned: usize, named: usize) -> TraceError {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        TraceError::new(format!("the model returns {} for {}", count(returned, "value"), count(named, "named output")))
    }

    /// The same error of a submodule, its path so far relative to that. Of a path that only a class in itself can have, the inner end
    /// is left out.
    pub(crate) fn inside(mut self, name: &str) -> TraceError {
        let (path, _) = &mut **self.module.get_or_insert_default();
        let outer = path.match_indices('.').nth(MAX_PARTS - 2).map_or(path.as_str(), |(end, _)| &path[..end]);
        *path = if path.is_empty() { name.to_owned() } else { format!("{name}.{outer}") };
        self
    }

    /// The same error in a module, unless it is in one.
    pub(crate) fn in_module(mut self, path: &str, ty: &str) -> TraceError {
        self.module.get_or_insert_with(|| Box::new((path.to_owned(), ty.to_owned())));
        self
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.position.is_some() {
            f.write_str(" ")?;
        }
        match self.module.as_deref() {
            Some((path, ty)) if path.is_empty() => write!(f, "{ty}: ")?,
            Some((path, ty)) if ty.is_empty() => write!(f, "module `{path}`: ")?,
            Some((path, ty)) => write!(f, "module `{path}` ({ty}): ")?,
            None => {}
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TraceError {}
