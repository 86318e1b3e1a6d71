//! Errors of rewriting.

use quantc_interp::InterpError;
use quantc_ir::IrError;

/// Why a graph could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The result is not a valid graph.
    #[error("rewriting gave an invalid graph: {0}")]
    Graph(#[from] IrError),
    /// A constant could not be evaluated.
    #[error("while folding constants: {0}")]
    Fold(#[from] InterpError),
    /// Rules made two values equal that have contradicting types.
    #[error(
        "rules equate values of different types ({types}) in phase {phase} (hint: one of these rules is unsound: {rules})"
    )]
    Unsound {
        /// The types.
        types: String,
        /// The phase.
        phase: &'static str,
        /// The rules that applied.
        rules: String,
    },
    /// Nothing in the e-graph computes an output: a bug of the engine.
    #[error("no term was found for an output of the graph")]
    NoTerm,
    /// There is no rule of that name.
    #[error("there is no rule `{name}`{}", hint(nearest))]
    UnknownRule {
        /// The name asked for.
        name: String,
        /// One that is like it.
        nearest: Option<String>,
    },
    /// The rule is of another phase.
    #[error("rule `{name}` is of phase {phase} (hint: ask about that phase)")]
    OtherPhase {
        /// The rule.
        name: String,
        /// Its phase.
        phase: &'static str,
    },
    /// The rule is not applied unless approximate rules are allowed.
    #[error("rule `{0}` is of class approximate, and approximate rules are not allowed")]
    Approximate(String),
    /// There is no call of that name.
    #[error("the graph has no call `{name}` (once constants are evaluated){}", hint(nearest))]
    UnknownNode {
        /// The name asked for.
        name: String,
        /// One that is like it.
        nearest: Option<String>,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |n| format!(" (hint: did you mean `{n}`?)"))
}

/// The name most like `name`, if any is alike: at most a third of it to be changed, or one contains the other.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let far = |other: &str| {
        let distance = distance(name, other);
        let contains = !name.is_empty() && (other.contains(name) || name.contains(other));
        (distance <= name.len() / 3 + 1 || contains).then_some((distance, other.to_owned()))
    };
    names.filter_map(far).min().map(|(_, n)| n)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
