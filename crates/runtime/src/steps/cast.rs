//! Conversions between element types.

use bytemuck::Pod;
use quantc_tensor::{DType, f16};

use crate::{Access, RunError, Slot, Source, Step, StepCx};

/// Converts every element, as `quantc_tensor::Tensor::cast` does.
pub struct CastStep {
    from: DType,
    to: DType,
    x: Source,
    out: Slot,
}

impl CastStep {
    /// The conversion of a contiguous tensor; `None` if there is none between these types.
    pub fn new(from: DType, to: DType, x: Source, out: Slot) -> Option<CastStep> {
        use DType::{Bool, F16, F32, I32, I64, U8};
        let known = matches!((from, to), (I64 | I32 | U8 | Bool | F16, F32) | (I64, I32) | (I32, I64) | (F32, F16));
        known.then_some(CastStep { from, to, x, out })
    }
}

fn each<T: Pod, U: Pod>(x: &[T], out: &mut [u8], f: impl Fn(T) -> U) {
    let out: &mut [U] = bytemuck::cast_slice_mut(out);
    out.iter_mut().zip(x).for_each(|(o, &v)| *o = f(v));
}

impl Step for CastStep {
    fn kernel(&self) -> &'static str {
        "cast"
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        if let Some(slot) = self.x.slot() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], _) = cx.split([&self.out]);
        let x = &self.x;
        match (self.from, self.to) {
            // Through f64, as the definition has it: two roundings above 2^53.
            (DType::I64, DType::F32) => each(reads.elements(x), out, |v: i64| v as f64 as f32),
            (DType::F16, DType::F32) => each(reads.elements(x), out, f16::to_f32),
            (DType::F32, _) => each(reads.elements(x), out, f16::from_f32),
            (DType::I32, DType::F32) => each(reads.elements(x), out, |v: i32| v as f32),
            (DType::I64, _) => each(reads.elements(x), out, |v: i64| v as i32),
            (DType::I32, _) => each(reads.elements(x), out, |v: i32| i64::from(v)),
            _ => each(reads.elements(x), out, |v: u8| f32::from(v)),
        }
        Ok(())
    }
}
