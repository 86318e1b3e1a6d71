//! Snapshot tests of rewrites and quantization as files: an input graph in the text form, commands, and what each must give.
//!
//! ```text
//! ; A clamp from 0 upwards is relu.
//! graph clamp(%x: f32[2,3]) {
//!   %clip = clamp(%x) {min=0.0}
//!   return y=%clip
//! }
//!
//! ; run: canonicalize
//! ; check: same-bits
//! graph clamp(%x: f32[2,3]) {
//!   %clip = relu(%x) : f32[2,3]
//!   return y=%clip
//! }
//! ```
//!
//! From `cargo test` of any repository:
//!
//! ```no_run
//! #[test]
//! fn rewrites() {
//!     quantc_testkit::file_tests("tests/rewrite");
//! }
//! ```
//!
//! With `QUANTC_BLESS=1` in the environment, files that give something else are updated in place. `quantc patterns test` is the
//! same runner on the command line. `docs/qpat.md` has the format.

mod command;
mod format;
mod values;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use quantc_ir::Graph;
use quantc_pattern::{Library, PatternError};

use crate::random::with_random_params;
use command::Outcome;
use format::{Case, Check, Mistake, Run, TestFile};

/// The extension of test files.
pub const EXTENSION: &str = "qtest";

/// Why tests could not be run, as opposed to failing.
#[derive(Debug, thiserror::Error)]
pub enum FileTestError {
    /// A file or folder that can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without tests: a run of nothing would look like success.
    #[error("{path}: there is no .{EXTENSION} file", path = path.display())]
    NoTests {
        /// Which.
        path: PathBuf,
    },
    /// Pattern files that are wrong.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file.
    pub path: PathBuf,
    /// Line of the command, from 1.
    pub line: usize,
    /// What happened, with a diff if the output is another.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// What came of a folder of tests.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Number of files.
    pub files: usize,
    /// Number of commands run; a case that can't be run counts as one.
    pub runs: usize,
    /// Number of comparisons of graphs before and after on random inputs.
    pub checks: usize,
    /// Runs that failed.
    pub failures: Vec<Failure>,
    /// Files that were updated.
    pub blessed: Vec<PathBuf>,
}

/// A folder (or one file) of tests and how to run them.
#[derive(Clone, Debug)]
pub struct FileTests {
    path: PathBuf,
    patterns: Option<PathBuf>,
    bless: bool,
}

impl FileTests {
    /// Tests below a folder, or of one file, with the patterns that quantc embeds.
    pub fn new(path: impl Into<PathBuf>) -> FileTests {
        FileTests { path: path.into(), patterns: None, bless: false }
    }

    /// Adds the pattern files of a folder, which replace embedded ones of the same name.
    pub fn patterns(mut self, dir: impl Into<PathBuf>) -> FileTests {
        self.patterns = Some(dir.into());
        self
    }

    /// Whether outputs that differ are written into the files.
    pub fn bless(mut self, bless: bool) -> FileTests {
        self.bless = bless;
        self
    }

    /// Runs every test.
    ///
    /// # Errors
    /// If a file can't be read or written, or there is none.
    pub fn run(&self) -> Result<Summary, FileTestError> {
        let own;
        let library = match &self.patterns {
            Some(dir) => {
                own = Library::with_dir(dir)?;
                &own
            }
            None => Library::builtin()?,
        };
        let files = test_files(&self.path)?;
        if files.is_empty() {
            return Err(FileTestError::NoTests { path: self.path.clone() });
        }
        let mut summary = Summary { files: files.len(), ..Summary::default() };
        for path in files {
            self.run_file(&path, library, &mut summary)?;
        }
        Ok(summary)
    }

    /// Runs every test; panics with all that failed. Files are updated if `QUANTC_BLESS` is set to something but `0`.
    ///
    /// # Panics
    /// If a test fails or can't be run.
    pub fn assert(self) {
        let bless = std::env::var_os("QUANTC_BLESS").is_some_and(|v| !v.is_empty() && v != "0");
        let summary = self.bless(bless).run().unwrap_or_else(|e| panic!("{e}"));
        let failed: Vec<String> = summary.failures.iter().map(ToString::to_string).collect();
        assert!(
            failed.is_empty(),
            "{}\n{} of {} runs failed (QUANTC_BLESS=1 accepts the new outputs)",
            failed.join("\n\n"),
            failed.len(),
            summary.runs
        );
    }

