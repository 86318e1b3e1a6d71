//! Where the real models and data are. They are not part of the repository, so every test that wants them skips, visibly, when
//! they are missing.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The folder of models and evaluation data: `QUANTC_DATA`, else `../shared/data` beside the workspace; `None` if it has no
/// `manifest.json`.
pub fn data_dir() -> Option<PathBuf> {
    let dir = match std::env::var_os("QUANTC_DATA") {
        Some(dir) => PathBuf::from(dir),
        None => workspace_root().join("../shared/data"),
    };
    dir.join("manifest.json").is_file().then_some(dir)
}

/// The folder of models that are made, not stored (`QUANTC_MODELS`: `minilm_l6.onnx`, `bench/*.onnx`); `None` if it is not there.
pub fn models_dir() -> Option<PathBuf> {
    std::env::var_os("QUANTC_MODELS").map(PathBuf::from).filter(|d| d.is_dir())
}

/// [`data_dir`]; says on stderr that the test is skipped if there is none.
pub fn data_or_skip(test: &str) -> Option<PathBuf> {
    let dir = data_dir();
    if dir.is_none() {
        say(&format!("SKIPPED {test}: no model folder (set QUANTC_DATA)"));
    }
    dir
}

/// A file of [`models_dir`]; says on stderr that the test is skipped if it is not there.
pub fn models_or_skip(test: &str, file: &str) -> Option<PathBuf> {
    let path = models_dir().map(|d| d.join(file)).filter(|p| p.is_file());
    if path.is_none() {
        say(&format!("SKIPPED {test}: no {file} (set QUANTC_MODELS)"));
    }
    path
}

/// Writes a line to stderr itself: what `eprintln!` writes in a test that passes is never shown.
fn say(line: &str) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
