//! Named inputs cut into batches.

use quantc_ir::Graph;
use quantc_tensor::{Dim, Tensor, TensorType};

use super::Array;
use super::convert::convert;
use crate::independence::{quantizes_dynamically, samples_are_independent};
use crate::{Error, Preprocess};

/// Matches data to the model's inputs: arrays with a name to the input of that name, those without to the inputs left over,
/// in order.
///
/// # Errors
/// If a name is unknown, or an input is missing or given twice.
pub fn bind_inputs<A: Into<Array>>(
    graph: &Graph,
    arrays: Vec<(Option<String>, A)>,
) -> Result<Vec<(String, Array)>, Error> {
    let inputs: Vec<(String, TensorType)> =
        graph.placeholders().map(|id| (graph.node(id).name().to_owned(), graph.node(id).types()[0].clone())).collect();
    let all = || inputs.iter().map(|(n, t)| format!("{n}: {t}")).collect::<Vec<_>>().join(", ");
    let mut bound: Vec<Option<Array>> = inputs.iter().map(|_| None).collect();
    let mut unnamed = Vec::new();
    for (name, array) in arrays {
        let array = array.into();
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

/// The samples of all inputs, cut into batches along axis 0 where that changes no result.
#[derive(Debug)]
pub struct Batches {
    inputs: Vec<Input>,
    preprocess: Option<Preprocess>,
    samples: usize,
    batch: usize,
}

#[derive(Debug)]
struct Input {
    name: String,
    ty: TensorType,
    data: Array,
    /// Rows of the data that make one sample; `None`: each batch takes all data.
    rows: Option<usize>,
    /// Whether preprocessing makes the input from the data.
    image: bool,
}

impl Batches {
    /// Cuts the data of every input into batches of at most `batch` samples:
    ///
    /// - If the first dimension of an input is a fixed number `k` and there is a multiple of it, a sample has `k` rows of that input
    ///   and one of an input with an open first dimension, and a batch is one sample.
    /// - Otherwise the data are cut if that is proven to change no result; else all data are one batch. Where values are quantized
    ///   over the range of a whole tensor, a batch is one sample, so that no result depends on another sample.
    ///
    /// At most `limit` samples are used.
    ///
    /// # Errors
    /// If the inputs have different numbers of samples, or shapes that can't be the model's.
    pub fn new<A: Into<Array>>(
        graph: &Graph,
        data: Vec<(String, A)>,
        preprocess: Option<&Preprocess>,
        batch: usize,
        limit: Option<usize>,
    ) -> Result<Batches, Error> {
        let mut inputs = Vec::new();
        for (name, data) in data {
            let id = graph.find(&name).ok_or_else(|| Error::Data(format!("the model has no input `{name}`")))?;
            let ty = graph.node(id).types()[0].clone();
            inputs.push(Input { name, ty, data: data.into(), rows: None, image: false });
        }
        if let Some(preprocess) = preprocess {
            let types: Vec<(&str, &TensorType)> = inputs.iter().map(|i| (i.name.as_str(), &i.ty)).collect();
            let image = preprocess.input_among(&types)?;
            inputs[image].image = true;
        }
        let mut this = Batches { inputs, preprocess: preprocess.cloned(), samples: 1, batch: 1 };
        let rows = this.inputs.iter().map(Input::count).collect::<Result<Vec<_>, _>>()?;
        let open = this.inputs.iter().zip(&rows).filter(|(i, _)| i.is_open()).filter_map(|(_, n)| *n);
        let open: Vec<usize> = open.collect();
        if this.inputs.iter().zip(&rows).any(|(i, n)| !i.is_open() && n.is_some_and(|n| n != 1)) {
            this.each_alone(&rows, limit)?;
        } else if open.len() == rows.len() && samples_are_independent(graph) && !rows.is_empty() {
            this.each_alone(&rows, limit)?;
            this.batch = if quantizes_dynamically(graph) { 1 } else { batch.max(1) };
        } else {
            this.whole(&open, limit)?;
        }
        if this.samples > 0 {
            // Wrong shapes are reported before any work is done.
            this.get(0, 1)?;
        }
        Ok(this)
    }

    /// Every input has as many samples; scalars are the same for all.
    fn each_alone(&mut self, counts: &[Option<usize>], limit: Option<usize>) -> Result<(), Error> {
        let mut found: Option<(&str, usize)> = None;
        for (input, n) in self.inputs.iter().zip(counts) {
            match (n, found) {
                (Some(n), Some((other, samples))) if *n != samples => {
                    return Err(Error::Data(format!("`{other}` has {samples} samples, `{}` has {n}", input.name)));
                }
                (Some(n), None) => found = Some((&input.name, *n)),
                _ => {}
            }
        }
        let samples = found.map_or(1, |f| f.1);
        self.samples = limit.map_or(samples, |l| l.min(samples));
        for input in &mut self.inputs {
            input.rows = input.ty.shape.dims().first().map(|d| d.known().unwrap_or(1));
        }
        Ok(())
    }

    /// One batch. `counts` are the rows of the inputs whose first dimension is open.
    fn whole(&mut self, counts: &[usize], limit: Option<usize>) -> Result<(), Error> {
        let samples = counts.first().copied().unwrap_or(1);
        let limit = limit.unwrap_or(samples);
        if limit < samples && counts.len() == self.inputs.len() && counts.iter().all(|n| *n == samples) {
            self.inputs.iter_mut().for_each(|i| i.data.truncate(limit));
        } else if (1..samples).contains(&limit) {
            return Err(Error::Data(format!(
                "a limit of {limit} samples: this model runs its data as one batch (hint: give it fewer rows)"
            )));
        }
        self.samples = limit.min(samples);
        self.batch = samples.max(1);
        Ok(())
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The first sample and the number of samples of each batch.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.samples).step_by(self.batch).map(|s| (s, self.batch.min(self.samples - s)))
    }

    /// The inputs of `count` samples from sample `start`, ready for the model; all data if they are one batch.
    ///
    /// # Errors
    /// If shapes or values do not fit the model.
    pub fn get(&self, start: usize, count: usize) -> Result<Vec<(String, Tensor)>, Error> {
        let ready = |input: &Input| Ok((input.name.clone(), input.get(start, count, self.preprocess.as_ref())?));
        self.inputs.iter().map(ready).collect()
    }
}

impl Input {
    /// Whether the first dimension is left open.
    fn is_open(&self) -> bool {
        self.ty.shape.dims().first().is_some_and(|d| d.known().is_none())
    }

    /// How many samples the data are; `None` for an input without dimensions.
    fn count(&self) -> Result<Option<usize>, Error> {
        let (name, ty) = (&self.name, &self.ty);
        let given = self.data.shape().first().copied();
        match (ty.shape.dims().first(), given) {
            (None, _) => Ok(None),
            (Some(_), None) => {
                Err(self.data.error(format!("the data for `{name}` are a scalar, the model wants {ty}")))
            }
            (Some(Dim::Known(k)), Some(n)) if *k == 0 || n % k != 0 => Err(self
                .data
                .error(format!("the data for `{name}` have {n} rows, the model takes {k} at a time ({ty})"))),
            (Some(Dim::Known(k)), Some(n)) => Ok(Some(n / k)),
            (Some(_), Some(n)) => Ok(Some(n)),
        }
    }

    fn get(&self, start: usize, count: usize, preprocess: Option<&Preprocess>) -> Result<Tensor, Error> {
        let (name, ty) = (&self.name, &self.ty);
        let (part, first) = match self.rows {
            Some(rows) => (self.data.rows(start * rows, (start + count) * rows)?, start * rows),
            None => (self.data.all()?, 0),
        };
        let part = match preprocess.filter(|_| self.image) {
            Some(p) => p.apply(&part)?,
            None => {
                convert(part, ty.dtype, first).map_err(|m| self.data.error(format!("the data for `{name}`: {m}")))?
            }
        };
        if !part.ty().shape.compatible(&ty.shape) {
            let hint =
                if part.rank() == 4 && !self.image { " (hint: images stored as NHWC need --preprocess)" } else { "" };
            return Err(self.data.error(format!(
                "the data for `{name}` have the shape {:?}, the model wants {ty}{hint}",
                part.shape()
            )));
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use quantc_ir::text;
    use quantc_tensor::Tensor;

    use super::*;

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::full(shape, 0f32)
    }

    fn sizes(graph: &str, data: &[(&str, &[usize])], limit: Option<usize>) -> Result<Vec<usize>, String> {
        let graph = text::parse(graph).expect("parses");
        let data = data.iter().map(|(n, s)| ((*n).to_owned(), zeros(s))).collect();
        let batches = Batches::new(&graph, data, None, 16, limit).map_err(|e| e.to_string())?;
        Ok(batches.ranges().map(|r| batches.get(r.0, r.1).expect("fits")[0].1.shape()[0]).collect())
    }

    #[test]
    fn data_are_cut_only_where_that_changes_nothing() {
        let relu = "graph g(%x: f32[N,3]) {\n  %y = relu(%x) : f32[N,3]\n  return y=%y\n}\n";
        assert_eq!(sizes(relu, &[("x", &[40, 3])], None), Ok(vec![16, 16, 8]));
        assert_eq!(sizes(relu, &[("x", &[40, 3])], Some(20)), Ok(vec![16, 4]));
        let softmax = "graph g(%x: f32[N,3]) {\n  %y = softmax(%x) {dim=0} : f32[N,3]\n  return y=%y\n}\n";
        assert_eq!(sizes(softmax, &[("x", &[40, 3])], None), Ok(vec![40]));
        assert_eq!(sizes(softmax, &[("x", &[40, 3])], Some(20)), Ok(vec![20]));
        // A fixed first dimension: as many rows at a time.
        let fixed = "graph g(%x: f32[2,3]) {\n  %y = softmax(%x) {dim=0} : f32[2,3]\n  return y=%y\n}\n";
        assert_eq!(sizes(fixed, &[("x", &[6, 3])], None), Ok(vec![2, 2, 2]));
        assert!(sizes(fixed, &[("x", &[5, 3])], None).is_err());
        // A table beside the samples.
        let two = "graph g(%x: f32[N,3], %t: f32[1,3]) {\n  %y = add(%x, %t) : f32[N,3]\n  return y=%y\n}\n";
        assert_eq!(sizes(two, &[("x", &[40, 3]), ("t", &[1, 3])], None), Ok(vec![40]));
        assert!(sizes(two, &[("x", &[40, 3]), ("t", &[1, 3])], Some(2)).is_err());
        assert_eq!(sizes(two, &[("x", &[5, 3]), ("t", &[5, 3])], None), Ok(vec![1; 5]));
    }
}
