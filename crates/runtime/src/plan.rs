//! The compiled plan: steps in order over the buffers of one arena.

use std::fmt;
use std::ops::Range;

use quantc_kernels::conv::AlignedBytes;
use quantc_kernels::{ConvPlan, SLACK};
use quantc_tensor::{DType, Shape, Tensor, TensorType, Value};
use serde::Serialize;

use crate::arena::{ALIGN, Slot, split};
use crate::parallel::Workers;
use crate::{Reads, RunError, Work};

/// How a step uses a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Written; what was there before is not looked at. Also a step's temporary memory.
    Write,
    /// Read and overwritten in place.
    Update,
}

/// What a running step works on.
pub struct StepCx<'a> {
    pub(crate) arena: &'a mut [u8],
    pub(crate) offsets: &'a [usize],
    pub(crate) workers: &'a mut [AlignedBytes],
    /// Set when work is shared between threads.
    pub(crate) shared: &'a mut bool,
    pub(crate) values: &'a mut [Option<Value>],
}

impl StepCx<'_> {
    /// What may be read, the slots written in the order given, and the threads.
    ///
    /// # Panics
    /// If the slots overlap, which [`Plan::new`] rules out.
    pub fn split<const W: usize>(&mut self, writes: [&Slot; W]) -> (Reads<'_>, [&mut [u8]; W], Workers<'_>) {
        let (reads, outs) = split(self.arena, self.offsets, writes);
        (reads, outs, Workers { scratch: self.workers, shared: self.shared })
    }

    /// Whether two slots are the same bytes.
    pub(crate) fn same(&self, a: &Slot, b: &Slot) -> bool {
        let start = |slot: &Slot| self.offsets[slot.buffer as usize] + slot.offset;
        start(a) == start(b) && a.len == b.len
    }
}

/// One call of a kernel, with everything it needs but the memory.
pub trait Step: Send + Sync {
    /// The kernel's name, its ISA tier after the last dot; `reference` for reference evaluation.
    fn kernel(&self) -> &'static str;

    /// Calls `visit` for every slot the step uses. The planner keeps the memory of slots in use apart.
    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot));

    /// Calls `visit(operand, result)` for every operand in whose memory the result may lie: it is as long, and the step reads no byte of it
    /// after writing there. The planner lets the two be one where nothing reads the operand later.
    fn visit_reusable(&self, _visit: &mut dyn FnMut(&Slot, &Slot)) {}

    /// Bytes of scratch each thread needs.
    fn scratch_len(&self) -> usize {
        0
    }

    /// The integer layer that the step computes, if its speed depends on a blocking (see [`quantc_kernels::Blocking`]).
    fn blocked(&self) -> Option<&ConvPlan> {
        None
    }

    /// What the step computes and reads besides the slots it visits, for reports.
    fn work(&self) -> Work {
        Work::default()
    }

    /// Runs the step.
    ///
    /// # Errors
    /// Steps whose success depends on the data (reference evaluation, indexing) may fail.
    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError>;
}

/// What a report says about a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepInfo {
    /// The graph's node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The kernel that runs.
    pub kernel: String,
    /// The kernel's ISA tier; `portable` where there is one version for all.
    pub tier: String,
    /// Memory order of the result: `nhwc`, `nchw`, `row-major`, ...
    pub layout: String,
    /// The type of the result.
    pub output: String,
    /// The types of the inputs.
    pub inputs: Vec<String>,
}

impl StepInfo {
    /// Whether the step runs by reference evaluation for want of a kernel.
    pub fn is_reference(&self) -> bool {
        self.kernel == REFERENCE
    }
}

/// The kernel name of steps that run by reference evaluation.
pub const REFERENCE: &str = "reference";

/// A step and what it is.
pub struct PlannedStep {
    /// For reports.
    pub info: StepInfo,
    /// The call.
    pub step: Box<dyn Step>,
}

/// Where a buffer lies in the arena, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// First byte, a multiple of [`ALIGN`].
    pub offset: usize,
    /// Length, without the slack that follows it.
    pub len: usize,
}

/// Where an input is stored or an output found.
#[derive(Clone, Debug)]
pub enum Place {
    /// Contiguous in the arena, row-major. i8 values are stored as `q + 128`.
    Arena(Slot),
    /// A constant (output), or not used at all (input).
    Constant(Option<Tensor>),
    /// A value outside the arena.
    Value(usize),
}

/// An input or output of a plan.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Where it is.
    pub place: Place,
}

impl Port {
    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, Shape::known(&self.shape))
    }
}

/// Memory a plan uses, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Size of the arena.
    pub arena: usize,
    /// Most bytes alive at one step: no placement can do with less.
    pub lower_bound: usize,
    /// Sum of all buffers: what no reuse at all would need.
    pub total: usize,
}

/// A compiled plan for fixed input shapes. It holds no state of a run, so any number of executors share one.
pub struct Plan {
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) offsets: Vec<usize>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) values: usize,
    pub(crate) scratch: usize,
    pub(crate) memory: MemoryReport,
}

