//! The text form: what snapshots, file tests, `--emit` and hand-written tests use. `parse(print(g)) == g`.
//!
//! ```text
//! graph resnet(%x: f32[N,3,224,224]) {
//!   param @conv1.weight: f32[64,3,7,7]
//!   param @shape: i64[2] = [0, -1]
//!   %conv1 = conv2d(%x, @conv1.weight) {padding=[3,3], stride=[2,2]} : f32[N,64,112,112]  # conv1: Conv2d(Conv, 0)
//!   %lstm = lstm(%a, @w, @r, none) {hidden_size=4} : f32[5,1,1,4], f32[1,1,4], f32[1,1,4]
//!   return logits=%conv1, state=%lstm:1
//! }
//! ```
//!
//! Names that are not plain words are quoted. Values of parameters with at most [`INLINE_VALUES`] elements are written, larger
//! ones only declared. A trailing comment lists the origins: `module_path: module_type(source_op, index)`, with ` @handle` behind it where
//! there is a numeric debug handle.

mod lexer;
mod parse;
mod print;

pub use parse::parse;
pub use print::{quote_ident, value_name};

/// Parameters with at most this many elements are written with their values.
pub const INLINE_VALUES: usize = 16;
