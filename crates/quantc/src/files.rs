//! Files in and out. An output is written beside its place and renamed, so a failure never leaves half a file.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// The whole file.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// The whole file as text.
///
/// # Errors
/// If it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Error> {
    String::from_utf8(read(path)?).map_err(|_| Error::file(path, "is not UTF-8 text"))
}

/// Fails early if `path` cannot be created, before long work is done for it.
///
/// # Errors
/// If the folder is missing or not writable, or `path` is a folder.
pub fn check_writable(path: &Path) -> Result<(), Error> {
    let fail = |source| Error::Write { path: path.to_owned(), source };
    if path.is_dir() {
        return Err(fail(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder")));
    }
    match Target::of(path) {
        Target::File(file) => temporary_beside(&file).map(drop).map_err(fail),
        Target::Special => std::fs::OpenOptions::new().write(true).open(path).map(drop).map_err(fail),
    }
}

/// Whether it is a device or a pipe.
pub fn is_special(path: &Path) -> bool {
    matches!(Target::of(path), Target::Special)
}

/// The file that a path names, whether it exists or not: equal for equal files.
pub fn place(path: &Path) -> PathBuf {
    match (path.canonicalize(), folder(path).canonicalize(), path.file_name()) {
        (Ok(place), ..) => place,
        (_, Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// Where an output goes.
enum Target {
    /// A regular file, new or to be replaced: the end of any chain of symbolic links.
    File(PathBuf),
    /// A device or a pipe: written to, never replaced.
    Special,
}

impl Target {
    fn of(path: &Path) -> Target {
        match std::fs::metadata(path) {
            Ok(found) if !found.is_file() => Target::Special,
            Ok(_) => Target::File(path.canonicalize().unwrap_or_else(|_| path.to_owned())),
            Err(_) => Target::File(path.to_owned()),
        }
    }
}

/// Writes a file atomically; a device or a pipe is written to.
///
/// # Errors
/// If it cannot be written; an earlier file of that name is then untouched.
pub fn write(path: &Path, fill: impl FnOnce(&mut dyn WriteSeek) -> std::io::Result<()>) -> Result<(), Error> {
    let fail = |source| Error::Write { path: path.to_owned(), source };
    let Target::File(file) = Target::of(path) else {
        let mut whole = tempfile::tempfile().map_err(fail)?;
        fill(&mut whole).and_then(|()| whole.rewind()).map_err(fail)?;
        let mut out = std::fs::OpenOptions::new().write(true).open(path).map_err(fail)?;
        return std::io::copy(&mut whole, &mut out).and_then(|_| out.flush()).map_err(fail);
    };
    let mut temporary = temporary_beside(&file).map_err(fail)?;
    fill(temporary.as_file_mut()).map_err(fail)?;
    temporary.as_file_mut().flush().map_err(fail)?;
    // A file that is replaced keeps its permissions.
    if let Ok(old) = std::fs::metadata(&file) {
        temporary.as_file().set_permissions(old.permissions()).map_err(fail)?;
    }
    temporary.persist(&file).map_err(|e| fail(e.error))?;
    Ok(())
}

/// A file in the same folder, with the permissions that any new file gets. Errors are the system's own: those of the library name the
/// temporary file, which means nothing to a user.
fn temporary_beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut code = None;
    let create = |place: &Path| {
        let options = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(place);
        options.inspect_err(|e| code = e.raw_os_error())
    };
    let made = tempfile::Builder::new().make_in(folder(path), create);
    made.map_err(|e| code.map_or(e, std::io::Error::from_raw_os_error))
}

/// A sink for [`write()`].
pub trait WriteSeek: std::io::Write + std::io::Seek {}
impl<T: std::io::Write + std::io::Seek> WriteSeek for T {}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
