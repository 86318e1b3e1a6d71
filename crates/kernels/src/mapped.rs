//! Files in memory.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// The bytes of a file, mapped read-only: they are read from the file as they are used, and are in memory once for all processes.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps the whole file.
    ///
    /// # Errors
    /// If the system cannot map it (a pipe, an empty file on some systems).
    pub fn new(file: &File) -> io::Result<MappedFile> {
        // SAFETY: this process never writes to the mapping or the file: quantc only replaces files, by new ones of the same name, which
        // leaves a mapped one as it is. That no other process writes into it is what users are asked for (docs/architecture.md).
        let mapping = unsafe { memmap2::MmapOptions::new().populate().map(file) }?;
        Ok(MappedFile(mapping))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that several owners share, and which part of them is meant.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
    len: usize,
}

impl SharedBytes {
    /// All of the owner's bytes.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> SharedBytes {
        let len = owner.as_ref().len();
        SharedBytes { owner: Arc::new(owner), start: 0, len }
    }

    /// A part of these bytes; `None` if it leaves them.
    pub fn part(&self, start: usize, len: usize) -> Option<SharedBytes> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| SharedBytes { owner: self.owner.clone(), start: self.start + start, len })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.start..self.start + self.len]
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedBytes({} bytes)", self.len)
    }
}
