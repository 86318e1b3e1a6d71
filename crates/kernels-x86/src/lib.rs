//! SIMD kernels for x86-64, one module per ISA tier.
