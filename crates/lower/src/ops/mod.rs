//! How calls become steps, by family of operators.

pub(crate) mod cat;
pub(crate) mod conv;
pub(crate) mod float;
pub(crate) mod matmul;
pub(crate) mod movement;
pub(crate) mod pool;
pub(crate) mod quantized;
pub(crate) mod rows;
pub(crate) mod sums;
