//! The few VEX encodings that the emulated instructions have (Intel SDM volume 2, 2.3 and 2.1.5).

/// Where a memory operand lies.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// Everything but the index.
    pub base: i64,
    /// The index times its scale: what tile instructions take for the distance of rows.
    pub stride: i64,
}

/// The operand of the ModRM byte's r/m field.
#[derive(Clone, Copy, Debug)]
pub enum Rm {
    Register(usize),
    Memory(Address),
}

/// An instruction with a three-byte VEX prefix of the map 0F38.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    pub opcode: u8,
    /// 0: none, 1: 66, 2: F3, 3: F2.
    pub prefix: u8,
    /// Whether it is of 256 bits.
    pub wide: bool,
    pub reg: usize,
    pub vvvv: usize,
    pub rm: Rm,
    /// In bytes.
    pub length: usize,
}

/// The general registers in the order of their numbers.
const REGISTERS: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// The instruction that some bytes begin with, given the registers.
pub fn decode(bytes: &[u8], registers: &[i64; 23]) -> Option<Instruction> {
    let register = |number: usize| registers[REGISTERS[number] as usize];
    let &[0xc4, rxbm, wvlp, opcode, modrm, ref rest @ ..] = bytes else { return None };
    if rxbm & 0x1f != 2 || wvlp & 0x80 != 0 {
        return None;
    }
    // R, X and B are stored inverted, as is vvvv.
    let [r, x, b] = [7, 6, 5].map(|bit| usize::from(!rxbm >> bit & 1) << 3);
    let (mode, low) = (modrm >> 6, usize::from(modrm & 7));
    let (rm, more) = if mode == 3 {
        (Rm::Register(low | b), 0)
    } else {
        let (mut base, mut stride, mut used) = (0, 0, 0);
        let mut number = low | b;
        let mut none = mode == 0 && low == 5;
        if none {
            // Relative to the next instruction.
            return None;
        }
        if low == 4 {
            let sib = rest[0];
            used = 1;
            number = usize::from(sib & 7) | b;
            none = mode == 0 && sib & 7 == 5;
            let index = usize::from(sib >> 3 & 7) | x;
            if index != 4 {
                stride = register(index) << (sib >> 6);
            }
        }
        if !none {
            base = register(number);
        }
        let displacement = &rest[used..];
        if mode == 1 {
            base += i64::from(displacement[0] as i8);
            used += 1;
        } else if mode == 2 || none {
            base += i64::from(i32::from_le_bytes(displacement[..4].try_into().ok()?));
            used += 4;
        }
        (Rm::Memory(Address { base, stride }), used)
    };
    Some(Instruction {
        opcode,
        prefix: wvlp & 3,
        wide: wvlp & 4 != 0,
        reg: usize::from(modrm >> 3 & 7) | r,
        vvvv: usize::from(!wvlp >> 3 & 15),
        rm,
        length: 5 + more,
    })
}
