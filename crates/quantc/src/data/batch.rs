//! Named inputs cut into batches.

use quantc_ir::Graph;
use quantc_tensor::{DType, Dim, Tensor, TensorType};

use super::rows::Rows;
use crate::{Error, Preprocess};

/// Matches data to the model's inputs: arrays with a name to the input of that name, those without to the inputs left over,
/// in order.
///
/// # Errors
/// If a name is unknown, an input is missing or given twice, or the rank does not fit.
pub fn bind_inputs<T: Clone>(graph: &Graph, arrays: Vec<(Option<String>, T)>) -> Result<Vec<(String, T)>, Error> {
    let inputs: Vec<(String, TensorType)> =
        graph.placeholders().map(|id| (graph.node(id).name().to_owned(), graph.node(id).types()[0].clone())).collect();
    let all = || inputs.iter().map(|(n, t)| format!("{n}: {t}")).collect::<Vec<_>>().join(", ");
    let mut bound: Vec<Option<T>> = vec![None; inputs.len()];
    let mut unnamed = Vec::new();
    for (name, array) in arrays {
        let Some(name) = name else {
            unnamed.push(array);
            continue;
        };
        let i = inputs
            .iter()
            .position(|(n, _)| *n == name)
            .ok_or_else(|| Error::Data(format!("the model has no input `{name}`; its inputs are {}", all())))?;
        if bound[i].replace(array).is_some() {
            return Err(Error::Data(format!("the input `{name}` is given twice")));
        }
    }
    for array in unnamed {
        let slot = bound
            .iter_mut()
            .find(|b| b.is_none())
            .ok_or_else(|| Error::Data(format!("more arrays than inputs; the inputs are {}", all())))?;
        *slot = Some(array);
    }
    inputs
        .iter()
        .zip(bound)
        .map(|((name, _), array)| {
            let array = array
                .ok_or_else(|| Error::Data(format!("no data for the input `{name}`; the inputs are {}", all())))?;
            Ok((name.clone(), array))
        })
        .collect()
}

/// The samples of all inputs, cut into batches along axis 0.
#[derive(Clone, Debug)]
pub struct Batches {
    inputs: Vec<(String, TensorType, Rows)>,
    /// And the input it is for.
    preprocess: Option<(String, Preprocess)>,
    /// For each input, rows that make one sample.
    rows: Vec<usize>,
    samples: usize,
    batch: usize,
    /// See [`Batches::is_fixed`].
    fixed: bool,
}

impl Batches {
    /// Cuts the data of every input into batches of at most `batch` samples. An input whose first dimension is a fixed number
    /// `k` takes `k` rows a sample, and then a batch is one sample.
    ///
    /// # Errors
    /// If the inputs have different numbers of samples, or shapes that can't be the model's.
    pub fn new(
        graph: &Graph,
        data: Vec<(String, impl Into<Rows>)>,
        preprocess: Option<&Preprocess>,
        batch: usize,
        limit: Option<usize>,
    ) -> Result<Batches, Error> {
        let mut inputs = Vec::new();
        let mut rows = Vec::new();
        let mut counts = Vec::new();
        let mut fixed = false;
        for (name, given) in data {
            let tensor: Rows = given.into();
            let id = graph.find(&name).ok_or_else(|| Error::Data(format!("the model has no input `{name}`")))?;
            let ty = graph.node(id).types()[0].clone();
            let given = tensor.shape().first().copied();
            let (per_sample, count) = match (ty.shape.dims().first(), given) {
                (None, _) => (0, 1),
                (Some(_), None) => {
                    return Err(Error::Data(format!("the data for `{name}` are a scalar, the model wants {ty}")));
                }
                (Some(Dim::Known(k)), Some(n)) => {
                    if *k == 0 || n % k != 0 {
                        return Err(Error::Data(format!(
                            "the data for `{name}` have {n} rows, the model takes {k} at a time ({ty})"
                        )));
                    }
                    fixed = true;
                    (*k, n / k)
                }
                (Some(_), Some(n)) => (1, n),
            };
            if per_sample > 0 {
                counts.push((name.clone(), count));
            }
            rows.push(per_sample);
            inputs.push((name, ty, tensor));
        }
        let samples = counts.first().map_or(1, |c| c.1);
        if let Some((other, n)) = counts.iter().find(|c| c.1 != samples) {
            return Err(Error::Data(format!(
                "`{}` has {samples} samples, `{other}` has {n}",
                counts.first().map_or("", |c| &c.0)
            )));
        }
        let samples = limit.map_or(samples, |l| l.min(samples));
        let this = Batches {
            inputs,
            preprocess: preprocess.map(|p| Ok::<_, Error>((image_input(graph, p)?, p.clone()))).transpose()?,
            rows,
            samples,
            batch: if fixed { 1 } else { batch.max(1) },
            fixed,
        };
        if samples > 0 {
            // Wrong shapes are reported before any work is done.
            this.get(0, 1)?;
        }
        Ok(this)
    }

