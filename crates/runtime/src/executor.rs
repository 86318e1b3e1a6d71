//! Runs a plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quantc_kernels::conv::AlignedBytes;
use quantc_tensor::{Tensor, Value};
use rayon::ThreadPool;

use crate::RunError;
use crate::arena::split;
use crate::plan::{Place, Plan, StepCx};
use crate::storage::{load, store};

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

/// A plan with its memory, ready to run again and again; nothing but outputs and reference steps allocates.
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
        mut inspect: impl FnMut(usize, Duration) + Send,
    ) -> Result<Vec<Tensor>, RunError> {
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
        done?;
        self.load_outputs()
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

    fn load_outputs(&mut self) -> Result<Vec<Tensor>, RunError> {
        let missing = |name: &str| RunError::Invalid {
            step: name.to_owned(),
            message: "this output is never computed".to_owned(),
        };
        let mut outputs = Vec::with_capacity(self.plan.outputs.len());
        for port in &self.plan.outputs {
            outputs.push(match &port.place {
                Place::Arena(slot) => {
                    let start = self.plan.offsets[slot.buffer as usize] + slot.offset;
                    load(port.dtype, &port.shape, &self.arena.as_slice()[start..start + slot.len])?
                }
                Place::Value(i) => self.values[*i].as_ref().ok_or_else(|| missing(&port.name))?.to_tensor(),
                Place::Constant(tensor) => tensor.clone().ok_or_else(|| missing(&port.name))?,
            });
        }
        Ok(outputs)
    }
}
