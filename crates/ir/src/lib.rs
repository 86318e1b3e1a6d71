//! The FX-style graph on petgraph: nodes with origins, verifier, text form, DOT.
#![forbid(unsafe_code)]
