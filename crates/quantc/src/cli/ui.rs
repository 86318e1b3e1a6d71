//! What the terminal shows.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use quantc::Error;
use serde::Serialize;

/// A progress bar over samples on stderr; hidden unless stderr is a terminal.
pub fn progress(what: &str, samples: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(samples as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:32}] {pos}/{len} ({eta})") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_owned());
    bar
}

/// Stderr, of which what it does not take is lost: if its pipe is closed, nobody can be told.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = std::io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Prints a line to stderr, if that takes it.
pub fn tell(line: impl std::fmt::Display) {
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

/// Prints to stdout; a closed pipe ends quietly.
///
/// # Errors
/// If stdout can't be written.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Write { path: "stdout".into(), source: e }),
        _ => Ok(()),
    }
}

/// Prints one JSON document.
///
/// # Errors
/// If stdout can't be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::Data(e.to_string()))?;
    print(&format!("{text}\n"))
}

/// A size for people: `12.3 kB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}

/// What became of a size: `3.72x smaller`, `19.47x larger`.
pub fn ratio(before: u64, after: u64) -> String {
    let (before, after) = (before.max(1) as f64, after.max(1) as f64);
    if after > before { format!("{:.2}x larger", after / before) } else { format!("{:.2}x smaller", before / after) }
}

/// Aligns columns: the first to the left, the others, numbers, to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    aligned(rows, |column, cell, width| if column == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") })
}

/// Aligns columns of text, all to the left.
pub fn text_table(rows: &[Vec<String>]) -> String {
    aligned(rows, |_, cell, width| format!("{cell:width$}"))
}

/// Rows of cells that `pad` has made as wide as their columns.
fn aligned(rows: &[Vec<String>], pad: impl Fn(usize, &str, usize) -> String) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(|(c, (cell, w))| pad(c, cell, *w)).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_text_left() {
        let rows = [["a", "1", "long text"], ["bcd", "20", "text"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a     1  long text\nbcd  20       text\n");
        assert_eq!(text_table(&rows), "a    1   long text\nbcd  20  text\n");
    }

    #[test]
    fn what_became_larger_is_called_so() {
        assert_eq!(ratio(4_950_000, 1_330_000), "3.72x smaller");
        assert_eq!(ratio(6_000, 116_800), "19.47x larger");
        assert_eq!(ratio(0, 0), "1.00x smaller");
    }
}
