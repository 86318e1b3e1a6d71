//! Test support: the folder of real models and data, NumPy files, seeded random tensors, parameters and networks.
#![forbid(unsafe_code)]

pub mod data;
pub mod networks;
pub mod npy;
pub mod random;

pub use data::{data_dir, data_or_skip, models_dir, models_or_skip, workspace_root};
pub use npy::load_npy;
pub use random::{random_tensor, rng, with_random_params};
