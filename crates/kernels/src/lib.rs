//! Kernel traits, packed-weight formats, portable kernels, CPU feature detection.
