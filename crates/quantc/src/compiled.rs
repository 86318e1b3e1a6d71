//! A model ready to run: plans for the input shapes seen so far.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quantc_ir::Graph;
use quantc_kernels::isa::{self, Isa};
use quantc_lower::{Blockings, WeightCache, lower};
use quantc_pattern::RuleSet;
use quantc_runtime::{Executor, Plan, Threads};
use quantc_tensor::{Tensor, TensorType};

use crate::data::Batches;
use crate::tuning::{Machine, Tuning};
use crate::{Error, Model, qtc};

/// Input types with every dimension known, in the order of the model's inputs.
pub type InputShapes = Vec<(String, TensorType)>;

/// How many plans are kept.
const MAX_PLANS: usize = 16;

/// A compiled model. A plan is made when input shapes are first seen, and kept; packed weights are shared between plans.
pub struct Compiled {
    graph: Graph,
    isa: Isa,
    threads: Threads,
    weights: WeightCache,
    tuning: Option<Tuning>,
    executors: HashMap<Vec<TensorType>, Executor>,
}

impl Compiled {
    /// Makes a model runnable with `threads` threads on the ISA tier that `QUANTC_ISA` names or the best this machine has.
    /// A float model is canonicalized first.
    ///
    /// # Errors
    /// If `QUANTC_ISA` cannot be satisfied or rewriting fails.
    pub fn new(model: &Model, rules: &RuleSet, threads: usize) -> Result<Compiled, Error> {
        let graph = if model.is_compiled() {
            model.graph.clone()
        } else {
            quantc_rewrite::canonicalize(&model.graph, rules)?.0
        };
        Compiled::from_graph(graph, threads)
    }

    /// Makes a canonical or quantized graph runnable.
    ///
    /// # Errors
    /// If `QUANTC_ISA` cannot be satisfied.
    pub fn from_graph(graph: Graph, threads: usize) -> Result<Compiled, Error> {
        Compiled::on_isa(graph, isa::select()?, threads)
    }

