//! Memory of this process, where the system tells (Linux).

/// A field of `/proc/self/status` in bytes.
fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    let kb: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kb * 1024)
}

/// Resident memory.
pub fn resident() -> Option<u64> {
    field("VmRSS")
}

/// Peak resident memory, since the start or [`reset_peak`].
pub fn peak() -> Option<u64> {
    field("VmHWM")
}

/// Forgets the peak so far. Where the system does not allow it, [`peak`] stays that of the whole process.
pub fn reset_peak() {
    // 5: reset the peak (proc_pid_clear_refs(5)).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
