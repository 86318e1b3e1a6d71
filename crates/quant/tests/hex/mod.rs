//! Floats as the golden files have them: the bits of each f32 as 8 hex digits, one after the other.

/// The floats of a text.
pub fn floats(hex: &str) -> Vec<f32> {
    hex.as_bytes()
        .chunks(8)
        .map(|c| f32::from_bits(u32::from_str_radix(std::str::from_utf8(c).expect("ascii"), 16).expect("hex")))
        .collect()
}

/// The bits of floats.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
