//! Kernel traits, packed-weight formats, portable kernels and CPU feature detection.
//!
//! Every kernel of every ISA tier gives the same bits as the portable one, and the portable one the same bits as the
//! reference evaluation in `quantc-ops` (`docs/numerics.md`).

pub mod epilogue;
pub mod isa;

pub use epilogue::Epilogue;
pub use isa::Isa;
