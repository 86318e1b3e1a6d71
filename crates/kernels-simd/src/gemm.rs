//! What the integer GEMM kernels share: the packed layout and the contract of the inner kernel.
//!
//! The right matrix lies in panels of `VECTORS` times `LANES` columns, the last panel as many times `LANES` as it needs:
//! `[panel][k / DEPTH][column][DEPTH]`, zero beyond `k` and beyond the last column. `DEPTH` successive weights of one
//! column thus lie side by side, to be multiplied with as many successive bytes of a left row.

use quantc_kernels::conv::Panels;
use quantc_kernels::{Epilogue, Output, OutputData};

/// Columns of the widest panel of any tier.
pub const MAX_COLUMNS: usize = 64;

/// An inner kernel and the sizes it wants.
pub trait Tier: Send + Sync + 'static {
    /// Name of the convolution.
    const CONV: &'static str;
    /// Name of the matrix multiplication.
    const MATMUL: &'static str;
    /// Successive weights of a column that lie side by side: 4, 8 or 16.
    const DEPTH: usize;
    /// Columns computed together at least, the i32 lanes of a vector.
    const LANES: usize;
    /// Times `LANES`: the columns of a full panel, at most [`MAX_COLUMNS`].
    const VECTORS: usize;
    /// Groups of `DEPTH` that are multiplied at once, at most ([`Panels::lot`]); `LOT * DEPTH` is at most 64.
    const LOT: usize = 1;
    /// Rows that the inner kernel computes together; blocks of rows are multiples of it.
    const ROWS: usize;
    /// Whether the kernel multiplies `a - 128`, not `a`: 128 times the sum of each column's weights is then in what the
    /// accumulators start from.
    const SIGNED: bool;

    /// Whether `DEPTH` weights of a column need [`Panel::wide`].
    fn is_wide(weights: &[i8]) -> bool;

    /// Multiplies all rows of a block with one panel and stores the finished results.
    ///
    /// # Safety
    /// The machine has the tier, and the panel keeps what its fields say.
    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>);
}

/// One block of rows times one panel of columns.
pub struct Panel {
    /// The first left row: `DEPTH * steps` bytes are readable in each of `rows` rows, `a_stride` apart.
    pub a: *const u8,
    /// Bytes between left rows.
    pub a_stride: usize,
    /// Rows.
    pub rows: usize,
    /// Groups of `DEPTH` along K.
    pub steps: usize,
    /// The packed panel of `columns`, rounded up to a multiple of `LANES`.
    pub b: *const u8,
    /// Columns of this panel, 1 to `VECTORS * LANES`.
    pub columns: usize,
    /// Whether some of the weights are wide ([`Tier::is_wide`]).
    pub wide: bool,
    /// What the columns' accumulators start from: `columns` are readable, not always aligned.
    pub offsets: *const i32,
    /// What is added to each row's accumulators, `rows` of them, or null.
    pub row_terms: *const i32,
    /// The output channel of the first column: what indexes the epilogue's slices, which hold all `columns`.
    pub channel: usize,
    /// The first row's index in the epilogue.
    pub row: usize,
    /// The first row's first column in the output (u8 or f32, as the epilogue has it); `columns` are writable in each row.
    pub out: *mut u8,
    /// Elements between output rows.
    pub out_stride: usize,
}

/// An output without its lengths, which have been checked.
#[derive(Clone, Copy)]
pub struct RawOutput {
    data: *mut u8,
    stride: usize,
    element: usize,
}

impl RawOutput {
    /// The output's address, stride and size of elements.
    pub fn new(out: &mut Output<'_>) -> Self {
        let stride = out.stride;
        match &mut out.data {
            OutputData::U8(data) => RawOutput { data: data.as_mut_ptr(), stride, element: 1 },
            OutputData::F32(data) => RawOutput { data: data.as_mut_ptr().cast(), stride, element: size_of::<f32>() },
        }
    }

    /// The address of an element.
    ///
    /// # Safety
    /// The element lies within the output.
    #[inline(always)]
    pub unsafe fn at(&self, row: usize, column: usize) -> *mut u8 {
        // SAFETY: within the output, as the caller promises.
        unsafe { self.data.add((row * self.stride + column) * self.element) }
    }

    /// Elements from one row to the next.
    #[inline(always)]
    pub fn stride(&self) -> usize {
        self.stride
    }
}

/// The form of a tier's packed weights.
pub const fn panels<T: Tier>() -> Panels {
    Panels { lanes: T::LANES, vectors: T::VECTORS, depth: T::DEPTH, lot: T::LOT }
}

/// Where the panels of a `[k][columns]` matrix lie.
#[derive(Clone, Copy)]
pub struct PanelLayout {
    /// Columns of the matrix.
    pub columns: usize,
    /// Groups of `DEPTH` along K.
    pub steps: usize,
    depth: usize,
    lanes: usize,
    width: usize,
}

impl PanelLayout {
    /// The layout that a tier wants.
    pub fn new<T: Tier>(k: usize, columns: usize) -> Self {
        const { assert!(T::LANES * T::VECTORS <= MAX_COLUMNS && matches!(T::DEPTH, 4 | 8 | 16) && T::LOT * T::DEPTH <= 64) };
        let (depth, lanes) = (T::DEPTH, T::LANES);
        PanelLayout { columns, steps: panels::<T>().steps(k), depth, lanes, width: lanes * T::VECTORS }
    }

    /// The number of panels.
    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The first column of a panel.
    pub fn first(&self, panel: usize) -> usize {
        panel * self.width
    }

    /// The number of columns of a panel.
    pub fn count(&self, panel: usize) -> usize {
        self.width.min(self.columns - self.first(panel))
    }

    /// Columns of a panel, rounded up to a multiple of `LANES`.
    pub fn padded(&self, panel: usize) -> usize {
        self.count(panel).next_multiple_of(self.lanes)
    }

    /// The first byte of a panel.
    pub fn offset(&self, panel: usize) -> usize {
        self.first(panel) * self.steps * self.depth
    }

    /// Bytes of all panels.
    ///
    /// # Panics
    /// If they are more than a `usize` counts.
    pub fn bytes(&self) -> usize {
        let columns = self.columns.checked_next_multiple_of(self.lanes);
        let bytes = columns.and_then(|columns| columns.checked_mul(self.steps)?.checked_mul(self.depth));
        bytes.expect("packed length overflows usize")
    }
}
