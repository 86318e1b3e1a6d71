//! The leaf modules, with the names, parameters and defaults of `torch.nn`.

mod attention;
mod basic;
mod conv;
mod eager;
mod embedding;
mod norm;
mod pixels;
mod prelu;
mod recurrent;

use super::{Proxy, TraceError};

pub use attention::MultiheadAttention;
pub use basic::{Linear, Sequential, Simple};
pub use conv::{Conv, ConvTranspose};
pub use eager::{FloatFunctional, FloatFunctionalCall, Method, QuantWrapper};
pub use embedding::{Embedding, EmbeddingBag};
pub use norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm};
pub use pixels::PixelUnshuffle;
pub use prelu::PReLU;
pub use recurrent::{Recurrent, RecurrentCell, RecurrentKind};

/// The only input of a module that takes one.
fn only(inputs: &[Proxy]) -> Result<Proxy, TraceError> {
    match inputs {
        [x] => Ok(*x),
        _ => Err(TraceError::new(format!("it takes 1 input, {} given", inputs.len()))),
    }
}
