//! What is allowed and still a mistake: definitions that can never have an effect or contradict each other.

mod backends;
mod cover;
mod rules;

use crate::ast::Rule;
use crate::library::Library;
use crate::source::QpatError;

impl Library {
    /// Definitions without an effect, or that contradict each other: rules and patterns that another one makes superfluous,
    /// patterns of operators that canonical rules replace before any backend sees them or that the backend never runs quantized,
    /// dtype configurations and fixed parameters that are never chosen, weights without a type. In the order of files and lines.
    pub fn lint(&self) -> Vec<QpatError> {
        let mut found = rules::lint(&self.rules.rules, &[]);
        for backend in &self.backends {
            let beside: Vec<&Rule> = self.rules.rules.iter().filter(|r| backend.keeps_rule(r)).collect();
            found.extend(rules::lint(&backend.rules, &beside));
            found.extend(backends::lint(backend, &self.rules.rules));
        }
        found.extend(backends::fixed_qparams(&self.backends));
        found.sort_by_cached_key(|e| (e.span.source.name.clone(), e.span.start, e.hint.clone(), e.message.clone()));
        // One mistake in several rows of `:for` is one, and so is what a backend that extends another takes over.
        found.dedup_by(|a, b| a.span == b.span && a.hint == b.hint);
        found
    }
}
