//! What is allowed and still a mistake: definitions that can never have an effect.

mod backends;
mod cover;
mod rules;

use crate::library::Library;
use crate::source::QpatError;

impl Library {
    /// Definitions without an effect: rules and patterns that another one makes superfluous, patterns of operators that
    /// canonical rules replace before any backend sees them, dtype configurations that are never chosen. In the order of files
    /// and lines.
    pub fn lint(&self) -> Vec<QpatError> {
        let mut found = rules::lint(&self.rules.rules);
        for backend in &self.backends {
            found.extend(rules::lint(&backend.rules));
            found.extend(backends::lint(backend, &self.rules.rules));
        }
        found.sort_by(|a, b| {
            (&a.span.source.name, a.span.start, &a.message).cmp(&(&b.span.source.name, b.span.start, &b.message))
        });
        // A backend that extends another takes over what is wrong with it.
        found.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        found
    }
}
