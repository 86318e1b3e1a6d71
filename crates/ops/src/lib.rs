//! The operators: one file per operator or family, each with its signature, attributes, shape and dtype rule, and reference
//! evaluation. Outside this crate nobody lists the operators: they are found by name in [`table`].
#![forbid(unsafe_code)]

pub mod activation;
pub mod attention;
pub mod attrs;
pub mod choose_qparams;
pub mod context;
pub mod conv;
pub mod conv_transpose;
pub mod dims;
pub mod elementwise;
pub mod embedding;
pub mod error;
pub mod float;
pub mod index;
pub mod integer;
pub mod integer_product;
pub mod linear;
pub mod movement;
pub mod names;
pub mod norm;
pub mod operator;
pub mod pool;
pub mod quantize;
pub mod quantize_blocks;
pub mod quantize_tensor;
pub mod quantized;
pub mod recurrent;
pub mod reduce;
pub mod reshape;
pub mod resize;
pub mod shape_ops;
pub mod shuffle;
pub mod slice;
pub mod softmax;
mod spec;
pub mod strided;
pub mod stubs;
pub mod table;
pub mod unary;
pub mod window;

pub use attrs::{Attr, Attrs, Float, with_article};
pub use context::{EvalCx, InferCx, InputInfo};
pub use error::OpError;
pub use operator::{AttrDefault, AttrSpec, InputKind, InputSpec, IntegerUse, OpClass, OpRef, Operator, Signature};
pub use table::{lookup, operators};
