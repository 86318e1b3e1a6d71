//! What the integer GEMM kernels of the x86-64 tiers share: the packed layout and the contract of the inner kernel.
//!
//! The right matrix lies in panels of `VECTORS` vectors of `LANES` columns, the last panel as many vectors as it needs:
//! `[panel][k / 4][column][4]`, zero beyond `k` and beyond the last column. An i32 lane of a vector thus holds four
//! successive weights of one column, to be multiplied with four successive bytes of a left row, broadcast.

use quantc_kernels::{Epilogue, Output, OutputData};

/// An inner kernel and the sizes it wants.
pub(crate) trait Tier: Send + Sync + 'static {
    /// Name of the convolution.
    const CONV: &'static str;
    /// Name of the matrix multiplication.
    const MATMUL: &'static str;
    /// i32 lanes of a vector.
    const LANES: usize;
    /// Vectors of columns that a full panel has.
    const VECTORS: usize;
    /// Rows that the inner kernel computes together; blocks of rows are multiples of it.
    const ROWS: usize;
    /// Whether the kernel asks for [`Panel::wide`].
    const HAS_NARROW: bool;

    /// Multiplies all rows of a block with one panel and stores the finished results.
    ///
    /// # Safety
    /// The machine has the tier, and the panel keeps what its fields say.
    unsafe fn multiply(panel: &Panel, epilogue: &Epilogue<'_>);
}

/// One block of rows times one panel of columns.
pub(crate) struct Panel {
    /// The first left row: `4 * quads` bytes are readable in each of `rows` rows, `a_stride` apart.
    pub a: *const u8,
    /// Bytes between left rows.
    pub a_stride: usize,
    /// Rows.
    pub rows: usize,
    /// Groups of four along K.
    pub quads: usize,
    /// The packed panel of `columns`, rounded up to whole vectors.
    pub b: *const u8,
    /// Columns of this panel, 1 to `VECTORS * LANES`.
    pub columns: usize,
    /// Whether a pair of products may exceed 16 bits.
    pub wide: bool,
    /// What the columns' accumulators start from: `columns` are readable.
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
pub(crate) struct RawOutput {
    data: *mut u8,
    stride: usize,
    element: usize,
}

impl RawOutput {
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
    pub unsafe fn at(&self, row: usize, column: usize) -> *mut u8 {
        // SAFETY: within the output, as the caller promises.
        unsafe { self.data.add((row * self.stride + column) * self.element) }
    }

    pub fn stride(&self) -> usize {
        self.stride
    }
}

/// Where the panels of a `[k][columns]` matrix lie.
#[derive(Clone, Copy)]
pub(crate) struct PanelLayout {
    pub columns: usize,
    pub quads: usize,
    lanes: usize,
    width: usize,
}

impl PanelLayout {
    pub fn new<T: Tier>(k: usize, columns: usize) -> Self {
        PanelLayout { columns, quads: k.div_ceil(4), lanes: T::LANES, width: T::LANES * T::VECTORS }
    }

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

    /// Columns of a panel, rounded up to whole vectors.
    pub fn padded(&self, panel: usize) -> usize {
        self.count(panel).next_multiple_of(self.lanes)
    }

    /// The first byte of a panel.
    pub fn offset(&self, panel: usize) -> usize {
        self.first(panel) * self.quads * 4
    }

    /// Bytes of all panels.
    pub fn len(&self) -> usize {
        self.columns.next_multiple_of(self.lanes) * self.quads * 4
    }
}