    fn run_file(&self, path: &Path, library: &Library, summary: &mut Summary) -> Result<(), FileTestError> {
        let io = |source| FileTestError::Io { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let fail = |line, message| Failure { path: path.to_owned(), line, message };
        let file = TestFile::parse(&text);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut outputs = Vec::new();
        for case in &file.cases {
            let title = case.name.as_ref().map_or(String::new(), |n| format!("{n}: "));
            // An input that is no graph is a mistake of the test, never an output to expect.
            let no_graph = || {
                let line = case.runs.first().map_or(1, |r| r.line);
                input(case, 0).err().map(|message| Mistake { line, message })
            };
            if let Some(Mistake { line, message }) = case.mistake.clone().or_else(no_graph) {
                summary.runs += 1;
                summary.failures.push(fail(line, format!("{title}{message}")));
                outputs.extend(case.runs.iter().map(|run| file.expected(run)));
                continue;
            }
            for run in &case.runs {
                summary.runs += 1;
                let output = run_once(case, run, library, folder);
                let expected = file.expected(run);
                if output != expected && !self.bless {
                    let message =
                        format!("{title}`{}` gives something else\n{}", run.command, diff(&expected, &output));
                    summary.failures.push(fail(run.line, message));
                }
                outputs.push(output);
                if let Some(check) = run.check {
                    summary.checks += 1;
                    if let Err(message) = check_values(case, run, check, library, folder) {
                        summary.failures.push(fail(run.line, format!("{title}`{}`: {message}", run.command)));
                    }
                }
            }
        }
        let new = file.with_outputs(&outputs);
        let differs = file.cases.iter().flat_map(|c| &c.runs).zip(&outputs).any(|(run, o)| file.expected(run) != *o);
        if self.bless && differs {
            replace(path, &new).map_err(io)?;
            summary.blessed.push(path.to_owned());
        }
        Ok(())
    }
}

/// Runs the tests below a folder and panics with a diff for each that fails; see [`FileTests::assert`].
///
/// # Panics
/// If a test fails or can't be run.
pub fn file_tests(path: impl Into<PathBuf>) {
    FileTests::new(path).assert();
}

/// The test files below a folder, sorted, or the one file.
fn test_files(path: &Path) -> Result<Vec<PathBuf>, FileTestError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut pending = vec![path.to_owned()];
    let mut out = Vec::new();
    while let Some(dir) = pending.pop() {
        let io = |source| FileTestError::Io { path: dir.clone(), source };
        for entry in std::fs::read_dir(&dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == EXTENSION) {
                out.push(path);
            }
        }
    }
    out.sort();
    Ok(out)
}

/// The graph of a case with values for its parameters.
fn input(case: &Case, seed: u64) -> Result<Graph, String> {
    let graph = quantc_ir::text::parse(&case.input).map_err(|e| e.to_string())?;
    if let Some((name, param)) =
        graph.params().iter().find(|(_, p)| p.value.is_none() && p.ty.shape.to_known().is_none())
    {
        return Err(format!("parameter `{name}`: {} has an unknown dimension", param.ty));
    }
    Ok(with_random_params(graph, seed))
}

/// The graphs before and after the last step.
fn steps(case: &Case, run: &Run, library: &Library, folder: &Path, seed: u64) -> Result<(Graph, Outcome), String> {
    let mut before = input(case, seed)?;
    let mut outcome = None;
    for step in &run.command.steps {
        if let Some(Outcome { graph, .. }) = outcome.take() {
            before = graph;
        }
        let new = step.run(&before, &case.ranges, library, folder)?;
        new.graph.verify().map_err(|e| format!("the result is not a valid graph: {e}"))?;
        outcome = Some(new);
    }
    Ok((before, outcome.ok_or("the command has no steps")?))
}

/// What a command prints: the graph, the report, or the error.
fn run_once(case: &Case, run: &Run, library: &Library, folder: &Path) -> String {
    match steps(case, run, library, folder, 0) {
        Ok((_, outcome)) if run.command.report => outcome.report.trim_end().to_owned(),
        Ok((_, outcome)) => outcome.graph.to_string().trim_end().to_owned(),
        Err(message) => format!("error: {message}").trim_end().to_owned(),
    }
}

/// Runs the graphs before and after the last step on random inputs.
fn check_values(case: &Case, run: &Run, check: Check, library: &Library, folder: &Path) -> Result<(), String> {
    for seed in 0..values::SEEDS {
        let (before, outcome) = steps(case, run, library, folder, seed)?;
        let tolerance = match check {
            Check::SameBits => 0.0,
            Check::Within(t) => t,
            Check::Class => outcome.tolerance.ok_or("only rewrites have a class; say same-bits or within T")?,
        };
        let inputs = values::inputs(&before, &case.ranges, seed + 100)?;
        values::compare(&before, &outcome.graph, &inputs, tolerance)?;
    }
    Ok(())
}

fn diff(expected: &str, actual: &str) -> String {
    let (expected, actual) = (format!("{expected}\n"), format!("{actual}\n"));
    let diff = similar::TextDiff::from_lines(&expected, &actual);
    diff.unified_diff().context_radius(2).header("expected", "actual").to_string()
}

/// Writes a file beside its place and renames it, so that a failure never leaves half a file.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    // Temporary files are private; the new file keeps the permissions of the old one.
    temporary.as_file().set_permissions(std::fs::metadata(path)?.permissions())?;
    temporary.persist(path)?;
    Ok(())
}
