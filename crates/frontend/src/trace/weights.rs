//! Values of parameters: from a safetensors file, or random from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use half::{bf16, f16};
use quantc_tensor::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};

use super::TraceError;

/// How a parameter is initialised when there is no file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value.
    Constant(f32),
    /// Uniform in `-bound..bound`.
    Uniform(f32),
    /// Uniform with variance `2 / fan_in` (He et al. 2015), which keeps the size of activations through deep nets.
    He {
        /// Inputs of one output.
        fan_in: usize,
    },
}

enum Source {
    Random(Box<ChaCha8Rng>),
    /// Tensors not yet asked for, and the file's name for messages.
    File {
        tensors: BTreeMap<String, Tensor>,
        taken: BTreeSet<String>,
        name: String,
    },
}

/// Where the values of parameters come from.
pub struct Weights(Source);

impl Weights {
    /// Random values, the same on every machine for a seed (ChaCha8, in the order the parameters are traced).
    pub fn random(seed: u64) -> Weights {
        Weights(Source::Random(Box::new(ChaCha8Rng::seed_from_u64(seed))))
    }

    /// Tensors held in memory, named as in [`Weights::from_file`]; `name` stands for the file in messages.
    pub fn from_tensors(name: &str, tensors: BTreeMap<String, Tensor>) -> Weights {
        Weights(Source::File { tensors, taken: BTreeSet::new(), name: name.to_owned() })
    }

    /// The tensors of a safetensors file, named by module path (`layer1.0.conv1.weight`). Half precision is widened.
    ///
    /// # Errors
    /// If the file can't be read, is no safetensors file, or has a tensor that is no float.
    pub fn from_file(path: &Path) -> Result<Weights, TraceError> {
        let name = path.display().to_string();
        let fail = |message: String| TraceError { file: Some(name.clone()), ..TraceError::new(message) };
        let bytes = std::fs::read(path).map_err(|e| fail(format!("can't read the weights: {e}")))?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| fail(format!("not a safetensors file: {e}")).with_hint("is it truncated?"))?;
        let mut tensors = BTreeMap::new();
        for (key, view) in file.tensors() {
            // A counter that only training uses.
            if key.ends_with("num_batches_tracked") {
                continue;
            }
            let data = view.data();
            let values: Vec<f32> = match view.dtype() {
                Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
                Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
                Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
                Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
                other => return Err(fail(format!("tensor `{key}` is {other:?}, weights must be floats"))),
            };
            let tensor = Tensor::from_vec(view.shape(), values).map_err(|e| fail(format!("tensor `{key}`: {e}")))?;
            tensors.insert(key, tensor);
        }
        Ok(Weights::from_tensors(&name, tensors))
    }

    /// The value of a parameter.
    pub(crate) fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor, TraceError> {
        match &mut self.0 {
            Source::Random(rng) => random(rng, shape, init),
            Source::File { tensors, taken, name: file } => {
                let Some(tensor) = tensors.get(name) else {
                    return Err(TraceError::new(format!("{file} has no tensor `{name}`"))
                        .with_hint("names are the module's path and the parameter's name"));
                };
                if tensor.shape() != shape {
                    return Err(TraceError::new(format!(
                        "tensor `{name}` of {file} has shape {:?}, the module needs {shape:?}",
                        tensor.shape()
                    ))
                    .with_hint("are the description's sizes right?"));
                }
                taken.insert(name.to_owned());
                Ok(tensor.clone())
            }
        }
    }

    /// Fails if a file has tensors that no module asked for.
    pub(crate) fn finish(&self) -> Result<(), TraceError> {
        let Source::File { tensors, taken, name } = &self.0 else { return Ok(()) };
        let unused: Vec<_> = tensors.keys().filter(|k| !taken.contains(*k)).map(|k| format!("`{k}`")).collect();
        if unused.is_empty() {
            return Ok(());
        }
        let shown = unused[..unused.len().min(5)].join(", ");
        Err(TraceError::new(format!("{} tensors of {name} belong to no module: {shown}", unused.len()))
            .with_hint("is it the file of another model, or is a module missing in the description?"))
    }
}

fn random(rng: &mut ChaCha8Rng, shape: &[usize], init: Init) -> Result<Tensor, TraceError> {
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| *n <= 1 << 28);
    let len = len.ok_or_else(|| TraceError::new(format!("a parameter of shape {shape:?} is too large")))?;
    let bound = match init {
        Init::Constant(v) => return Ok(Tensor::full(shape, v)),
        Init::Uniform(bound) => bound,
        Init::He { fan_in } => (6.0 / fan_in.max(1) as f32).sqrt(),
    };
    let values = (0..len).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound).collect();
    Tensor::from_vec(shape, values).map_err(|e| TraceError::new(e.to_string()))
}
