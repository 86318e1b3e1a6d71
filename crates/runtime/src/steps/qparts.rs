//! An integer layer's weights, whole or cut by output channels so that threads can share a single row.

use std::sync::Arc;

use quantc_kernels::{ConvArgs, ConvGeometry, ConvPlan, Epilogue, Output, PackedWeights, QConv, is_depthwise};

use super::qconv::GRANULE;
use crate::{Arithmetic, Work, Workers};

/// The weights of consecutive output channels.
#[derive(Clone, Debug)]
pub struct QPart {
    /// Tables of the shape.
    pub plan: Arc<ConvPlan>,
    /// Weights.
    pub weights: Arc<PackedWeights>,
}

/// A layer's weights: one part, or several parts of a linear layer over one row.
#[derive(Clone)]
pub struct QWeights {
    /// The kernel that packed them.
    pub kernel: &'static dyn QConv,
    /// Output channels of every part but the last, which may have fewer.
    pub size: usize,
    /// The parts.
    pub parts: Vec<QPart>,
}

/// What a call of [`QWeights::run`] reads besides the weights.
#[derive(Clone, Copy)]
pub(crate) struct QInput<'a> {
    pub(crate) x: &'a [u8],
    pub(crate) x_zero_point: u8,
    /// What the accumulators of all channels start from.
    pub(crate) offsets: &'a [i32],
}

/// The element type of a result.
pub(crate) trait QElement: Sized + Send {
    /// The output that a kernel stores to.
    fn output(data: &mut [Self], stride: usize) -> Output<'_>;
}

impl QElement for u8 {
    fn output(data: &mut [u8], stride: usize) -> Output<'_> {
        Output::u8(data, stride)
    }
}

impl QElement for f32 {
    fn output(data: &mut [f32], stride: usize) -> Output<'_> {
        Output::f32(data, stride)
    }
}

impl QWeights {
    /// Output pixels.
    pub(crate) fn rows(&self) -> usize {
        self.parts.first().map_or(0, |part| part.plan.geometry().rows())
    }

    /// Bytes of scratch each thread needs.
    pub(crate) fn scratch_len(&self) -> usize {
        self.parts.iter().map(|part| self.kernel.scratch_len(&part.plan)).max().unwrap_or(0)
    }

    /// The sizes of the first part.
    pub(crate) fn geometry(&self) -> Option<&ConvGeometry> {
        self.parts.first().map(|part| part.plan.geometry())
    }

    /// The plan, if the kernel holds blocks of rows: a depthwise one does not, and a layer that is cut has one row.
    pub(crate) fn blocked(&self) -> Option<&ConvPlan> {
        let [part] = &self.parts[..] else { return None };
        let geometry = part.plan.geometry();
        (geometry.rows() > 1 && !is_depthwise(&geometry.weight_shape())).then_some(&part.plan)
    }

    /// The work with these weights besides: of each output channel a scale and an offset are read, too.
    pub(crate) fn work(&self, work: Work) -> Work {
        let macs = self.parts.iter().map(|part| part.plan.geometry().macs()).sum();
        let channels: usize = self.parts.iter().map(|part| part.weights.shape().oc).sum();
        let packed: usize = self.parts.iter().map(|part| part.weights.data().len()).sum();
        let bytes = packed + channels * (size_of::<f32>() + size_of::<i32>());
        Work { constants: work.constants + bytes as u64, ..work }.multiplying(Arithmetic::Int8, macs)
    }

    /// What the accumulators start from, for a zero point known only now (see [`PackedWeights::offsets`]).
    pub fn offsets(&self, x_zero_point: u8, offsets: &mut [i32]) {
        for (part, offsets) in self.parts.iter().zip(offsets.chunks_mut(self.size.max(1))) {
            part.weights.offsets(None, x_zero_point, offsets);
        }
    }

    /// Computes all rows into `out`, `stride` elements apart; `epilogue` gives that of the rows from a row on.
    pub(crate) fn run<'e, T: QElement>(
        &self,
        workers: &mut Workers<'_>,
        input: QInput<'_>,
        epilogue: impl Fn(usize) -> Epilogue<'e> + Sync,
        out: &mut [T],
        stride: usize,
    ) {
        let Some(shape) = self.geometry().map(ConvGeometry::weight_shape) else { return };
        let cost = shape.len() / 16 + shape.oc;
        let run = |index: usize,
                   rows: std::ops::Range<usize>,
                   epilogue: &Epilogue<'_>,
                   out: Output<'_>,
                   scratch: &mut [u8]| {
            let (part, QInput { x, x_zero_point, offsets }) = (&self.parts[index], input);
            let offsets = &offsets[index * self.size..];
            let args = ConvArgs { plan: &part.plan, weights: &part.weights, x, x_zero_point, offsets, epilogue };
            self.kernel.run(&args, rows, out, scratch);
        };
        if self.parts.len() == 1 {
            workers.rows(self.rows(), GRANULE, cost, out, stride, |rows, out, scratch| {
                run(0, rows.clone(), &epilogue(rows.start), T::output(out, stride), scratch);
            });
            return;
        }
        // One row: its parts lie one after another.
        workers.rows(self.parts.len(), 1, cost, out, self.size, |parts, out, scratch| {
            for (index, out) in parts.zip(out.chunks_mut(self.size)) {
                let (epilogue, len) = (epilogue(0).from_channel(index * self.size), out.len());
                run(index, 0..1, &epilogue, T::output(out, len), scratch);
            }
        });
    }
}
