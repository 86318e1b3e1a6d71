//! The arena: one aligned byte buffer, and disjoint views of it without unsafe code.

use std::sync::Arc;

use bytemuck::Pod;
use quantc_kernels::SLACK;
use quantc_kernels::conv::AlignedBytes;

/// Alignment of every buffer in the arena, in bytes.
pub const ALIGN: usize = 64;

/// Part of one buffer of a plan, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The buffer, an index of the plan's placements.
    pub buffer: u32,
    /// First byte within the buffer.
    pub offset: usize,
    /// Length in bytes, without slack.
    pub len: usize,
}

/// Where a step reads an operand.
#[derive(Clone, Debug)]
pub enum Source {
    /// A value computed at run time.
    Arena(Slot),
    /// A constant.
    Const(Constant),
}

impl Source {
    /// The slot, if the operand is not a constant.
    pub fn slot(&self) -> Option<&Slot> {
        match self {
            Source::Arena(slot) => Some(slot),
            Source::Const(_) => None,
        }
    }
}

/// Bytes of a constant followed by readable slack; shared between plans.
#[derive(Clone, Debug)]
pub struct Constant(Arc<AlignedBytes>);

impl Constant {
    /// A constant of these bytes.
    pub fn new(bytes: &[u8]) -> Constant {
        let mut data = AlignedBytes::zeroed(bytes.len() + SLACK);
        data.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        Constant(Arc::new(data))
    }

    /// The bytes and the slack.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Bytes without slack.
    pub fn len(&self) -> usize {
        self.0.as_slice().len() - SLACK
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Most slots one step writes.
pub const MAX_WRITES: usize = 4;

/// What lies between the slots that a step writes: everything it may read.
pub struct Reads<'a> {
    offsets: &'a [usize],
    segments: [(usize, &'a [u8]); MAX_WRITES + 1],
}

impl<'a> Reads<'a> {
    /// The operand's bytes, followed by at least [`SLACK`] readable ones.
    ///
    /// # Panics
    /// If the slot overlaps a written one, which [`crate::Plan::new`] rules out.
    pub fn bytes(&self, source: &'a Source) -> &'a [u8] {
        match source {
            Source::Arena(slot) => self.slot(slot),
            Source::Const(constant) => constant.as_slice(),
        }
    }

    /// As [`Reads::bytes`], for a slot.
    ///
    /// # Panics
    /// As [`Reads::bytes`].
    pub fn slot(&self, slot: &Slot) -> &'a [u8] {
        let start = self.offsets[slot.buffer as usize] + slot.offset;
        let end = start + slot.len + SLACK;
        let found = self.segments.iter().find(|(at, bytes)| *at <= start && end <= at + bytes.len());
        let (at, bytes) = found.expect("the plan was validated: reads lie outside writes");
        &bytes[start - at..end - at]
    }

    /// The operand as elements, without slack.
    ///
    /// # Panics
    /// As [`Reads::bytes`].
    pub fn elements<T: Pod>(&self, source: &'a Source) -> &'a [T] {
        let bytes = self.bytes(source);
        bytemuck::cast_slice(&bytes[..bytes.len() - SLACK])
    }
}

/// Cuts the arena into the slots written (in the given order) and what lies between them.
///
/// # Panics
/// If the slots overlap, which [`crate::Plan::new`] rules out.
pub(crate) fn split<'a, const W: usize>(
    arena: &'a mut [u8],
    offsets: &'a [usize],
    writes: [&Slot; W],
) -> (Reads<'a>, [&'a mut [u8]; W]) {
    const { assert!(W <= MAX_WRITES) };
    let mut order: [usize; W] = std::array::from_fn(|i| i);
    let start = |i: usize| offsets[writes[i].buffer as usize] + writes[i].offset;
    order.sort_unstable_by_key(|&i| start(i));
    let mut outs: [&'a mut [u8]; W] = std::array::from_fn(|_| Default::default());
    let mut segments: [(usize, &'a [u8]); MAX_WRITES + 1] = [(0, &[]); MAX_WRITES + 1];
    let (mut rest, mut at) = (arena, 0);
    for (segment, &i) in segments.iter_mut().zip(&order) {
        let (before, tail) = rest.split_at_mut(start(i) - at);
        let (out, tail) = tail.split_at_mut(writes[i].len);
        *segment = (at, before);
        at = start(i) + writes[i].len;
        outs[i] = out;
        rest = tail;
    }
    segments[W] = (at, rest);
    (Reads { offsets, segments }, outs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_disjoint_and_in_the_given_order() {
        let mut arena: Vec<u8> = (0..=255).collect();
        let offsets = [0, 64, 128];
        let slot = |buffer, offset, len| Slot { buffer, offset, len };
        let (a, b) = (slot(2, 4, 8), slot(0, 0, 4));
        let (reads, [first, second]) = split(&mut arena, &offsets, [&a, &b]);
        assert_eq!((first[0], first.len(), second[0], second.len()), (132, 8, 0, 4));
        assert_eq!(reads.slot(&slot(1, 0, 4))[0], 64);
        assert_eq!(reads.slot(&slot(2, 12, 20))[..2], [140, 141]);
    }
}