    /// Loads a model of any kind, ready to run with `threads` threads (see [`Compiled::new`]). The packed weights of a compiled model
    /// stay in its file, which is mapped into memory.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn load(path: &Path, threads: usize) -> Result<Compiled, Error> {
        if !Model::is_compiled_file(path) {
            return Compiled::new(&Model::load(path)?, &RuleSet::builtin()?, threads);
        }
        let qtc::Packed { file, weights } = qtc::open(path)?;
        let compiled = Compiled::from_graph(file.graph, threads)?;
        let compiled = Compiled { weights: WeightCache::with_stored(weights), tuning: file.tuning, ..compiled };
        let blockings = compiled.tuning_used().map(Tuning::blockings).unwrap_or_default();
        Ok(compiled.with_blockings(blockings))
    }

    /// The same with these blockings, whatever the file says.
    pub fn with_blockings(self, blockings: Blockings) -> Compiled {
        Compiled { weights: self.weights.with_blockings(blockings), executors: HashMap::new(), ..self }
    }

    /// The blockings that the model's file holds.
    pub fn tuning(&self) -> Option<&Tuning> {
        self.tuning.as_ref()
    }

    /// The same, if they were chosen for a machine, a tier and a number of threads as here: others are not used.
    pub fn tuning_used(&self) -> Option<&Tuning> {
        self.tuning.as_ref().filter(|tuning| tuning.machine == self.machine())
    }

    /// What blockings chosen here hold for.
    pub fn machine(&self) -> Machine {
        Machine::new(self.isa, self.threads.count())
    }

    /// As [`Compiled::from_graph`], on the kernels of a tier (and those below it where it has none) whatever `QUANTC_ISA` says.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn on_isa(graph: Graph, isa: Isa, threads: usize) -> Result<Compiled, Error> {
        let threads = Threads::new(threads)?;
        Ok(Compiled { graph, isa, threads, weights: WeightCache::default(), tuning: None, executors: HashMap::new() })
    }

    /// The graph it runs. Weights that stay in a compiled model's file have no values in it.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The ISA tier.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The plan for these input types; made if it is not there yet.
    ///
    /// # Errors
    /// If the shapes do not fit the model.
    pub fn plan(&mut self, inputs: &[(String, TensorType)]) -> Result<Arc<Plan>, Error> {
        Ok(self.executor(inputs)?.plan().clone())
    }

    fn executor(&mut self, inputs: &[(String, TensorType)]) -> Result<&mut Executor, Error> {
        let key: Vec<TensorType> = inputs.iter().map(|i| i.1.clone()).collect();
        if !self.executors.contains_key(&key) {
            if self.executors.len() >= MAX_PLANS {
                self.executors.clear();
            }
            let named: Vec<(&str, TensorType)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
            let plan = lower(&self.graph, &named, self.isa, &self.weights)?;
            self.executors.insert(key.clone(), Executor::new(Arc::new(plan), self.threads.clone()));
        }
        self.executors.get_mut(&key).ok_or_else(|| Error::Data("no plan".to_owned()))
    }

    /// Runs one batch: outputs in the model's order, with their names.
    ///
    /// # Errors
    /// If the inputs do not fit the model.
    pub fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<(String, Tensor)>, Error> {
        self.run_inspected(inputs, |_, _| ())
    }

    /// As [`Compiled::run`]; after each step of the plan `inspect` gets its index and how long it took.
    ///
    /// # Errors
    /// As [`Compiled::run`].
    pub fn run_inspected(
        &mut self,
        inputs: &[(String, Tensor)],
        inspect: impl FnMut(usize, Duration) + Send,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let types: InputShapes = inputs.iter().map(|(n, t)| (n.clone(), t.ty())).collect();
        let tensors: Vec<Tensor> = inputs.iter().map(|i| i.1.clone()).collect();
        let names: Vec<String> = self.graph.outputs().iter().map(|o| o.0.to_string()).collect();
        let outputs = self.executor(&types)?.run_inspected(&tensors, inspect)?;
        Ok(names.into_iter().zip(outputs).collect())
    }

    /// Runs all samples, batch by batch, and joins the outputs along axis 0. `progress` is called with the number of samples done.
    ///
    /// # Errors
    /// As [`Compiled::run`]; also if there are no samples.
    pub fn run_batches(
        &mut self,
        batches: &Batches,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let mut parts: Vec<(String, Vec<Tensor>)> = Vec::new();
        for (start, count) in batches.ranges() {
            let outputs = self.run(&batches.get(start, count)?)?;
            if parts.is_empty() {
                parts = outputs.iter().map(|(n, _)| (n.clone(), Vec::new())).collect();
            }
            for (part, (_, tensor)) in parts.iter_mut().zip(outputs) {
                part.1.push(tensor);
            }
            progress(start + count);
        }
        if parts.is_empty() {
            return Err(Error::Data("there are no samples".to_owned()));
        }
        parts.into_iter().map(|(name, tensors)| Ok((name.clone(), join(&name, &tensors)?))).collect()
    }
}

/// Tensors joined along axis 0; a scalar becomes a row.
fn join(name: &str, parts: &[Tensor]) -> Result<Tensor, Error> {
    let Some(first) = parts.first() else { return Err(Error::Data(format!("output `{name}` is empty"))) };
    if parts.len() == 1 {
        return Ok(first.clone());
    }
    let fail = |e: &dyn std::fmt::Display| Error::Data(format!("output `{name}` cannot be joined over batches: {e}"));
    macro_rules! typed {
        ($($t:ty),*) => {
            $(if first.slice::<$t>().is_ok() {
                let mut shape = first.shape().to_vec();
                if shape.is_empty() {
                    shape.push(1);
                }
                let mut data: Vec<$t> = Vec::new();
                let mut total = 0;
                for part in parts {
                    if part.rank() > 0 && part.shape().get(1..) != first.shape().get(1..) {
                        return Err(fail(&format!("shapes {:?} and {:?}", first.shape(), part.shape())));
                    }
                    total += part.shape().first().copied().unwrap_or(1);
                    data.extend_from_slice(part.slice::<$t>().map_err(|e| fail(&e))?);
                }
                shape[0] = total;
                return Tensor::from_vec(&shape, data).map_err(|e| fail(&e));
            })*
        };
    }
    typed!(f32, u8, i8, i64, i32, f64, i16, bool);
    Err(fail(&"unsupported dtype"))
}
