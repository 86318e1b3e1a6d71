//! Operands seen as rows of elements: how elementwise kernels express strides and broadcasting.

use std::ops::Range;

/// Where row `index` starts, where each starts `stride` elements after the one before.
///
/// # Panics
/// If that is no `usize`: release builds would wrap around, and read another row.
#[inline(always)]
pub fn row_start(index: usize, stride: usize) -> usize {
    index.checked_mul(stride).expect("row offset overflows usize")
}

/// Elements from the start of the first of `rows` rows (1 at least) to the end of the last one's `columns`.
///
/// # Panics
/// If that is no `usize`: kernels that go on with pointers would otherwise trust a length that wrapped around.
#[inline(always)]
pub fn span(rows: usize, stride: usize, columns: usize) -> usize {
    (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(columns)).expect("row span overflows usize")
}

/// What a row-wise kernel reads. Row `r` of the result reads this operand's row `r / repeat`.
///
/// | operand, for a result `[N, HW, C]` seen as `N * HW` rows of `C` | constructor |
/// |---|---|
/// | `[N, HW, C]` | [`Operand::rows`] |
/// | `[C]` | [`Operand::vector`] |
/// | `[N, 1, C]` | [`Operand::repeated`] with `repeat = HW` |
/// | `[N, HW, 1]` | [`Operand::rows`] with stride 1, then [`Operand::splat`] |
/// | one element | [`Operand::scalar`] |
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a, T> {
    data: &'a [T],
    stride: usize,
    repeat: usize,
    splat: bool,
}

impl<'a, T> Operand<'a, T> {
    /// One row for each row of the result, `stride` elements apart.
    pub fn rows(data: &'a [T], stride: usize) -> Self {
        Operand { data, stride, repeat: 1, splat: false }
    }

    /// One row for all rows of the result.
    pub fn vector(data: &'a [T]) -> Self {
        Operand { data, stride: 0, repeat: 1, splat: false }
    }

    /// Rows `stride` elements apart, each read by `repeat` consecutive rows of the result (0 counts as 1).
    pub fn repeated(data: &'a [T], stride: usize, repeat: usize) -> Self {
        Operand { data, stride, repeat: repeat.max(1), splat: false }
    }

    /// The first element of `data` for every element of the result.
    pub fn scalar(data: &'a [T]) -> Self {
        Operand { data, stride: 0, repeat: 1, splat: true }
    }

    /// The same rows, but of one element each, which every column reads.
    pub fn splat(self) -> Self {
        Operand { splat: true, ..self }
    }

    /// Whether a row is one element that every column reads.
    #[inline(always)]
    pub fn is_splat(&self) -> bool {
        self.splat
    }

    /// The elements read by row `row` of a result with `columns` columns: `columns` of them, or one if splat.
    ///
    /// # Panics
    /// If the operand is too short.
    #[inline(always)]
    pub fn row(&self, row: usize, columns: usize) -> &'a [T] {
        let index = if self.repeat == 1 { row } else { row / self.repeat };
        &self.data[row_start(index, self.stride)..][..if self.splat { 1 } else { columns }]
    }

    /// Whether consecutive rows of a result with `columns` columns are consecutive here too (or all one element).
    #[inline(always)]
    fn is_block(&self, columns: usize) -> bool {
        if self.splat { self.stride == 0 } else { self.repeat == 1 && self.stride == columns }
    }
}

/// What a row-wise kernel writes: the rows of the call, `stride` elements apart.
#[derive(Debug)]
pub struct RowsMut<'a, T> {
    data: &'a mut [T],
    stride: usize,
}

impl<'a, T> RowsMut<'a, T> {
    /// Rows `stride` elements apart; `data` starts at the first row of the call.
    pub fn new(data: &'a mut [T], stride: usize) -> Self {
        RowsMut { data, stride }
    }

    /// Row `index`, counted from the first row of the call.
    ///
    /// # Panics
    /// If the output is too short.
    #[inline(always)]
    pub fn row(&mut self, index: usize, columns: usize) -> &mut [T] {
        &mut self.data[row_start(index, self.stride)..][..columns]
    }

    /// The memory of `count` rows (1 at least) from row `index` on, ending with the last one's `columns` elements, and
    /// the elements from one row to the next: for kernels that check once and then write through pointers.
    ///
    /// # Panics
    /// If the output is too short.
    #[inline(always)]
    pub fn rows_from(&mut self, index: usize, count: usize, columns: usize) -> (&mut [T], usize) {
        let len = span(count, self.stride, columns);
        (&mut self.data[row_start(index, self.stride)..][..len], self.stride)
    }
}

/// Calls `f(x, out)` for each row, or once for all rows where they lie one after another.
///
/// `f` is called in one place only, so that it is inlined however large: a tier compiles it with its instructions.
///
/// # Panics
/// If an operand or the output is too short.
#[inline(always)]
pub fn for_each_row<T, U>(
    rows: Range<usize>,
    columns: usize,
    x: Operand<'_, T>,
    mut out: RowsMut<'_, U>,
    mut f: impl FnMut(&[T], &mut [U]),
) {
    let merged = x.is_block(columns) && out.stride == columns;
    let (count, len) = if merged { (1, row_start(rows.len(), columns)) } else { (rows.len(), columns) };
    for index in 0..count {
        f(x.row(rows.start + index, len), out.row(index, len));
    }
}

/// Calls `f(a, b, out)` for each row, or once for all rows where they lie one after another.
///
/// `f` is called in one place only, as in [`for_each_row`].
///
/// # Panics
/// If an operand or the output is too short.
#[inline(always)]
pub fn for_each_row_pair<T, U>(
    rows: Range<usize>,
    columns: usize,
    a: Operand<'_, T>,
    b: Operand<'_, T>,
    mut out: RowsMut<'_, U>,
    mut f: impl FnMut(&[T], &[T], &mut [U]),
) {
    let merged = a.is_block(columns) && b.is_block(columns) && out.stride == columns;
    let (count, len) = if merged { (1, row_start(rows.len(), columns)) } else { (rows.len(), columns) };
    for index in 0..count {
        let row = rows.start + index;
        f(a.row(row, len), b.row(row, len), out.row(index, len));
    }
}

/// `out[i] = f(x[i])`, where an `x` of one element serves all.
#[inline(always)]
pub fn map<T: Copy, U: Copy>(x: &[T], out: &mut [U], f: impl Fn(T) -> U) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = f(x);
    }
    if x.len() == 1
        && let Some((&mut first, rest)) = out.split_first_mut()
    {
        rest.fill(first);
    }
}

/// `out[i] = f(a[i], b[i])`, where an operand of one element serves all.
#[inline(always)]
pub fn zip_map<T: Copy, U>(a: &[T], b: &[T], out: &mut [U], f: impl Fn(T, T) -> U) {
    // An element that serves all is repeated, so that there is one loop and one place where `f` is inlined.
    const BLOCK: usize = 64;
    let (&[first_a, ..], &[first_b, ..]) = (a, b) else { return };
    let (all_a, all_b) = ([first_a; BLOCK], [first_b; BLOCK]);
    for (i, out) in out.chunks_mut(BLOCK).enumerate() {
        let here = i * BLOCK..i * BLOCK + out.len();
        let a = if a.len() == 1 { &all_a[..out.len()] } else { &a[here.clone()] };
        let b = if b.len() == 1 { &all_b[..out.len()] } else { &b[here] };
        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *o = f(a, b);
        }
    }
}
