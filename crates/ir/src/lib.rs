//! The FX-style graph: placeholders, parameters (`get_attr`), calls and one output node in a petgraph `StableDiGraph`, in an
//! explicit execution order, every call with its origins. Text form, verifier, DOT and a `print_tabular`-like listing.
#![forbid(unsafe_code)]

mod compose;
mod dot;
mod error;
mod graph;
mod infer;
mod listing;
mod node;
mod origin;
pub mod text;
mod verify;

pub use compose::COMPOSED;
pub use error::IrError;
pub use graph::{Graph, Param};
pub use node::{Node, NodeId, NodeKind, ValueRef};
pub use origin::Origin;
