//! The ISA tiers that kernels are written for.

use std::fmt;
use std::str::FromStr;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;

/// One tier of instructions. Where a tier has no kernel of its own, the one of the highest tier before it that the machine has runs,
/// the portable one last. Tiers of one architecture are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, any machine.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX2, FMA and AVX-VNNI, the 256-bit form without AVX-512.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512Vnni,
    /// x86-64 with the above and AMX-INT8, on a system that lets the process use tiles.
    Amx,
    /// AArch64: every machine has NEON.
    Neon,
    /// AArch64 with the dot products of bytes (FEAT_DotProd).
    Dotprod,
    /// AArch64 with the products of matrices of bytes (FEAT_I8MM).
    I8mm,
}

impl Isa {
    /// Every tier this version has kernels for, lowest first.
    pub const ALL: &[Isa] =
        &[Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Amx, Isa::Neon, Isa::Dotprod, Isa::I8mm];

    /// The name used in `QUANTC_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
            Isa::Dotprod => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    /// Whether this machine can run the tier.
    pub fn is_available(self) -> bool {
        self.refusal().is_none()
    }

    /// Why this machine cannot run the tier; `None` if it can.
    pub fn refusal(self) -> Option<&'static str> {
        #[cfg(target_arch = "x86_64")]
        use std::arch::is_x86_feature_detected as detected;

        #[cfg(target_arch = "aarch64")]
        use std::arch::is_aarch64_feature_detected as detected;
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        macro_rules! lacks {
            ($($feature:tt)*) => {
                [$((detected!($feature), concat!("the CPU lacks ", $feature))),*]
                    .into_iter()
                    .find_map(|(has, reason)| (!has).then_some(reason))
            };
        }
        match self {
            Isa::Portable => None,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => lacks!("avx2" "fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => lacks!("avx2" "fma" "avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                lacks!("avx2" "fma" "avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512vnni")
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx => Isa::Avx512Vnni.refusal().or_else(amx::refusal),
            #[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
            Isa::Amx => Some("tiles are asked for on Linux only"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => lacks!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::Dotprod => lacks!("neon" "dotprod"),
            #[cfg(target_arch = "aarch64")]
            Isa::I8mm => lacks!("neon" "dotprod" "i8mm"),
            _ => Some("the machine has another architecture"),
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
    #[error("this machine cannot run the ISA tier `{0}` ({reason}); it can run: {available}", reason = .0.refusal().unwrap_or("it can"), available = names(&Isa::available()))]
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
