//! Rows selected by indices known when the plan runs: embeddings.

use quantc_tensor::DType;

use crate::{Access, RunError, Slot, Source, Step, StepCx, Work};

/// `out[i] = table[indices[i]]`; negative indices count from the end.
pub struct GatherStep {
    /// The node, for errors.
    pub node: String,
    /// Rows of the table.
    pub rows: usize,
    /// Bytes of one row.
    pub row: usize,
    /// The table.
    pub table: Source,
    /// i64 or i32.
    pub indices: Source,
    /// Which of the two.
    pub index_dtype: DType,
    /// Result.
    pub out: Slot,
}

impl Step for GatherStep {
    fn kernel(&self) -> &'static str {
        "gather"
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        for slot in [self.table.slot(), self.indices.slot()].into_iter().flatten() {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        // The rows selected are as many bytes as the result.
        let rows = Work::reading([&self.table]).constants.min(self.out.len as u64);
        Work { constants: rows + Work::reading([&self.indices]).constants, ..Work::default() }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], _) = cx.split([&self.out]);
        let table: &[u8] = reads.elements(&self.table);
        let mut copy = |i: usize, index: i64| {
            let at = if index < 0 { index.saturating_add(self.rows as i64) } else { index };
            let at = usize::try_from(at).ok().filter(|&at| at < self.rows);
            let at = at.ok_or_else(|| RunError::Index { node: self.node.clone(), index, len: self.rows })?;
            out[i * self.row..][..self.row].copy_from_slice(&table[at * self.row..][..self.row]);
            Ok(())
        };
        if self.index_dtype == DType::I32 {
            reads.elements::<i32>(&self.indices).iter().enumerate().try_for_each(|(i, &v)| copy(i, i64::from(v)))
        } else {
            reads.elements::<i64>(&self.indices).iter().enumerate().try_for_each(|(i, &v)| copy(i, v))
        }
    }
}
