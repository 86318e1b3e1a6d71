//! No command loses a file.

use std::path::{Path, PathBuf};

use quantc::{Error, files, text};

/// A file and what it is.
pub type Named = (PathBuf, &'static str);

/// The files that a model is read from.
pub fn model_files(model: &Path) -> Vec<Named> {
    let weights =
        [model.with_extension("safetensors"), text::values_path(model)].map(|path| (path, "the model's weights"));
    std::iter::once((model.to_owned(), "the model")).chain(weights).collect()
}

/// Fails if an output can't be written, would replace an input, or if two are one file.
///
/// # Errors
/// Naming both.
pub fn check_distinct(inputs: Vec<Named>, outputs: Vec<Named>) -> Result<(), Error> {
    let mut taken: Vec<Named> = inputs.into_iter().map(|(path, what)| (files::place(&path), what)).collect();
    for (path, what) in outputs {
        files::check_writable(&path)?;
        if files::is_special(&path) {
            continue;
        }
        let place = files::place(&path);
        if let Some((_, other)) = taken.iter().find(|(p, _)| *p == place) {
            return Err(Error::file(&path, format!("{what} would replace {other}")));
        }
        taken.push((place, what));
    }
    Ok(())
}