    /// The same samples in batches of at most `batch`.
    pub fn in_batches_of(&self, batch: usize) -> Batches {
        Batches { batch: batch.max(1), ..self.clone() }
    }

    /// Samples of the largest batch.
    pub fn batch(&self) -> usize {
        self.batch.min(self.samples)
    }

    /// Whether the model takes a fixed number of rows, so that a batch is one sample.
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The first sample and the number of samples of each batch.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.samples).step_by(self.batch).map(|s| (s, self.batch.min(self.samples - s)))
    }

    /// The inputs of `count` samples from sample `start`, ready for the model.
    ///
    /// # Errors
    /// If shapes do not fit the model.
    pub fn get(&self, start: usize, count: usize) -> Result<Vec<(String, Tensor)>, Error> {
        self.inputs
            .iter()
            .zip(&self.rows)
            .map(|((name, ty, tensor), &rows)| {
                let part = if rows == 0 { tensor.all()? } else { tensor.get(start * rows, (start + count) * rows)? };
                let part = match &self.preprocess {
                    Some((input, p)) if input == name => p.apply(&part)?,
                    _ => convert(name, part, ty.dtype)?,
                };
                if !part.ty().shape.compatible(&ty.shape) {
                    let hint = if part.rank() == 4 && self.preprocess.is_none() {
                        " (hint: images stored as NHWC need --preprocess)"
                    } else {
                        ""
                    };
                    return Err(Error::Data(format!(
                        "the data for `{name}` have the shape {:?}, the model wants {ty}{hint}",
                        part.shape()
                    )));
                }
                Ok((name.clone(), part))
            })
            .collect()
    }
}

/// Converts the element type where that loses nothing that matters: integers to floats, f64 to f32, between integers if they fit.
fn convert(name: &str, tensor: Tensor, dtype: DType) -> Result<Tensor, Error> {
    let from = tensor.dtype();
    if from.is_float() && !dtype.is_float() {
        return Err(Error::Data(format!("the data for `{name}` are {from}, the model wants {dtype}")));
    }
    let converted = tensor.cast(dtype);
    if !dtype.is_float() && from != dtype {
        let (before, after) = (tensor.to_i64_vec(), converted.to_i64_vec());
        if let Some(at) = before.iter().zip(&after).position(|(a, b)| a != b) {
            return Err(Error::Data(format!(
                "the data for `{name}` have the value {} (element {at} of a batch), which is no {dtype}",
                before[at]
            )));
        }
    }
    Ok(converted)
}

/// Which input images are for: the one that the preprocessing names, or the only 4-d float input.
fn image_input(graph: &Graph, preprocess: &Preprocess) -> Result<String, Error> {
    let inputs: Vec<(&str, &TensorType)> =
        graph.placeholders().map(|id| (graph.node(id).name(), &graph.node(id).types()[0])).collect();
    let is_image = |ty: &TensorType| ty.shape.rank() == 4 && ty.dtype == DType::F32;
    let all = || inputs.iter().map(|(n, t)| format!("{n}: {t}")).collect::<Vec<_>>().join(", ");
    if let Some(name) = preprocess.input() {
        return match inputs.iter().find(|(n, _)| *n == name) {
            Some((_, ty)) if is_image(ty) => Ok(name.to_owned()),
            Some((_, ty)) => Err(Error::Data(format!("preprocessing is for images, the input `{name}` is {ty}"))),
            None => Err(Error::Data(format!("preprocessing is for `{name}`; the inputs are {}", all()))),
        };
    }
    let images: Vec<&str> = inputs.iter().filter(|(_, ty)| is_image(ty)).map(|(n, _)| *n).collect();
    match images[..] {
        [one] => Ok(one.to_owned()),
        [] => Err(Error::Data(format!("preprocessing is for images, none of the inputs is one: {}", all()))),
        _ => Err(Error::Data(format!(
            "preprocessing may be for {} (hint: \"input\": \"{}\" in its file says which)",
            images.join(" or "),
            images[0]
        ))),
    }
}
