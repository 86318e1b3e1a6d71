//! Sample data: `.npy` / `.npz` files, preprocessing, batches.

mod array;
mod batch;
mod convert;
mod npy;
mod preprocess;

pub use array::{Array, read_arrays, write_npz};
pub use batch::{Batches, bind_inputs};
pub use npy::{decode_npy, read_npy};
pub use preprocess::{ChannelOrder, Preprocess};
