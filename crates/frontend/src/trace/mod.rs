//! Symbolic tracing (PyTorch FX): a model walked with proxies that record each operation, into a graph.
//!
//! A model is a [`Module`] written in Rust or a JSON description of a tree of modules ([`Description`]). Leaf modules (those of
//! [`nn`]) become calls of their operators, others are inlined; every call carries the path and type of its module.
//!
//! ```
//! use quantc_frontend::trace::{Module, Proxy, TraceError, Tracer, Weights, nn};
//! use quantc_tensor::{DType, TensorType};
//!
//! struct Block {
//!     conv: nn::Conv,
//! }
//!
//! impl Module for Block {
//!     fn type_name(&self) -> &str {
//!         "Block"
//!     }
//!
//!     fn forward(&self, t: &mut Tracer, inputs: &[Proxy]) -> Result<Vec<Proxy>, TraceError> {
//!         let x = inputs[0];
//!         let y = t.module("conv", &self.conv, &[x])?[0];
//!         Ok(vec![y.add(t, x)?.relu(t)?])
//!     }
//! }
//!
//! let block = Block { conv: nn::Conv::new_2d(8, 8, 3).padding(1) };
//! let input = ("x", TensorType::new(DType::F32, [1, 8, 16, 16].as_slice()));
//! let graph = Tracer::trace(&block, "block", &[input], &["y"], Weights::random(0))?;
//! assert_eq!(graph.calls().count(), 3);
//! # Ok::<(), TraceError>(())
//! ```

mod description;
mod error;
mod expr;
mod input;
mod json;
mod leaf;
pub mod nn;
mod tracer;
mod weights;

pub use description::Description;
pub use error::TraceError;
pub use tracer::{Module, Proxy, Tracer};
pub use weights::{Init, Weights};
