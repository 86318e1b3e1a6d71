//! The quantization compiler: facade and command line.
#![forbid(unsafe_code)]
