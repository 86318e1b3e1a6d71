//! Whether the CPU has AMX-INT8 and the system lets this process use tiles (Intel SDM volume 1, chapter 18; Linux
//! `Documentation/arch/x86/xstate.rst`).

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::LazyLock;

/// What stands against the tier. The system is asked once; the permission holds for all threads of the process.
pub(super) fn refusal() -> Option<&'static str> {
    static REFUSAL: LazyLock<Option<&'static str>> = LazyLock::new(ask);
    *REFUSAL
}

/// `arch_prctl` operation that asks for a component of the extended state.
const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
/// The component of the tiles' data.
const XFEATURE_XTILEDATA: libc::c_long = 18;
/// Bits of XCR0: tile configuration and data.
const XCR0_TILES: u64 = 0b11 << 17;

fn ask() -> Option<&'static str> {
    // Older compilers that the workspace supports have these as unsafe functions.
    #[allow(unused_unsafe, reason = "depends on the compiler's version")]
    // SAFETY: every x86-64 CPU has `cpuid`.
    let (most, features, extended) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx, __cpuid_count(7, 0).edx) };
    if most < 7 || extended & (1 << 24) == 0 {
        return Some("the CPU lacks amx-tile");
    }
    if extended & (1 << 25) == 0 {
        return Some("the CPU lacks amx-int8");
    }
    // SAFETY: OSXSAVE says that `xgetbv` may be executed.
    if features & (1 << 27) == 0 || unsafe { xcr0() } & XCR0_TILES != XCR0_TILES {
        return Some("the system does not keep the state of AMX tiles");
    }
    // SAFETY: this operation of the call takes one number and touches no memory.
    let answer = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    (answer != 0).then_some("the system refuses this process AMX tiles")
}

/// # Safety
/// The system has enabled `xgetbv`.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: as the caller promises.
    unsafe { _xgetbv(0) }
}
