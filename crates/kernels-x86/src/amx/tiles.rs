//! The tile registers: their configuration and the instructions that the inner kernel is made of (Intel SDM volume 2, `LDTILECFG`,
//! `TILELOADD`, `TDPBUSD`). The compiler has no use of its own for tiles, so what one instruction leaves in them the next one finds.
//!
//! Sums are in tiles 0 to 3, left rows in 4 and 5, right columns in 6 and 7.

use std::arch::asm;

/// Rows of a tile, and groups of four along K of one multiplication.
pub(super) const ROWS: usize = 16;
/// Columns of a tile of sums.
pub(super) const COLUMNS: usize = 16;

/// What `LDTILECFG` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Configures tiles for `rows` left rows (1 to 16) and `quads` groups of four along K (1 to 16).
///
/// # Safety
/// The machine has AMX-INT8 and lets the process use tiles.
pub(super) unsafe fn configure(rows: usize, quads: usize) {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    for tile in 0..4 {
        (config.rows[tile], config.row_bytes[tile]) = (rows as u8, 64);
    }
    for tile in 4..6 {
        (config.rows[tile], config.row_bytes[tile]) = (rows as u8, 4 * quads as u16);
    }
    for tile in 6..8 {
        (config.rows[tile], config.row_bytes[tile]) = (quads as u8, 64);
    }
    // SAFETY: the instruction reads 64 bytes; the caller vouches for the machine.
    unsafe { asm!("ldtilecfg [{config}]", config = in(reg) &raw const config, options(nostack, readonly)) }
}

/// Gives the tiles back, so that the system need not save them.
///
/// # Safety
/// As [`configure`].
pub(super) unsafe fn release() {
    // SAFETY: as the caller promises.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// Zeros the tiles of sums.
///
/// # Safety
/// The tiles are configured.
#[inline(always)]
pub(super) unsafe fn zero() {
    // SAFETY: as the caller promises.
    unsafe { asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem)) }
}

/// Where the operands of one multiplication lie.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// Left rows of the first tile and the second.
    pub a: [*const u8; 2],
    /// Bytes between left rows.
    pub a_stride: usize,
    /// Right columns of the first tile; those of the second follow.
    pub b: *const u8,
    /// Bytes from one group of four along K to the next.
    pub b_stride: usize,
}

/// Adds the products of `TALL` tiles of left rows and `WIDE` tiles of right columns to the sums: tile `2 * i + j`.
///
/// # Safety
/// The tiles are configured, and as many rows and bytes as configured are readable at the operands' addresses.
#[inline(always)]
pub(super) unsafe fn multiply<const TALL: usize, const WIDE: usize>(at: Operands) {
    let Operands { a: [a0, a1], a_stride, b, b_stride } = at;
    macro_rules! run {
        ($($line:literal,)*) => {
            asm!(
                $($line,)*
                "/* {a0} {a1} {a_stride} {b} {b_stride} */",
                a0 = in(reg) a0,
                a1 = in(reg) a1,
                a_stride = in(reg) a_stride,
                b = in(reg) b,
                b_stride = in(reg) b_stride,
                options(nostack, readonly),
            )
        };
    }
    // SAFETY: as the caller promises; only the tiles used are loaded.
    unsafe {
        match (TALL, WIDE) {
            (2, 2) => run!(
                "tileloadd tmm6, [{b} + {b_stride}]",
                "tileloadd tmm4, [{a0} + {a_stride}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {b_stride} + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{a1} + {a_stride}]",
                "tdpbusd tmm2, tmm5, tmm6",
                "tdpbusd tmm3, tmm5, tmm7",
            ),
            (2, _) => run!(
                "tileloadd tmm6, [{b} + {b_stride}]",
                "tileloadd tmm4, [{a0} + {a_stride}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{a1} + {a_stride}]",
                "tdpbusd tmm2, tmm5, tmm6",
            ),
            (_, 2) => run!(
                "tileloadd tmm6, [{b} + {b_stride}]",
                "tileloadd tmm4, [{a0} + {a_stride}]",
                "tdpbusd tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {b_stride} + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
            ),
            _ => run!(
                "tileloadd tmm6, [{b} + {b_stride}]",
                "tileloadd tmm4, [{a0} + {a_stride}]",
                "tdpbusd tmm0, tmm4, tmm6",
            ),
        }
    }
}

/// Stores the sums of `TALL` by `WIDE` tiles as rows of `2 * COLUMNS` numbers, the second tile's rows `rows` below the first's.
///
/// # Safety
/// The tiles are configured for `rows` rows, and `TALL * rows` rows are writable at `to`.
#[inline(always)]
pub(super) unsafe fn store<const TALL: usize, const WIDE: usize>(to: *mut i32, rows: usize) {
    let stride = 2 * COLUMNS * size_of::<i32>();
    let below = to.wrapping_add(rows * 2 * COLUMNS);
    // SAFETY: as the caller promises.
    unsafe {
        asm!("tilestored [{to} + {stride}], tmm0", to = in(reg) to, stride = in(reg) stride, options(nostack));
        if WIDE == 2 {
            asm!("tilestored [{to} + {stride} + 64], tmm1", to = in(reg) to, stride = in(reg) stride, options(nostack));
        }
        if TALL == 2 {
            asm!("tilestored [{to} + {stride}], tmm2", to = in(reg) below, stride = in(reg) stride, options(nostack));
        }
        if TALL == 2 && WIDE == 2 {
            asm!("tilestored [{to} + {stride} + 64], tmm3", to = in(reg) below, stride = in(reg) stride, options(nostack));
        }
    }
}
