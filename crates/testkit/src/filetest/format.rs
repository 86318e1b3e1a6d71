//! The layout of a test file: cases of an input graph and commands, each followed by what it must give.

use std::ops::Range;

use super::command::Command;

/// A test file.
#[derive(Clone, Debug)]
pub(super) struct TestFile<'t> {
    lines: Vec<&'t str>,
    pub(super) cases: Vec<Case>,
}

/// An input graph and what is done with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    pub(super) name: Option<String>,
    /// The text of the input graph after as many empty lines as there are lines before it in the file, so that positions in
    /// messages are those of the file.
    pub(super) input: String,
    /// Ranges of random inputs: `; input: NAME LO HI`.
    pub(super) ranges: Vec<(String, f32, f32)>,
    pub(super) runs: Vec<Run>,
    /// The first thing in it that is not laid out as it must be; then nothing of it is run.
    pub(super) mistake: Option<Mistake>,
    /// Its last line, from 1.
    end: usize,
}

/// What is wrong with a case.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    /// Line, from 1.
    pub(super) line: usize,
    pub(super) message: String,
}

/// A command and its output.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Its line, from 1.
    pub(super) line: usize,
    pub(super) command: Command,
    pub(super) check: Option<Check>,
    /// The lines of the output, from 0.
    output: Range<usize>,
}

/// How the graphs before and after the last step of a command are compared on random inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Check {
    /// Equal bits.
    SameBits,
    /// Within this share of the largest magnitude of each output.
    Within(f32),
    /// As exactly as the classes of the rules that made the result promise.
    Class,
}

const CHECKS: &str = "same-bits, within T (such as 1e-4) or class";

