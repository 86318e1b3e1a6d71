//! Test support: snapshot tests of rewrites as files ([`file_tests`]), the folder of real models and data, NumPy files, seeded
//! random tensors, parameters and networks.
#![forbid(unsafe_code)]

pub mod compare;
pub mod data;
pub mod filetest;
pub mod hashed;
pub mod networks;
pub mod npy;
pub mod random;

pub use compare::sqnr;
pub use data::{data_dir, data_or_skip, models_dir, models_or_skip, workspace_root};
pub use filetest::{FileTestError, FileTests, file_tests};
pub use npy::load_npy;
pub use random::{random_tensor, rng, with_random_params};
