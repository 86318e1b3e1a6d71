//! How calls become steps, by family of operators.

pub(crate) mod cat;
pub(crate) mod conv;
pub(crate) mod conv_transpose;
pub(crate) mod embedding;
pub(crate) mod float;
pub(crate) mod matmul;
pub(crate) mod movement;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod qconv_forms;
pub(crate) mod quantized;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod resize;
pub(crate) mod rows;
pub(crate) mod sums;