impl<'t> TestFile<'t> {
    /// Reads a file: each case on its own, so that a mistake in one hides nothing of the others.
    pub(super) fn parse(text: &'t str) -> TestFile<'t> {
        let lines: Vec<&str> = text.lines().collect();
        let mut cases = vec![Case::default()];
        // Whether the lines are the output of the last run.
        let mut open = false;
        for (i, line) in lines.iter().enumerate() {
            let named = match directive(line) {
                Some(("case", name)) => Some(name.to_owned()),
                _ => None,
            };
            // A name before anything else is that of the first case.
            if named.is_some() && cases.last().is_some_and(|case| !case.is_blank()) {
                cases.push(Case { input: "\n".repeat(i), ..Case::default() });
            }
            let Some(case) = cases.last_mut() else { continue };
            case.end = i + 1;
            if named.is_some() {
                case.name = named;
                case.input.push('\n');
                open = false;
            } else if case.mistake.is_none()
                && let Err(message) = case.line(&lines, i, &mut open)
            {
                case.mistake = Some(Mistake { line: i + 1, message });
            }
        }
        for case in &mut cases {
            if case.runs.is_empty() && case.mistake.is_none() {
                let message = format!("the case {} runs nothing: `; run: canonicalize`", case.title());
                case.mistake = Some(Mistake { line: case.end.max(1), message });
            }
            if case.mistake.is_some() {
                case.runs.clear();
            }
        }
        TestFile { lines, cases }
    }

    /// The output that a run must give, without blank lines at both ends.
    pub(super) fn expected(&self, run: &Run) -> String {
        self.lines[run.output.clone()].join("\n").trim_matches('\n').trim_end().to_owned()
    }

    /// The file with other outputs, in the order of the runs.
    pub(super) fn with_outputs(&self, outputs: &[String]) -> String {
        let mut text = String::new();
        let mut at = 0;
        let runs = self.cases.iter().flat_map(|c| &c.runs);
        for (run, output) in runs.zip(outputs) {
            let before = self.lines[at..run.output.start].iter().copied();
            before.chain(output.trim_end().lines()).for_each(|line| {
                text.push_str(line);
                text.push('\n');
            });
            at = run.output.end;
            if at < self.lines.len() {
                text.push('\n');
            }
        }
        for line in &self.lines[at..] {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// `; KEY: VALUE`.
fn directive(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix(';')?.split_once(':')?;
    Some((key.trim(), value.trim()))
}

impl Case {
    /// Whether it has only comments so far.
    fn is_blank(&self) -> bool {
        let empty = self.runs.is_empty() && self.input.trim().is_empty();
        empty && self.name.is_none() && self.mistake.is_none()
    }

    /// Reads line `i`; `open` says whether it would be output of the last run.
    fn line(&mut self, lines: &[&str], i: usize, open: &mut bool) -> Result<(), String> {
        let line = lines[i];
        if !line.starts_with(';') {
            match self.runs.last_mut() {
                None => {
                    self.input.push_str(line);
                    self.input.push('\n');
                }
                Some(run) if *open => run.output.end = i + 1,
                Some(_) if line.trim().is_empty() => {}
                Some(_) => return Err("this belongs to no command; `; case: NAME` starts a new input".to_owned()),
            }
            return Ok(());
        }
        match directive(line) {
            Some(("run", command)) => {
                let command = Command::parse(command)?;
                self.runs.push(Run { line: i + 1, command, check: None, output: i + 1..i + 1 });
                *open = true;
            }
            Some(("check", check)) => {
                let blank = |r: &Run| lines[r.output.clone()].iter().all(|l| l.trim().is_empty());
                let run = self.runs.last_mut().filter(|r| *open && r.check.is_none() && blank(r));
                let run = run.ok_or("a check stands right after its `; run:`")?;
                run.check = Some(parse_check(check)?);
                run.output = i + 1..i + 1;
            }
            Some(("input", range)) if self.runs.is_empty() => {
                self.ranges.push(parse_range(range)?);
                self.input.push('\n');
            }
            _ => {
                if self.runs.is_empty() {
                    self.input.push('\n');
                }
                *open = false;
            }
        }
        Ok(())
    }

    /// Its name in messages.
    pub(super) fn title(&self) -> String {
        self.name.as_ref().map_or("of this file".to_owned(), |name| format!("`{name}`"))
    }
}

fn parse_check(text: &str) -> Result<Check, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["same-bits"] => Ok(Check::SameBits),
        ["class"] => Ok(Check::Class),
        ["within", t] => match t.parse::<f32>() {
            Ok(t) if t > 0.0 && t < 1.0 => Ok(Check::Within(t)),
            _ => Err(format!("`{t}` is no tolerance between 0 and 1")),
        },
        _ => Err(format!("`{text}` is no check: {CHECKS}")),
    }
}

fn parse_range(text: &str) -> Result<(String, f32, f32), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [name, lo, hi] = words[..]
        && let (Ok(lo), Ok(hi)) = (lo.parse::<f32>(), hi.parse::<f32>())
        && lo <= hi
    {
        return Ok((name.to_owned(), lo, hi));
    }
    Err(format!("`{text}` is no range of an input: NAME LO HI"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "; What it shows.\ngraph g() {\n}\n; run: canonicalize\n; check: within 1e-3\n\nold\n\n; A word.\n\
                        ; case: second\ngraph h() {\n}\n; run: lower\n";

    #[test]
    fn reads_cases_runs_and_outputs() {
        let file = TestFile::parse(TEXT);
        assert_eq!(file.cases.len(), 2);
        assert_eq!(file.cases[0].input, "\ngraph g() {\n}\n");
        assert_eq!(file.cases[1].input, "\n\n\n\n\n\n\n\n\n\ngraph h() {\n}\n");
        assert_eq!(file.cases[1].name.as_deref(), Some("second"));
        let run = &file.cases[0].runs[0];
        assert_eq!((run.line, run.check), (4, Some(Check::Within(1e-3))));
        assert_eq!(file.expected(run), "old");
        assert_eq!(file.expected(&file.cases[1].runs[0]), "");
    }

    #[test]
    fn writes_outputs_back_and_reads_them_again() {
        let file = TestFile::parse(TEXT);
        let text = file.with_outputs(&["new\ntext".to_owned(), "other".to_owned()]);
        let again = TestFile::parse(&text);
        assert_eq!(again.expected(&again.cases[0].runs[0]), "new\ntext");
        assert_eq!(again.expected(&again.cases[1].runs[0]), "other");
        assert_eq!(
            again.with_outputs(&["new\ntext".to_owned(), "other".to_owned()]),
            text,
            "blessing twice is blessing once"
        );
        assert!(text.contains("; A word.\n; case: second\n") && text.ends_with("; run: lower\nother\n"), "{text}");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, line, word) in [
            ("graph g() {\n}\n", 2, "runs nothing"),
            ("; run: fry\n", 1, "fry"),
            ("; run: lower\n; check: maybe\n", 2, "maybe"),
            ("; check: class\n", 1, "right after"),
            ("; run: lower\nx\n; check: class\n", 3, "right after"),
            ("; run: lower\nx\n; word\ny\n", 4, "belongs to no command"),
            ("; input: x 1\n", 1, "range"),
        ] {
            let file = TestFile::parse(text);
            let [Case { mistake: Some(Mistake { line: at, message }), .. }] = &file.cases[..] else { panic!("{text}") };
            assert!(*at == line && message.contains(word), "{text}: {at}: {message}");
        }
    }

    #[test]
    fn a_mistake_ends_its_own_case_only() {
        let text = "; case: a\n; run: fry\n; run: boil\n; case: b\ngraph g() {\n}\n; case: c\ngraph h() {\n}\n; run: lower\nold\n";
        let file = TestFile::parse(text);
        let mistakes: Vec<_> = file.cases.iter().map(|c| c.mistake.as_ref().map(|m| m.line)).collect();
        assert_eq!(mistakes, [Some(2), Some(6), None]);
        assert_eq!(file.with_outputs(&["new".to_owned()]), text.replace("old", "new"), "the others stay as they are");
    }
}
