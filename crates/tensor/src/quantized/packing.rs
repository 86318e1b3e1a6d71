//! Elements of 4 and 2 bits in bytes, in PyTorch's order: row-major, the first element in the lowest bits. Rows are not padded; what
//! is left of the last byte is 0.

use super::QDType;

/// Bytes of the values; bits beyond those of the type are dropped.
pub fn pack(values: &[u8], dtype: QDType) -> Vec<u8> {
    let (per_byte, bits, mask) = layout(dtype);
    let join = |bytes: &[u8]| bytes.iter().enumerate().fold(0, |byte, (i, v)| byte | (v & mask) << (bits * i));
    values.chunks(per_byte).map(join).collect()
}

/// The first `len` values in the bytes; fewer if there are not so many.
pub fn unpack(bytes: &[u8], dtype: QDType, len: usize) -> Vec<u8> {
    let (per_byte, bits, mask) = layout(dtype);
    bytes.iter().flat_map(|byte| (0..per_byte).map(move |i| byte >> (bits * i) & mask)).take(len).collect()
}

/// Values in a byte, bits of one, and those bits set.
fn layout(dtype: QDType) -> (usize, usize, u8) {
    let per_byte = dtype.per_byte();
    let bits = 8 / per_byte;
    (per_byte, bits, u8::MAX >> (8 - bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_is_lowest() {
        assert_eq!(pack(&[1, 2, 3], QDType::QUInt4x2), [0x21, 0x03]);
        assert_eq!(pack(&[1, 2, 3, 0, 2], QDType::QUInt2x4), [0b00_11_10_01, 0b10]);
    }

    proptest! {
        #[test]
        fn ragged_lengths_survive(values in prop::collection::vec(any::<u8>(), 0..40)) {
            for dtype in [QDType::QUInt8, QDType::QUInt4x2, QDType::QUInt2x4] {
                let kept: Vec<u8> = values.iter().map(|v| (i32::from(*v) & dtype.range().1) as u8).collect();
                let bytes = pack(&values, dtype);
                prop_assert_eq!(bytes.len(), values.len().div_ceil(dtype.per_byte()));
                prop_assert_eq!(unpack(&bytes, dtype, values.len()), kept);
            }
        }
    }
}
