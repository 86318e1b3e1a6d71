//! Collections of definitions: those embedded in the binary, and those of a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use quantc_ops::names::{nearest, suggest};

use crate::ast::{Phase, Rule, RuleClass, family};
use crate::backend::BackendConfig;
use crate::parse::check;
use crate::source::{QpatErrors, Source};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Rewrite rules, sorted by name so that the order of files does not matter.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether [`RuleSet::phase`] gives rules of class `approximate` too. They change values, so the default is no.
    pub allow_approximate: bool,
}

impl RuleSet {
    /// The rules embedded in the binary.
    ///
    /// # Errors
    /// If an embedded file is wrong, which a test excludes.
    pub fn builtin() -> Result<RuleSet, PatternError> {
        Ok(Library::builtin()?.rules.clone())
    }

    /// The rules of one phase that may run: without those of class `approximate`, unless they are allowed.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = &Rule> {
        let allowed = |r: &Rule| self.allow_approximate || !matches!(r.class, RuleClass::Approximate { .. });
        self.rules.iter().filter(move |r| r.phase == phase && allowed(r))
    }

    /// The rules that a name means: the one of that name, or every row of a definition.
    ///
    /// # Errors
    /// If there is none, with the name that is most like it.
    pub fn named(&self, name: &str) -> Result<Vec<&Rule>, Option<String>> {
        if let Some(rule) = self.find(name) {
            return Ok(vec![rule]);
        }
        let rows: Vec<&Rule> = self.rules.iter().filter(|r| family(&r.name) == name).collect();
        if rows.is_empty() {
            let names = self.rules.iter().flat_map(|r| [&*r.name, family(&r.name)]);
            return Err(nearest(name, names));
        }
        Ok(rows)
    }

    /// The rule of that name.
    pub fn find(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|r| &*r.name == name)
    }
}

/// Everything a set of `.qpat` files defines.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// Rewrite rules.
    pub rules: RuleSet,
    /// Backends in file order.
    pub backends: Vec<BackendConfig>,
}

/// Why definitions could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// Files that are wrong.
    #[error(transparent)]
    Qpat(#[from] QpatErrors),
    /// A directory or file that can't be read.
    #[error("cannot read patterns from {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A directory without pattern files.
    #[error("{path}: there is no .qpat file")]
    NoFiles {
        /// Which.
        path: String,
    },
    /// A backend that does not exist.
    #[error("there is no backend `{name}`{}", hint.as_ref().map_or(String::new(), |h| format!(" (hint: {h})")))]
    NoBackend {
        /// The name asked for.
        name: String,
        /// The nearest one, or those there are.
        hint: Option<String>,
    },
}

impl Library {
    /// What is embedded in the binary.
    ///
    /// # Errors
    /// If an embedded file is wrong, which a test excludes.
    pub fn builtin() -> Result<&'static Library, PatternError> {
        static LIBRARY: OnceLock<Result<Library, QpatErrors>> = OnceLock::new();
        LIBRARY.get_or_init(|| Library::parse(&builtin_sources())).as_ref().map_err(|e| PatternError::Qpat(e.clone()))
    }

    /// What is embedded, extended by the files of a directory. A file with the path of an embedded one (below `patterns/`)
    /// replaces it.
    ///
    /// # Errors
    /// If a file can't be read or is wrong.
    pub fn with_dir(dir: &Path) -> Result<Library, PatternError> {
        Ok(Library::parse(&extended(read(dir)?))?)
    }

    /// As [`Library::with_dir`] for any number of files and directories, with the names of the files as messages show them.
    ///
    /// # Errors
    /// If a file can't be read or is wrong, or there is none.
    pub fn with_paths(paths: &[PathBuf]) -> Result<(Library, Vec<String>), PatternError> {
        let mut own = Vec::new();
        for path in paths {
            let found = read(path)?;
            if found.is_empty() {
                return Err(PatternError::NoFiles { path: path.display().to_string() });
            }
            own.extend(found);
        }
        let names = own.iter().map(|file| file.source.name.clone()).collect();
        Ok((Library::parse(&extended(own))?, names))
    }

    /// Checks a set of files.
    ///
    /// # Errors
    /// Everything wrong with them.
    pub fn parse(sources: &[Arc<Source>]) -> Result<Library, QpatErrors> {
        let (mut rules, backends, errors) = check(sources);
        if !errors.is_empty() {
            return Err(QpatErrors(errors));
        }
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Library { rules: RuleSet { rules, allow_approximate: false }, backends })
    }

    /// The rules that run for a backend: those for every backend, without what it removes or would not benefit from, and its own.
    pub fn rules_for(&self, backend: &BackendConfig) -> RuleSet {
        let kept = self.rules.rules.iter().filter(|r| backend.keeps_rule(r)).cloned().collect();
        let mut all = RuleSet { rules: kept, allow_approximate: self.rules.allow_approximate }.restricted(backend);
        all.rules.extend(backend.rules.iter().cloned());
        all.rules.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The backend of that name.
    ///
    /// # Errors
    /// If there is none, with the nearest one or those there are.
    pub fn backend(&self, name: &str) -> Result<&BackendConfig, PatternError> {
        self.backends.iter().find(|b| &*b.name == name).ok_or_else(|| PatternError::NoBackend {
            name: name.to_owned(),
            hint: suggest(name, self.backends.iter().map(|b| &*b.name)),
        })
    }
}

/// The embedded files.
pub fn builtin_sources() -> Vec<Arc<Source>> {
    embedded::FILES.iter().map(|(name, text)| Source::embedded(name, text)).collect()
}

/// A file that was read.
struct OwnFile {
    source: Arc<Source>,
    /// The paths below `patterns/` that it may stand for.
    names: Vec<String>,
}

/// The embedded files, each replaced by the own one of the same path. The own ones come last, so that of two definitions of one
/// name theirs is the one too many.
fn extended(own: Vec<OwnFile>) -> Vec<Arc<Source>> {
    let mut sources = builtin_sources();
    for OwnFile { names, source } in own {
        let same = |s: &Arc<Source>| names.iter().any(|n| s.name == format!("patterns/{n}"));
        sources.retain(|s| !(s.embedded && same(s)));
        sources.push(source);
    }
    sources
}

/// The pattern files below a directory, or one file, sorted.
fn read(at: &Path) -> Result<Vec<OwnFile>, PatternError> {
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |source| PatternError::Io { path, source }
    };
    let mut paths = Vec::new();
    let mut pending = vec![at.to_path_buf()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(fail(&path))? {
                pending.push(entry.map_err(fail(&path))?.path());
            }
        } else if path == at || path.extension().is_some_and(|e| e == "qpat") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut out = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(fail(&path))?;
        let slashes = |p: &Path| p.to_string_lossy().replace('\\', "/");
        // Below the directory given, and below the one it is in: `--patterns patterns/backend` has an `x86.qpat` too.
        let names: Vec<String> = [Some(at), at.parent()]
            .into_iter()
            .flatten()
            .filter_map(|base| path.strip_prefix(base).ok())
            .chain(path.parent().and_then(Path::parent).and_then(|base| path.strip_prefix(base).ok()))
            .map(slashes)
            .collect();
        out.push(OwnFile { source: Source::new(&path.display().to_string(), &text), names });
    }
    Ok(out)
}
