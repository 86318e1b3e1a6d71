//! Plans give the bits of the reference evaluation on every tier: one binary, since building takes longer than running.

#[path = "../common/mod.rs"]
mod common;
mod dynamic;
mod layers;
mod limits;
mod outputs;
mod plan;
mod quantized;
mod recurrent;
mod stored;
mod zero;
