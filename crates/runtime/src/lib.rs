//! The compiled plan, memory arena, thread pool and executor; knows no IR.
#![forbid(unsafe_code)]

mod arena;
mod error;
mod executor;
mod parallel;
mod plan;
pub mod steps;
mod storage;
mod work;

use quantc_kernels::{Isa, Kernels};

pub use arena::{ALIGN, Constant, MAX_WRITES, Reads, Slot, Source};
pub use error::RunError;
pub use executor::{Executor, Threads};
pub use parallel::Workers;
pub use plan::{Access, MemoryReport, Place, Placement, Plan, PlannedStep, Port, REFERENCE, Step, StepCx, StepInfo};
pub use storage::{load, load_into, store};
pub use work::{Arithmetic, StepWork, Work};

/// The best kernels of the tiers up to `isa` that this machine can run.
pub fn kernels(isa: Isa) -> Kernels {
    let mut kernels = Kernels::PORTABLE;
    quantc_kernels_x86::register(isa, &mut kernels);
    quantc_kernels_arm::register(isa, &mut kernels);
    kernels
}
