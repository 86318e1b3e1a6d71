//! Runs the instructions of AMX-INT8 and AVX-VNNI on machines that lack them: the CPU refuses them with SIGILL, and the handler does
//! what the instruction would have done (Intel SDM volume 2), on the memory and the registers of the interrupted thread. So the very
//! machine code of a tier is tested on any machine. Whatever the kernels of this crate do not use ends the process, as do operands that
//! would fault.

mod decode;

use std::cell::UnsafeCell;
use std::sync::Once;

use decode::{Address, Instruction, Rm};
use quantc_kernels::{Isa, Kernels};

/// The kernels of a tier up to which the machine has everything but AVX-VNNI or AMX-INT8; from then on the process runs what it lacks.
/// `None`, and a line on stderr, if the machine lacks what is not emulated.
pub fn kernels(isa: Isa) -> Option<Kernels> {
    let below = if isa == Isa::Amx { Isa::Avx512Vnni } else { Isa::Avx2 };
    if let Some(reason) = below.refusal() {
        eprintln!("SKIPPED: {isa} ({reason})");
        return None;
    }
    let mut kernels = Kernels::PORTABLE;
    quantc_kernels_x86::register(isa, &mut kernels);
    if kernels.isa != isa {
        install();
        // SAFETY: the emulator runs what the CPU refuses.
        unsafe { quantc_kernels_x86::register_unchecked(isa, &mut kernels) };
    }
    Some(kernels)
}

/// The tile registers of a thread.
struct Tiles {
    rows: [u8; 8],
    row_bytes: [u16; 8],
    data: [[[u8; 64]; 16]; 8],
}

thread_local! {
    static TILES: UnsafeCell<Tiles> =
        const { UnsafeCell::new(Tiles { rows: [0; 8], row_bytes: [0; 8], data: [[[0; 64]; 16]; 8] }) };
}

/// From now on the process runs the instructions.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and touches what the interrupted instruction would.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0, "no handler for SIGILL");
        }
    });
}

/// Ends the process from within the handler.
fn fault(message: &str) -> ! {
    // SAFETY: `write` and `abort` may be called from handlers; the message is as long as it says.
    unsafe {
        libc::write(2, message.as_ptr().cast(), message.len());
        libc::write(2, b"\n".as_ptr().cast(), 1);
        libc::abort()
    }
}

fn check(holds: bool, message: &str) {
    if !holds {
        fault(message);
    }
}

extern "C" fn handle(_signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the interrupted thread's context; the instruction pointer points at an instruction, which is at most
    // 15 bytes and lies in a function that is longer.
    unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let at = context.uc_mcontext.gregs[libc::REG_RIP as usize];
        let bytes = std::slice::from_raw_parts(at as *const u8, 12);
        let Some(instruction) = decode::decode(bytes, &context.uc_mcontext.gregs) else {
            fault("SIGILL at an instruction that is not emulated")
        };
        let length = instruction.length;
        TILES.with(|tiles| run(&instruction, &mut *tiles.get(), &context.uc_mcontext));
        context.uc_mcontext.gregs[libc::REG_RIP as usize] = at + length as i64;
    }
}

/// # Safety
/// As the instruction: its addresses are those that the kernel gave it.
unsafe fn run(instruction: &Instruction, tiles: &mut Tiles, context: &libc::mcontext_t) {
    let Instruction { opcode, prefix, reg, vvvv, rm, .. } = *instruction;
    // SAFETY: as the caller promises.
    unsafe {
        match (opcode, prefix, rm) {
            (0x49, 0, Rm::Memory(at)) => tiles.configure(at),
            (0x49, 0, Rm::Register(0)) => (tiles.rows, tiles.row_bytes) = ([0; 8], [0; 8]),
            (0x49, 3, Rm::Register(0)) => {
                check(tiles.rows[reg] != 0, "TILEZERO of a tile that is not configured");
                tiles.data[reg] = [[0; 64]; 16];
            }
            (0x4b, 3, Rm::Memory(at)) => tiles.load(reg, at),
            (0x4b, 2, Rm::Memory(at)) => tiles.store(reg, at),
            (0x5e, 1, Rm::Register(rm)) => tiles.multiply(reg, rm, vvvv),
            (0x50, 1, rm) if instruction.wide => dot(context, reg, vvvv, rm),
            _ => fault("SIGILL at a form of an instruction that is not emulated"),
        }
    }
}

