//! Rows of embedding tables, alone or in bags, by indices known when the plan runs.

use quantc_ops::float::embedding::{BagMode, CodeBits, Table};
use quantc_tensor::DType;

use crate::{Access, Reads, RunError, Slot, Source, Step, StepCx, Work};

/// Where a table is.
pub enum TableSource {
    /// f32.
    Float(Source),
    /// Codes with a scale and a zero point, both f32, for each row.
    Codes {
        /// How wide a code is.
        bits: CodeBits,
        /// The rows' bytes.
        codes: Source,
        /// Of each row.
        scales: Source,
        /// Of each row.
        zero_points: Source,
    },
}

impl TableSource {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let all = match self {
            TableSource::Float(data) => [Some(data), None, None],
            TableSource::Codes { codes, scales, zero_points, .. } => [Some(codes), Some(scales), Some(zero_points)],
        };
        all.into_iter().flatten()
    }

    fn table<'a>(&'a self, reads: &Reads<'a>) -> Table<'a> {
        match self {
            TableSource::Float(data) => Table::Float(reads.elements(data)),
            TableSource::Codes { bits, codes, scales, zero_points } => Table::Codes {
                bits: *bits,
                codes: reads.elements(codes),
                scales: reads.elements(scales),
                zero_points: reads.elements(zero_points),
            },
        }
    }
}

/// Integers of either index type.
pub struct Indices {
    /// Where.
    pub source: Source,
    /// i64 or i32.
    pub dtype: DType,
    /// How many.
    pub len: usize,
}

impl Indices {
    /// Reads one.
    fn get<'a>(&'a self, reads: &Reads<'a>) -> impl Fn(usize) -> i64 + use<'a> {
        let (narrow, wide): (&[i32], &[i64]) = if self.dtype == DType::I32 {
            (&reads.elements::<i32>(&self.source)[..self.len], &[])
        } else {
            (&[], &reads.elements::<i64>(&self.source)[..self.len])
        };
        move |i| if narrow.is_empty() { wide[i] } else { i64::from(narrow[i]) }
    }
}

/// How the indices are parted into bags.
pub enum BagPlaces {
    /// One index each: rows are copied. Negative indices count from the end.
    Single,
    /// So many indices each.
    Equal(usize),
    /// From offset to offset; the last bag ends with the indices, or (`include_last`) with an offset of its own.
    Offsets {
        /// The offsets.
        offsets: Indices,
        /// Whether the last is the number of indices.
        include_last: bool,
    },
}

/// Bags of a table's rows: `[bags, columns]`.
pub struct EmbeddingStep {
    /// The node, for errors.
    pub node: String,
    /// The table.
    pub table: TableSource,
    /// Rows of the table.
    pub rows: usize,
    /// Columns of the table.
    pub columns: usize,
    /// What is picked.
    pub indices: Indices,
    /// In which bags.
    pub places: BagPlaces,
    /// What becomes of a bag.
    pub mode: BagMode,
    /// A factor of each index.
    pub weights: Option<Source>,
    /// A row that does not count.
    pub padding: Option<usize>,
    /// Number of bags.
    pub bags: usize,
    /// Result.
    pub out: Slot,
}

impl EmbeddingStep {
    /// Where bag `b` starts; for the number of bags, where the last one ends. `offset` reads the offsets, if there are any.
    fn start(&self, offset: Option<&impl Fn(usize) -> i64>, b: usize) -> i64 {
        match (&self.places, offset) {
            (BagPlaces::Equal(size), _) => (b * size) as i64,
            (BagPlaces::Offsets { include_last, .. }, Some(offset)) if b < self.bags || *include_last => offset(b),
            (BagPlaces::Offsets { .. }, _) => self.indices.len as i64,
            (BagPlaces::Single, _) => b as i64,
        }
    }

    /// The row that an index names.
    fn row(&self, index: i64) -> Option<usize> {
        let single = matches!(self.places, BagPlaces::Single);
        let at = if index < 0 && single { index.saturating_add(self.rows as i64) } else { index };
        usize::try_from(at).ok().filter(|&at| at < self.rows)
    }
}

impl Step for EmbeddingStep {
    fn kernel(&self) -> &'static str {
        match &self.table {
            TableSource::Float(_) => "embedding",
            TableSource::Codes { bits: CodeBits::Eight, .. } => "embedding.u8",
            TableSource::Codes { bits: CodeBits::Four, .. } => "embedding.u4",
        }
    }

    fn visit(&self, visit: &mut dyn FnMut(Access, &Slot)) {
        let offsets = match &self.places {
            BagPlaces::Offsets { offsets, .. } => Some(&offsets.source),
            _ => None,
        };
        let all = self.table.sources().chain([&self.indices.source]).chain(offsets).chain(&self.weights);
        for slot in all.filter_map(Source::slot) {
            visit(Access::Read, slot);
        }
        visit(Access::Write, &self.out);
    }

    fn work(&self) -> Work {
        // Of the table the rows picked are read, at most all.
        let table = Work::reading(self.table.sources()).constants;
        let row = table.checked_div(self.rows as u64).unwrap_or(0);
        let read = Work::reading([&self.indices.source].into_iter().chain(&self.weights)).constants;
        Work { constants: table.min(row * self.indices.len as u64) + read, ..Work::default() }
    }

    fn run(&self, cx: &mut StepCx<'_>) -> Result<(), RunError> {
        let (reads, [out], mut workers) = cx.split([&self.out]);
        let (table, index) = (self.table.table(&reads), self.indices.get(&reads));
        let offset = match &self.places {
            BagPlaces::Offsets { offsets, .. } => Some(offsets.get(&reads)),
            _ => None,
        };
        let start = |b: usize| self.start(offset.as_ref(), b);
        for place in 0..self.indices.len {
            let at = index(place);
            if self.row(at).is_none() {
                return Err(RunError::Index { node: self.node.clone(), index: at, len: self.rows });
            }
        }
        let mut before = 0;
        for b in 0..=self.bags {
            let at = start(b);
            if at < before || at > self.indices.len as i64 || (b == 0 && at != 0 && self.bags > 0) {
                return Err(RunError::Index { node: self.node.clone(), index: at, len: self.indices.len });
            }
            before = at;
        }
        let weights = self.weights.as_ref().map(|w| reads.elements::<f32>(w));
        let picked = |place: usize| self.row(index(place)).filter(|row| Some(*row) != self.padding);
        let cost = self.columns * self.indices.len.div_ceil(self.bags.max(1)).max(1);
        let (columns, out) = (self.columns, bytemuck::cast_slice_mut::<u8, f32>(out));
        if matches!(self.places, BagPlaces::Single) {
            workers.rows(self.bags, 1, cost, out, columns, |places, out, _| {
                for (place, out) in places.zip(out.chunks_mut(columns)) {
                    table.copy(self.row(index(place)).unwrap_or_default(), out);
                }
            });
            return Ok(());
        }
        workers.rows(self.bags, 1, cost, out, columns, |bags, out, _| {
            for (b, out) in bags.zip(out.chunks_mut(columns)) {
                let places = start(b) as usize..start(b + 1) as usize;
                table.bag(self.mode, places, picked, |place| weights.map(|w| w[place]), out);
            }
        });
        Ok(())
    }
}