impl Plan {
    /// A plan of steps in execution order, buffers placed in an arena of `memory.arena` bytes, and `values` values outside it.
    ///
    /// # Errors
    /// If a slot leaves its buffer, a buffer the arena, or a step writes what it also reads otherwise than by
    /// [`Access::Update`] or [in place](Step::visit_reusable).
    pub fn new(
        steps: Vec<PlannedStep>,
        placements: &[Placement],
        inputs: Vec<Port>,
        outputs: Vec<Port>,
        values: usize,
        memory: MemoryReport,
    ) -> Result<Plan, RunError> {
        for planned in &steps {
            validate(planned, placements, memory.arena)?;
        }
        for port in inputs.iter().chain(&outputs) {
            if let Place::Arena(slot) = &port.place {
                let bytes = port.shape.iter().product::<usize>() * port.dtype.size();
                range(slot, placements, memory.arena)
                    .filter(|r| r.len() == bytes)
                    .ok_or_else(|| invalid(&port.name, "its slot does not fit its type or the arena"))?;
            }
        }
        // A multiple of every element's size: a step may see more than it asked for, as elements of its own.
        let scratch = steps.iter().map(|s| s.step.scratch_len()).max().unwrap_or(0).next_multiple_of(ALIGN);
        let offsets = placements.iter().map(|p| p.offset).collect();
        Ok(Plan { steps, offsets, inputs, outputs, values, scratch, memory })
    }

    /// What each step runs, in execution order.
    pub fn describe(&self) -> impl Iterator<Item = &StepInfo> {
        self.steps.iter().map(|s| &s.info)
    }

    /// The integer layer of each step whose speed depends on a blocking, in execution order.
    pub fn blocked(&self) -> impl Iterator<Item = Option<&ConvPlan>> {
        self.steps.iter().map(|s| s.step.blocked())
    }

    /// The bytes of the arena that a slot of this plan takes.
    ///
    /// # Panics
    /// If the slot is of another plan.
    pub fn range(&self, slot: &Slot) -> Range<usize> {
        let start = self.offsets[slot.buffer as usize] + slot.offset;
        start..start + slot.len
    }

    /// The memory each step uses, in execution order: how, and which bytes of the arena.
    pub fn memory_use(&self) -> impl Iterator<Item = Vec<(Access, Range<usize>)>> {
        self.steps.iter().map(|planned| {
            let mut used = Vec::new();
            planned.step.visit(&mut |access, slot| used.push((access, self.range(slot))));
            used
        })
    }

    /// The inputs, in the graph's order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in the graph's order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Memory the plan uses, without weights and without scratch.
    pub fn memory(&self) -> MemoryReport {
        self.memory
    }

    /// Bytes of scratch of each thread.
    pub fn scratch_len(&self) -> usize {
        self.scratch
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("steps", &self.steps.iter().map(|s| &s.info).collect::<Vec<_>>())
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

fn invalid(step: &str, message: &str) -> RunError {
    RunError::Invalid { step: step.to_owned(), message: message.to_owned() }
}

/// The bytes of a slot in the arena; `None` if it leaves its buffer or the arena.
fn range(slot: &Slot, placements: &[Placement], arena: usize) -> Option<Range<usize>> {
    let buffer = placements.get(slot.buffer as usize)?;
    let end = slot.offset.checked_add(slot.len)?;
    let fits = end <= buffer.len && buffer.offset % ALIGN == 0 && buffer.offset + buffer.len + SLACK <= arena;
    fits.then(|| buffer.offset + slot.offset..buffer.offset + end)
}

fn validate(planned: &PlannedStep, placements: &[Placement], arena: usize) -> Result<(), RunError> {
    let fail = |message: &str| invalid(&planned.info.node, message);
    let (mut reads, mut writes, mut outside) = (Vec::new(), Vec::new(), false);
    // Operands that lie where the result does, which the step has said to be right.
    let mut reused: Vec<Slot> = Vec::new();
    planned.step.visit_reusable(&mut |operand, result| {
        if range(operand, placements, arena) == range(result, placements, arena) {
            reused.push(*operand);
        }
    });
    planned.step.visit(&mut |access, slot| match range(slot, placements, arena) {
        None => outside = true,
        Some(_) if access == Access::Read && reused.first() == Some(slot) => {
            reused.remove(0);
        }
        Some(range) if access == Access::Read => reads.push(range.start..range.end + SLACK),
        Some(range) => writes.push(range),
    });
    if outside {
        return Err(fail("a slot leaves its buffer"));
    }
    let disjoint =
        |a: &Range<usize>, b: &Range<usize>| a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start;
    for (i, write) in writes.iter().enumerate() {
        if reads.iter().any(|read| !disjoint(write, read)) {
            return Err(fail("it writes what it reads"));
        }
        if writes[..i].iter().any(|other| !disjoint(write, other)) {
            return Err(fail("it writes one place twice"));
        }
    }
    Ok(())
}