impl Tiles {
    /// `LDTILECFG`.
    unsafe fn configure(&mut self, at: Address) {
        // SAFETY: the instruction reads 64 bytes.
        let config = unsafe { &*(at.base as *const [u8; 64]) };
        check(config[0] == 1 && config[1] == 0 && config[2..16].iter().all(|&b| b == 0), "LDTILECFG: a reserved value");
        for tile in 0..8 {
            let row_bytes = u16::from_le_bytes([config[16 + 2 * tile], config[17 + 2 * tile]]);
            let rows = config[48 + tile];
            check(rows <= 16 && row_bytes <= 64, "LDTILECFG: a tile too large");
            check((rows == 0) == (row_bytes == 0), "LDTILECFG: half a tile");
            (self.rows[tile], self.row_bytes[tile]) = (rows, row_bytes);
        }
        check(config[32..48].iter().chain(&config[56..]).all(|&b| b == 0), "LDTILECFG: a tile that does not exist");
        self.data = [[[0; 64]; 16]; 8];
    }

    fn size(&self, tile: usize) -> (usize, usize) {
        check(self.rows[tile] != 0, "a tile that is not configured");
        (self.rows[tile].into(), self.row_bytes[tile].into())
    }

    /// `TILELOADD`.
    unsafe fn load(&mut self, tile: usize, at: Address) {
        let (rows, bytes) = self.size(tile);
        self.data[tile] = [[0; 64]; 16];
        for (row, to) in self.data[tile].iter_mut().enumerate().take(rows) {
            let from = at.base.wrapping_add(at.stride.wrapping_mul(row as i64)) as *const u8;
            // SAFETY: the instruction reads a row's bytes there.
            unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), bytes) };
        }
    }

    /// `TILESTORED`.
    unsafe fn store(&self, tile: usize, at: Address) {
        let (rows, bytes) = self.size(tile);
        for (row, from) in self.data[tile].iter().enumerate().take(rows) {
            let to = at.base.wrapping_add(at.stride.wrapping_mul(row as i64)) as *mut u8;
            // SAFETY: the instruction writes a row's bytes there.
            unsafe { to.copy_from_nonoverlapping(from.as_ptr(), bytes) };
        }
    }

    /// `TDPBUSD`: unsigned bytes of `a` by signed bytes of `b`.
    fn multiply(&mut self, sums: usize, a: usize, b: usize) {
        let ((rows, width), (a_rows, depth), (b_rows, b_width)) = (self.size(sums), self.size(a), self.size(b));
        let fits = a_rows == rows && b_width == width && depth == 4 * b_rows && width % 4 == 0;
        check(fits && sums != a && sums != b && a != b, "TDPBUSD of tiles that do not fit");
        for row in 0..rows {
            for column in 0..width / 4 {
                let at = 4 * column..4 * column + 4;
                let mut sum = four(&self.data[sums][row][at.clone()]);
                for k in 0..b_rows {
                    sum = dot4(
                        sum,
                        four(&self.data[a][row][4 * k..]).to_le_bytes(),
                        four(&self.data[b][k][at.clone()]).to_le_bytes(),
                    );
                }
                self.data[sums][row][at].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

fn four(bytes: &[u8]) -> i32 {
    i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn dot4(sum: i32, a: [u8; 4], b: [u8; 4]) -> i32 {
    a.iter().zip(b).fold(sum, |sum, (&a, b)| sum.wrapping_add(i32::from(a) * i32::from(b as i8)))
}

/// The 256-bit `VPDPBUSD` of AVX-VNNI.
unsafe fn dot(context: &libc::mcontext_t, sums: usize, a: usize, b: Rm) {
    // SAFETY: the kernel saved the registers in the standard form of `XSAVE` (SDM volume 1, 13.4): xmm registers at 160, what is present
    // at 512, the upper halves at 576. A memory operand is 32 bytes.
    unsafe {
        let area = context.fpregs.cast::<u8>();
        let present = area.add(512).cast::<u64>();
        check(area.add(464).cast::<u32>().read_unaligned() == 0x4650_5853, "the signal frame has no extended state");
        if present.read_unaligned() & 4 == 0 {
            area.add(576).write_bytes(0, 256);
            present.write_unaligned(present.read_unaligned() | 4);
        }
        let half =
            |register: usize, high: bool| area.add(if high { 576 } else { 160 } + 16 * register).cast::<[u8; 16]>();
        let right = match b {
            Rm::Register(b) => [half(b, false).read(), half(b, true).read()],
            Rm::Memory(at) => (at.base as *const [[u8; 16]; 2]).read_unaligned(),
        };
        for (high, right) in [false, true].into_iter().zip(right) {
            let left = half(a, high).read();
            let mut result = half(sums, high).read();
            for lane in (0..16).step_by(4) {
                let (left, right) = (four(&left[lane..]).to_le_bytes(), four(&right[lane..]).to_le_bytes());
                let sum = dot4(four(&result[lane..]), left, right);
                result[lane..lane + 4].copy_from_slice(&sum.to_le_bytes());
            }
            half(sums, high).write(result);
        }
    }
}
