//! Layout choice, kernel selection, weight packing and memory planning: graph to plan.
#![forbid(unsafe_code)]
