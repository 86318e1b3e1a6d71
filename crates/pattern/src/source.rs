//! Source files, positions in them, and the one error type: every message has a file, line, column, caret and (mostly) a hint.

use std::fmt;
use std::sync::Arc;

/// A `.qpat` file.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The name messages show.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether it is one of those embedded in the binary: of two definitions that collide, the other file's is at fault.
    pub embedded: bool,
}

impl Source {
    /// A source from its name and text.
    pub fn new(name: &str, text: &str) -> Arc<Source> {
        Arc::new(Source { name: name.to_owned(), text: text.to_owned(), embedded: false })
    }

    /// One that is embedded in the binary.
    pub(crate) fn embedded(name: &str, text: &str) -> Arc<Source> {
        Arc::new(Source { name: name.to_owned(), text: text.to_owned(), embedded: true })
    }

    /// Line and column (both from 1, the column in characters) of a byte offset.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..offset.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A range of a source, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file.
    pub source: Arc<Source>,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.position(self.start);
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

/// One thing wrong with a `.qpat` file. Its `Display` is the whole message: position, text, caret and hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QpatError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do about it.
    pub hint: Option<String>,
}

impl QpatError {
    /// An error without a hint.
    pub fn new(span: &Span, message: impl Into<String>) -> QpatError {
        QpatError { message: message.into(), span: span.clone(), hint: None }
    }

    /// The same error with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> QpatError {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for QpatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.span.source;
        let (line, column) = source.position(self.span.start);
        writeln!(f, "{}: {}", self.span, self.message)?;
        let text = source.text.lines().nth(line - 1).unwrap_or("");
        let number = line.to_string();
        let room = text.chars().count().saturating_sub(column - 1).max(1);
        let spanned = source.text.get(self.span.start..self.span.end).map_or(1, |s| s.chars().count());
        let carets = "^".repeat(spanned.clamp(1, room));
        writeln!(f, " {number} | {text}")?;
        write!(f, " {:w$} | {:c$}{carets}", "", "", w = number.len(), c = column - 1)?;
        match &self.hint {
            Some(hint) => write!(f, "\n {:w$} = hint: {hint}", "", w = number.len()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QpatError {}

/// Everything wrong with a set of files, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QpatErrors(pub Vec<QpatError>);

impl fmt::Display for QpatErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for QpatErrors {}
