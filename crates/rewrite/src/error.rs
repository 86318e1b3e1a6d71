//! Errors of rewriting.

use quantc_interp::InterpError;
use quantc_ir::IrError;

use crate::report::Step;

/// Why a graph could not be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The result is not a valid graph.
    #[error("rewriting gave an invalid graph: {0}")]
    Graph(#[from] IrError),
    /// A constant could not be evaluated.
    #[error("while folding constants: {0}")]
    Fold(#[from] InterpError),
    /// Rules made values equal that can't be.
    #[error("rules equate {what} in phase {phase}: {}", show_joined(joined))]
    Unsound {
        /// Values of which types, or which constants.
        what: String,
        /// The phase.
        phase: &'static str,
        /// The application after which it was so, and those before it that made something else equal to the same value, the last
        /// first.
        joined: Vec<Step>,
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

/// How many applications a message shows.
const SHOWN: usize = 6;

fn show_joined(joined: &[Step]) -> String {
    let show = |step: &Step| format!("`{}` on {}", step.rule, step.from.join(", "));
    let mut steps = joined.iter().map(show).take(SHOWN);
    match (steps.next(), steps.collect::<Vec<_>>()) {
        (None, _) => "the graph contradicts itself".to_owned(),
        (Some(last), earlier) if earlier.is_empty() => format!("it is so since {last} (hint: this rule is unsound)"),
        (Some(last), earlier) => {
            format!("it is so since {last}; before that, {} (hint: one of them is unsound)", earlier.join(", "))
        }
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |n| format!(" (hint: did you mean `{n}`?)"))
}
