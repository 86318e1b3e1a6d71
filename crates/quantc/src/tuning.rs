//! Blockings of a model's layers, chosen by measuring.

use quantc_kernels::{Blocking, Caches, ConvGeometry, Isa};
use quantc_lower::Blockings;
use serde::{Deserialize, Serialize};

/// What a choice holds for: on another tier, with other caches or another number of threads it is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the ISA tier.
    pub isa: String,
    /// Bytes of the first-level data cache, if known.
    pub l1d: Option<usize>,
    /// Bytes of the second-level cache, if known.
    pub l2: Option<usize>,
    /// Threads.
    pub threads: usize,
}

impl Machine {
    /// This machine, on a tier and with some threads.
    pub fn new(isa: Isa, threads: usize) -> Machine {
        let Caches { l1d, l2 } = Caches::of_machine();
        Machine { isa: isa.name().to_owned(), l1d, l2, threads }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kib = |bytes: Option<usize>| bytes.map_or("unknown".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        write!(f, "{}, {} {threads}, L1d {}, L2 {}", self.isa, self.threads, kib(self.l1d), kib(self.l2))
    }
}

/// A layer and its blocking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Images, input height, width and channels.
    input: [usize; 4],
    /// Output height, width and channels.
    output: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Top, left, bottom, right.
    pad: [usize; 4],
    groups: usize,
    /// Rows of a block at most.
    rows: usize,
    /// Bytes of a block at most.
    bytes: usize,
}

/// The most rows and bytes that a stored blocking may have.
const MAX: Blocking = Blocking { rows: 1 << 16, bytes: 1 << 26 };

impl Choice {
    /// A layer's blocking.
    pub fn new(geometry: &ConvGeometry, blocking: Blocking) -> Choice {
        let ConvGeometry { n, h, w, c, oh, ow, oc, kernel, stride, dilation, pad, groups } = *geometry;
        let Blocking { rows, bytes } = blocking;
        Choice { input: [n, h, w, c], output: [oh, ow, oc], kernel, stride, dilation, pad, groups, rows, bytes }
    }

    /// The layer.
    pub fn geometry(&self) -> ConvGeometry {
        let (&[n, h, w, c], &[oh, ow, oc]) = (&self.input, &self.output);
        let Choice { kernel, stride, dilation, pad, groups, .. } = *self;
        ConvGeometry { n, h, w, c, oh, ow, oc, kernel, stride, dilation, pad, groups }
    }

    /// Its blocking.
    pub fn blocking(&self) -> Blocking {
        Blocking { rows: self.rows, bytes: self.bytes }
    }
}

/// The choices for a model; layers that are not among them keep the machine's own blocking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuning {
    /// What they hold for.
    pub machine: Machine,
    /// The choices.
    pub choices: Vec<Choice>,
}

impl Tuning {
    /// The blockings by layer.
    pub fn blockings(&self) -> Blockings {
        self.choices.iter().map(|choice| (choice.geometry(), choice.blocking())).collect()
    }

    /// Fails unless every blocking is one that `quantc tune` could have chosen.
    ///
    /// # Errors
    /// Saying what is wrong.
    pub fn check(&self) -> Result<(), String> {
        for Choice { rows, bytes, .. } in &self.choices {
            if !(1..=MAX.rows).contains(rows) || !(1..=MAX.bytes).contains(bytes) {
                return Err(format!("{rows} rows and {bytes} bytes"));
            }
        }
        Ok(())
    }
}
