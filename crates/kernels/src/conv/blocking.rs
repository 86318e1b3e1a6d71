//! How many rows of a convolution are multiplied together, and what this follows from.

use std::sync::OnceLock;

/// The most rows, and the most bytes of them, that a kernel multiplies by all panels before it goes on. It never changes the
/// result, and kernels that hold no block ignore it. A kernel rounds the rows up to whole tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocking {
    /// Rows of a block at most.
    pub rows: usize,
    /// Bytes of a block's rows at most.
    pub bytes: usize,
}

/// Rows that pay for fetching a panel.
const ROWS: usize = 240;
/// Bytes of a block where the caches are unknown.
const BYTES: usize = 256 * 1024;
/// The least and the most bytes that follow from a cache.
const BYTES_RANGE: (usize, usize) = (64 * 1024, 1024 * 1024);

impl Blocking {
    /// The blocking for a machine: a block stays in the second-level cache while every panel passes over it. A quarter of that
    /// cache leaves room for panels and results.
    pub fn for_caches(caches: Caches) -> Blocking {
        let (least, most) = BYTES_RANGE;
        Blocking { rows: ROWS, bytes: caches.l2.map_or(BYTES, |l2| (l2 / 4).clamp(least, most)) }
    }
}

impl Default for Blocking {
    /// The blocking for this machine.
    fn default() -> Self {
        Blocking::for_caches(Caches::of_machine())
    }
}

/// Bytes of the caches of one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// First level, data; `None` if unknown.
    pub l1d: Option<usize>,
    /// Second level; `None` if unknown.
    pub l2: Option<usize>,
}

/// Where Linux describes the caches of the first core.
const DESCRIPTION: &str = "/sys/devices/system/cpu/cpu0/cache";
/// Caches that are looked at, at most.
const MAX_CACHES: usize = 16;

impl Caches {
    /// The caches of this machine, found out once; unknown on other systems than Linux.
    pub fn of_machine() -> Caches {
        static CACHES: OnceLock<Caches> = OnceLock::new();
        *CACHES.get_or_init(|| {
            Caches::described(|index, field| {
                std::fs::read_to_string(format!("{DESCRIPTION}/index{index}/{field}")).ok()
            })
        })
    }

    /// The caches that `read(index, field)` describes.
    fn described(read: impl Fn(usize, &str) -> Option<String>) -> Caches {
        let mut caches = Caches::default();
        for index in 0..MAX_CACHES {
            let field = |name| read(index, name);
            let (Some(level), Some(kind)) = (field("level"), field("type")) else { break };
            let size = field("size").and_then(|size| bytes(size.trim()));
            match (level.trim(), kind.trim()) {
                ("1", "Data" | "Unified") => caches.l1d = size,
                ("2", "Data" | "Unified") => caches.l2 = size,
                _ => {}
            }
        }
        caches
    }
}

/// A size as Linux writes it: `32K`.
fn bytes(size: &str) -> Option<usize> {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_read_as_linux_describes_them() {
        let of = |entries: &[[&str; 3]]| {
            Caches::described(|index, field| {
                let [level, kind, size] = entries.get(index)?;
                Some(format!(
                    "{}\n",
                    match field {
                        "level" => level,
                        "type" => kind,
                        _ => size,
                    }
                ))
            })
        };
        let all = of(&[
            ["1", "Data", "32K"],
            ["1", "Instruction", "64K"],
            ["2", "Unified", "1024K"],
            ["3", "Unified", "32M"],
        ]);
        assert_eq!(all, Caches { l1d: Some(32 << 10), l2: Some(1 << 20) });
        assert_eq!(of(&[]), Caches::default());
        assert_eq!(of(&[["1", "Data", "what"], ["2", "Unified", "2M"]]), Caches { l1d: None, l2: Some(2 << 20) });
        assert_eq!(bytes("0K"), None);
        assert_eq!(bytes("K"), None);
    }

    #[test]
    fn a_block_is_a_quarter_of_the_second_level() {
        let of = |l2| Blocking::for_caches(Caches { l1d: None, l2 });
        assert_eq!(of(Some(1 << 20)), Blocking { rows: 240, bytes: 256 * 1024 });
        assert_eq!(of(None), of(Some(1 << 20)));
        assert_eq!(of(Some(2 << 20)).bytes, 512 * 1024);
        assert_eq!(of(Some(1)).bytes, 64 * 1024);
        assert_eq!(of(Some(usize::MAX)).bytes, 1024 * 1024);
    }
}
