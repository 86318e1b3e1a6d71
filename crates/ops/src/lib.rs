//! One file per operator: signature, attributes, shape and dtype rule, reference evaluation.
#![forbid(unsafe_code)]
