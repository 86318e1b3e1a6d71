//! Errors of the PT2E path. Each names the node or the edge.

use quantc_interp::InterpError;
use quantc_ir::IrError;

use crate::QuantError;
use crate::observer::ObserverError;

/// What can go wrong between annotation and conversion.
#[derive(Debug, thiserror::Error)]
pub enum Pt2eError {
    /// A spec shares with, or is derived from, something without annotation.
    #[error(
        "{at} refers to {to}, which is not annotated (hint: annotate that tensor too, or give {at} a spec of its own)"
    )]
    NotAnnotated {
        /// The tensor with the spec.
        at: String,
        /// What it refers to.
        to: String,
    },
    /// Specs that share with each other in a circle.
    #[error("{at} shares with itself: {} (hint: one of them needs a spec of its own)", path.join(", "))]
    SharingCycle {
        /// Where it was noticed.
        at: String,
        /// The tensors on the circle.
        path: Vec<String>,
    },
    /// Derived parameters that depend on themselves.
    #[error("the parameters of {at} are derived from themselves")]
    DerivedCycle {
        /// The tensor.
        at: String,
    },
    /// Parameters derived from a tensor that has none before the model runs.
    #[error("the parameters of {at} are derived from those of {from}, which has none: {why}")]
    DerivedFromNothing {
        /// The tensor.
        at: String,
        /// Where they should come from.
        from: String,
        /// Why there are none.
        why: &'static str,
    },
    /// A derivation refused, or gave parameters that can't be.
    #[error("the parameters of {at}: {message}")]
    Derive {
        /// The tensor.
        at: String,
        /// Why.
        message: String,
    },
    /// An annotation of an edge that does not exist.
    #[error("the annotation of `{node}` names `{value}`, which is none of its inputs")]
    NoSuchEdge {
        /// The annotated node.
        node: String,
        /// The value it names.
        value: String,
    },
    /// An annotated tensor that is not f32.
    #[error("{at} is {dtype}; only f32 can be quantized (hint: leave it out of the annotation)")]
    NotFloat {
        /// The tensor.
        at: String,
        /// Its type.
        dtype: String,
    },
    /// A quantizer of a [`super::ComposableQuantizer`] that touched what another one decided.
    #[error("the quantizer {quantizer} has {what} the annotation of `{node}`, which another quantizer made")]
    Overridden {
        /// The quantizer.
        quantizer: String,
        /// `changed` or `removed`.
        what: &'static str,
        /// The node.
        node: String,
    },
    /// An observer refused its arguments or its data.
    #[error("{at}: {source}")]
    Observer {
        /// The tensor it watches.
        at: String,
        /// Why.
        source: ObserverError,
    },
    /// A quantizer's own complaint.
    #[error("the quantizer {quantizer}: `{node}`: {message}")]
    Quantizer {
        /// The quantizer.
        quantizer: String,
        /// The node.
        node: String,
        /// Why.
        message: String,
    },
    /// A setting for something that a quantizer has no recipe for.
    #[error("the quantizer {quantizer} has no recipe for `{name}` (hint: it has for {known})")]
    NoRecipe {
        /// The quantizer.
        quantizer: String,
        /// The function or module type.
        name: String,
        /// Those it knows.
        known: String,
    },
    /// Results of two graphs that cannot be compared.
    #[error("the numeric debug handle {handle}: {message}")]
    Compare {
        /// The handle.
        handle: u32,
        /// Why.
        message: String,
    },
    /// The graph is not valid.
    #[error(transparent)]
    Ir(#[from] IrError),
    /// The graph could not be run.
    #[error("running the graph: {0}")]
    Interp(#[from] InterpError),
    /// What the FX path has in common with this one.
    #[error(transparent)]
    Quant(#[from] QuantError),
}
