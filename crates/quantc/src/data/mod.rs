//! Sample data: `.npy` / `.npz` files, preprocessing, batches.

mod batch;
mod npy;
mod preprocess;
mod rows;

pub use batch::{Batches, bind_inputs};
pub use npy::{decode_npy, read_arrays, read_npy, write_npz};
pub use preprocess::{ChannelOrder, Preprocess};
pub use rows::{NpyRows, Rows};
