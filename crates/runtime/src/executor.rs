//! Runs a plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quantc_kernels::conv::AlignedBytes;
use quantc_tensor::{Tensor, Value};
use rayon::ThreadPool;

use crate::RunError;
use crate::arena::split;
use crate::plan::{Place, Plan, StepCx};
use crate::storage::{load_into, store};

/// The threads that executors share. With one thread there is no pool: the calling thread does everything.
#[derive(Clone, Debug, Default)]
pub struct Threads(Option<Arc<ThreadPool>>);

impl Threads {
    /// A pool of `threads` threads; none for 0 or 1.
    ///
    /// # Errors
    /// If the system cannot start them.
    pub fn new(threads: usize) -> Result<Threads, RunError> {
        if threads <= 1 {
            return Ok(Threads(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| RunError::Threads { threads, message: e.to_string() })?;
        Ok(Threads(Some(Arc::new(pool))))
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }
}

/// A plan with its memory, ready to run again and again (see [`Executor::run_into`] for what allocates).
pub struct Executor {
    plan: Arc<Plan>,
    threads: Threads,
    arena: AlignedBytes,
    workers: Vec<AlignedBytes>,
    values: Vec<Option<Value>>,
    /// Whether a step shared work between threads in the last run, which the plan alone decides; true before the first.
    shared: bool,
}

impl Executor {
    /// Allocates what the plan needs.
    pub fn new(plan: Arc<Plan>, threads: Threads) -> Executor {
        let arena = AlignedBytes::zeroed(plan.memory.arena);
        let workers = vec![AlignedBytes::zeroed(plan.scratch); threads.count()];
        let values = vec![None; plan.values];
        Executor { plan, threads, arena, workers, values, shared: true }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Runs the plan on inputs in the plan's order; outputs in the plan's order.
    ///
    /// # Errors
    /// If an input is not of the type the plan was made for, or a step fails.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_inspected(inputs, |_, _| ())
    }

    /// As [`Executor::run`]; after each step `inspect` gets its index and how long it took.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub fn run_inspected(
        &mut self,
        inputs: &[Tensor],
        inspect: impl FnMut(usize, Duration) + Send,
    ) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = self.outputs();
        self.run_steps(inputs, inspect)?;
        self.load_outputs(&mut outputs)?;
        Ok(outputs)
    }

    /// Tensors of zeros for [`Executor::run_into`].
    pub fn outputs(&self) -> Vec<Tensor> {
        self.plan.outputs.iter().map(|port| Tensor::zeros(port.dtype, &port.shape)).collect()
    }

    /// As [`Executor::run`], into tensors of the outputs' types, in the plan's order. With one thread nothing is allocated, but by
    /// reference evaluation, float products (the `gemm` crate's packed operands), and for a given tensor that shares its elements.
    /// With several threads, the pool's queue also takes a block of memory now and then.
    ///
    /// # Errors
    /// As [`Executor::run`], and if a tensor is not of its output's type.
    pub fn run_into(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<(), RunError> {
        let ports = &self.plan.outputs;
        if outputs.len() != ports.len() {
            return Err(RunError::OutputCount { expected: ports.len(), got: outputs.len() });
        }
        for (port, tensor) in ports.iter().zip(&*outputs) {
            if tensor.dtype() != port.dtype || tensor.shape() != port.shape {
                let (expected, got) = (Box::new(port.ty()), Box::new(tensor.ty()));
                return Err(RunError::OutputType { name: port.name.clone(), expected, got });
            }
        }
        self.run_steps(inputs, |_, _| ())?;
        self.load_outputs(outputs)
    }

    fn run_steps(
        &mut self,
        inputs: &[Tensor],
        mut inspect: impl FnMut(usize, Duration) + Send,
    ) -> Result<(), RunError> {
        self.store_inputs(inputs)?;
        let Executor { plan, threads, arena, workers, values, shared } = self;
        let pool = threads.0.as_ref().filter(|_| *shared);
        *shared = false;
        let mut steps = || {
            let mut before = Instant::now();
            for (i, planned) in plan.steps.iter().enumerate() {
                let mut cx = StepCx { arena: arena.as_mut_slice(), offsets: &plan.offsets, workers, shared, values };
                planned.step.run(&mut cx)?;
                let now = Instant::now();
                inspect(i, now - before);
                before = now;
            }
            Ok::<(), RunError>(())
        };
        // Inside the pool, joining its threads costs no more than a queue operation; a plan of small steps stays outside.
        let done = match pool {
            Some(pool) => pool.install(steps),
            None => steps(),
        };
        // A run that ends early says nothing about the steps it did not reach.
        self.shared |= done.is_err();
        done
    }

    fn store_inputs(&mut self, inputs: &[Tensor]) -> Result<(), RunError> {
        let ports = &self.plan.inputs;
        if inputs.len() != ports.len() {
            return Err(RunError::InputCount { expected: ports.len(), got: inputs.len() });
        }
        for (port, tensor) in ports.iter().zip(inputs) {
            if tensor.dtype() != port.dtype || tensor.shape() != port.shape {
                let (expected, got) = (Box::new(port.ty()), Box::new(tensor.ty()));
                return Err(RunError::InputType { name: port.name.clone(), expected, got });
            }
            match &port.place {
                Place::Arena(slot) => {
                    let (_, [to]) = split(self.arena.as_mut_slice(), &self.plan.offsets, [slot]);
                    store(tensor, to)?;
                }
                Place::Value(i) => self.values[*i] = Some(Value::Dense(tensor.clone())),
                Place::Constant(_) => {}
            }
        }
        Ok(())
    }

    fn load_outputs(&self, outputs: &mut [Tensor]) -> Result<(), RunError> {
        let missing = |name: &str| RunError::Invalid {
            step: name.to_owned(),
            message: "this output is never computed".to_owned(),
        };
        for (port, output) in self.plan.outputs.iter().zip(outputs) {
            match &port.place {
                Place::Arena(slot) => load_into(&self.arena.as_slice()[self.plan.range(slot)], output)?,
                Place::Value(i) => *output = self.values[*i].as_ref().ok_or_else(|| missing(&port.name))?.to_tensor(),
                Place::Constant(tensor) => *output = tensor.clone().ok_or_else(|| missing(&port.name))?,
            }
        }
        Ok(())
    }
}
