//! `quantc patterns test`.

use std::path::PathBuf;

use quantc::Error;
use quantc_testkit::FileTests;

use crate::cli::inputs::PatternsOption;
use crate::cli::ui;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of .qtest files, or one file
    path: PathBuf,
    #[command(flatten)]
    patterns: PatternsOption,
    /// Write the outputs that differ into the files
    #[arg(long)]
    bless: bool,
}

/// Runs the command.
///
/// # Errors
/// With a diff for each test that fails.
pub fn run(args: &Args) -> Result<(), Error> {
    let mut tests = FileTests::new(&args.path).bless(args.bless);
    if let Some(dir) = args.patterns.dir() {
        tests = tests.patterns(dir);
    }
    let summary = tests.run()?;
    for path in &summary.blessed {
        ui::print(&format!("{}: updated\n", path.display()))?;
    }
    if !summary.failures.is_empty() {
        let failed: Vec<String> = summary.failures.iter().map(ToString::to_string).collect();
        let text = format!("{} of {} runs failed\n\n{}", failed.len(), summary.runs, failed.join("\n\n"));
        return Err(Error::Data(text));
    }
    let (files, runs, checks) = (summary.files, summary.runs, summary.checks);
    let s = |n: usize| if n == 1 { "" } else { "s" };
    ui::print(&format!(
        "{files} file{}: {runs} run{} as expected, {checks} checked on random inputs\n",
        s(files),
        s(runs)
    ))
}
