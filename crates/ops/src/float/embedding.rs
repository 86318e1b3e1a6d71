//! Rows of embedding tables, added up in bags. Reference evaluation and compiled plans call the same functions.

use std::ops::Range;

/// A table `[rows, columns]`.
#[derive(Clone, Copy, Debug)]
pub enum Table<'a> {
    /// Of f32.
    Float(&'a [f32]),
    /// Of unsigned codes with a scale and a float zero point for each row: `(f32(q) - zero_point) * scale`
    /// (torch.per_channel_affine_float_qparams).
    Codes {
        /// 8, or 4: two codes in a byte, the first in the lower half; a row starts with a byte.
        bits: CodeBits,
        /// Bytes of the rows.
        codes: &'a [u8],
        /// Of each row.
        scales: &'a [f32],
        /// Of each row.
        zero_points: &'a [f32],
    },
}

/// How wide the codes of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeBits {
    /// A byte (PyTorch `quint8`).
    Eight,
    /// Half a byte (PyTorch `quint4x2`).
    Four,
}

impl CodeBits {
    /// The width of that many bits.
    pub fn of(bits: i64) -> Option<CodeBits> {
        match bits {
            8 => Some(CodeBits::Eight),
            4 => Some(CodeBits::Four),
            _ => None,
        }
    }

    /// Bytes of a row of so many codes.
    pub fn row_bytes(self, columns: usize) -> usize {
        match self {
            CodeBits::Eight => columns,
            CodeBits::Four => columns.div_ceil(2),
        }
    }

    /// The code at an index of a row.
    #[inline(always)]
    fn code(self, row: &[u8], i: usize) -> u8 {
        match self {
            CodeBits::Eight => row[i],
            CodeBits::Four => (row[i / 2] >> (i % 2 * 4)) & 15,
        }
    }

    /// Packs the codes of rows of `columns`.
    pub fn pack(self, codes: &[u8], columns: usize) -> Vec<u8> {
        match self {
            CodeBits::Eight => codes.to_vec(),
            CodeBits::Four => codes
                .chunks(columns.max(1))
                .flat_map(|row| row.chunks(2).map(|pair| pair[0] | pair.get(1).copied().unwrap_or(0) << 4))
                .collect(),
        }
    }
}

/// How the rows of a bag become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BagMode {
    /// Their sum, in order, from 0.
    Sum,
    /// The sum divided by their number.
    Mean,
    /// The largest of each column.
    Max,
}

impl Table<'_> {
    /// Calls `f(element of out, value)` for a row.
    #[inline(always)]
    fn each(&self, row: usize, out: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let columns = out.len();
        match *self {
            Table::Float(data) => {
                for (out, v) in out.iter_mut().zip(&data[row * columns..][..columns]) {
                    *out = f(*out, *v);
                }
            }
            Table::Codes { bits, codes, scales, zero_points } => {
                let (scale, zero_point) = (scales[row], zero_points[row]);
                let bytes = bits.row_bytes(columns);
                let codes = &codes[row * bytes..][..bytes];
                let mut each = |code: fn(&[u8], usize) -> u8| {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(*out, (f32::from(code(codes, i)) - zero_point) * scale);
                    }
                };
                match bits {
                    CodeBits::Eight => each(|row, i| CodeBits::Eight.code(row, i)),
                    CodeBits::Four => each(|row, i| CodeBits::Four.code(row, i)),
                }
            }
        }
    }

    /// The values of a row.
    pub fn copy(&self, row: usize, out: &mut [f32]) {
        self.each(row, out, |_, v| v);
    }

    /// One bag: the rows at these places of the indices, `row(place)` giving the row or `None` where it does not count, `weight(place)` its
    /// factor. An empty bag is 0.
    pub fn bag(
        &self,
        mode: BagMode,
        places: Range<usize>,
        row: impl Fn(usize) -> Option<usize>,
        weight: impl Fn(usize) -> Option<f32>,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        let mut count = 0u32;
        for place in places {
            let Some(row) = row(place) else { continue };
            match (mode, weight(place)) {
                (BagMode::Max, _) if count == 0 => self.copy(row, out),
                (BagMode::Max, _) => self.each(row, out, |out, v| if v > out || v.is_nan() { v } else { out }),
                (_, None) => self.each(row, out, |out, v| out + v),
                (_, Some(w)) => self.each(row, out, |out, v| out + w * v),
            }
            count += 1;
        }
        if mode == BagMode::Mean && count > 0 {
            out.iter_mut().for_each(|v| *v /= count as f32);
        }
    }
}
