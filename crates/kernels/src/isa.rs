//! The ISA tiers that kernels are written for.

use std::fmt;
use std::str::FromStr;

/// One tier of instructions. A tier includes those before it on its architecture: where `avx512vnni` has no kernel of
/// its own, the `avx2` one runs, then the portable one; likewise `i8mm`, `dotprod`, `neon`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, any machine.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512Vnni,
    /// AArch64: every machine has NEON.
    Neon,
    /// AArch64 with the dot products of bytes (FEAT_DotProd).
    Dotprod,
    /// AArch64 with the products of matrices of bytes (FEAT_I8MM).
    I8mm,
}

impl Isa {
    /// Every tier this version has kernels for, lowest first.
    pub const ALL: &[Isa] = &[Isa::Portable, Isa::Avx2, Isa::Avx512Vnni, Isa::Neon, Isa::Dotprod, Isa::I8mm];

    /// The name used in `QUANTC_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    /// Whether this machine can run the tier.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                Isa::Avx2.is_available()
                    && std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => Isa::Neon.is_available() && std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Isa::I8mm => Isa::Dotprod.is_available() && std::arch::is_aarch64_feature_detected!("i8mm"),
            // The tiers of other architectures.
            _ => false,
        }
    }

    /// The tiers this machine can run, lowest first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.iter().copied().filter(|isa| isa.is_available()).collect()
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tier name that is not known, or a tier this machine cannot run.
#[derive(Debug, thiserror::Error)]
pub enum IsaError {
    /// No tier has this name.
    #[error("unknown ISA tier `{0}`; this version has: {known}", known = names(Isa::ALL))]
    Unknown(String),
    /// The tier exists, but not on this machine.
    #[error("this machine cannot run the ISA tier `{0}`; it can run: {available}", available = names(&Isa::available()))]
    Unavailable(Isa),
}

fn names(tiers: &[Isa]) -> String {
    tiers.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(s: &str) -> Result<Self, IsaError> {
        Isa::ALL.iter().copied().find(|isa| isa.name() == s).ok_or_else(|| IsaError::Unknown(s.to_owned()))
    }
}

/// The tier to run: the one `QUANTC_ISA` forces, else the highest this machine has.
///
/// # Errors
/// If `QUANTC_ISA` names an unknown tier or one this machine cannot run.
pub fn select() -> Result<Isa, IsaError> {
    match std::env::var("QUANTC_ISA") {
        Ok(name) if !name.is_empty() => {
            let isa: Isa = name.parse()?;
            if isa.is_available() { Ok(isa) } else { Err(IsaError::Unavailable(isa)) }
        }
        _ => Ok(Isa::available().last().copied().unwrap_or(Isa::Portable)),
    }
}
