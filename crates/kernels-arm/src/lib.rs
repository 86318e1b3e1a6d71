//! SIMD kernels for AArch64, one module per ISA tier.
