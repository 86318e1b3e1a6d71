//! The S-expression reader.

use std::sync::Arc;

use crate::source::{QpatError, Source, Span};

/// An S-expression and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Sexp {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// What an S-expression is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A plain word.
    Symbol(String),
    /// `:word`.
    Keyword(String),
    /// `?word`.
    Var(String),
    /// `"..."`.
    Str(String),
    /// An integer.
    Int(i64),
    /// A real number: `0.5`, `1/256`, `2^-12`, `inf`.
    Float(f64),
    /// `...`.
    Ellipsis,
    /// `( ... )`.
    List(Vec<Sexp>),
    /// `[ ... ]`.
    Vector(Vec<Sexp>),
}

impl PartialEq for Sexp {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Sexp {
    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Symbol(s) => format!("`{s}`"),
            Kind::Keyword(s) => format!("`:{s}`"),
            Kind::Var(s) => format!("`?{s}`"),
            Kind::Str(_) => "a string".to_owned(),
            Kind::Int(v) => format!("`{v}`"),
            Kind::Float(v) => format!("`{v}`"),
            Kind::Ellipsis => "`...`".to_owned(),
            Kind::List(items) => match items.first().map(|i| &i.kind) {
                Some(Kind::Symbol(s)) => format!("`({s} ...)`"),
                _ => "a list".to_owned(),
            },
            Kind::Vector(_) => "a `[...]` list".to_owned(),
        }
    }

    /// An error here.
    pub(crate) fn error(&self, message: impl Into<String>) -> QpatError {
        QpatError::new(&self.span, message)
    }

    /// `expected ..., found ...` here.
    pub(crate) fn expected(&self, what: &str) -> QpatError {
        self.error(format!("expected {what}, found {}", self.describe()))
    }

    pub(crate) fn symbol(&self) -> Option<&str> {
        match &self.kind {
            Kind::Symbol(s) => Some(s),
            _ => None,
        }
    }

    /// A symbol or a number as it is written.
    pub(crate) fn word(&self) -> Option<String> {
        match &self.kind {
            Kind::Symbol(s) => Some(s.clone()),
            Kind::Int(v) => Some(v.to_string()),
            Kind::Float(v) => Some(v.to_string()),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Sexp]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn vector(&self) -> Option<&[Sexp]> {
        match &self.kind {
            Kind::Vector(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self.kind {
            Kind::Int(v) => Some(v as f64),
            Kind::Float(v) => Some(v),
            _ => None,
        }
    }

    /// A copy with every `$name` in its symbols, keywords and strings replaced; a symbol that is nothing but `$name` becomes the whole value.
    pub(crate) fn substitute(&self, table: &[(String, Sexp)]) -> Result<Sexp, QpatError> {
        let kind = match &self.kind {
            Kind::Symbol(s) if s.contains('$') => {
                if let Some((_, value)) = table.iter().find(|(name, _)| s == name) {
                    return Ok(Sexp { kind: value.kind.clone(), span: self.span.clone() });
                }
                let text = self.expand(s, table)?;
                Kind::Symbol(text)
            }
            Kind::Keyword(s) if s.contains('$') => Kind::Keyword(self.expand(s, table)?),
            Kind::Str(s) if s.contains('$') => Kind::Str(self.expand(s, table)?),
            Kind::List(items) => Kind::List(substitute_all(items, table)?),
            Kind::Vector(items) => Kind::Vector(substitute_all(items, table)?),
            other => other.clone(),
        };
        Ok(Sexp { kind, span: self.span.clone() })
    }

    /// A word with every `$name` replaced by the word it stands for.
    fn expand(&self, word: &str, table: &[(String, Sexp)]) -> Result<String, QpatError> {
        let mut text = word.to_owned();
        // Longest names first, so that `$a` does not eat the start of `$ab`.
        let mut names: Vec<_> = table.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, value) in names {
            if let Some(value) = value.symbol() {
                text = text.replace(name.as_str(), value);
            }
        }
        if text.contains('$') {
            let known = table.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
            return Err(self
                .error(format!("`{word}` names no parameter of this form"))
                .hint(format!("parameters are declared by :for{}", prefix_if(&known, "; there is: "))));
        }
        Ok(text)
    }
}

fn prefix_if(text: &str, prefix: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{prefix}{text}") }
}

fn substitute_all(items: &[Sexp], table: &[(String, Sexp)]) -> Result<Vec<Sexp>, QpatError> {
    items.iter().map(|i| i.substitute(table)).collect()
}

/// Reads every form of a file. After a mistake it goes on at the next line that starts with `(`, as forms do.
pub(crate) fn read(source: &Arc<Source>, errors: &mut Vec<QpatError>) -> Vec<Sexp> {
    let mut reader = Reader { source, at: 0 };
    let mut forms = Vec::new();
    loop {
        reader.skip_blank();
        let start = reader.at;
        let result = match reader.peek() {
            None => return forms,
            Some(c @ (')' | ']')) => {
                Err(QpatError::new(&reader.span(reader.at, reader.at + 1), format!("`{c}` closes nothing")))
            }
            Some(_) => reader.form(0),
        };
        match result {
            Ok(form) => forms.push(form),
            Err(error) => {
                errors.push(error);
                reader.at = source.text[start..].find("\n(").map_or(source.text.len(), |i| start + i + 1);
            }
        }
    }
}

/// Forms deeper than this are refused: they are read recursively.
const DEPTH: usize = 64;

struct Reader<'a> {
    source: &'a Arc<Source>,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.source.text[self.at..].chars().next()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { source: self.source.clone(), start, end }
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek() {
            if c == ';' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.at += self.peek().map_or(1, char::len_utf8);
                }
            } else if c.is_whitespace() || c == ',' {
                self.at += c.len_utf8();
            } else {
                return;
            }
        }
    }

    fn form(&mut self, depth: usize) -> Result<Sexp, QpatError> {
        let start = self.at;
        if depth > DEPTH {
            return Err(QpatError::new(&self.span(start, start + 1), format!("more than {DEPTH} brackets are open")));
        }
        let kind = match self.peek() {
            Some('(') => Kind::List(self.sequence('(', ')', depth)?),
            Some('[') => Kind::Vector(self.sequence('[', ']', depth)?),
            Some('"') => Kind::Str(self.string()?),
            _ => self.atom()?,
        };
        Ok(Sexp { kind, span: self.span(start, self.at) })
    }

    fn sequence(&mut self, open: char, close: char, depth: usize) -> Result<Vec<Sexp>, QpatError> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_blank();
            match self.peek() {
                Some(c) if c == close => {
                    self.at += 1;
                    return Ok(items);
                }
                Some(c @ (')' | ']')) => {
                    let (line, column) = self.source.position(start);
                    return Err(QpatError::new(
                        &self.span(self.at, self.at + 1),
                        format!("`{c}` closes the `{open}` of {line}:{column}"),
                    )
                    .hint(format!("it needs `{close}`")));
                }
                None => {
                    return Err(QpatError::new(&self.span(start, start + 1), format!("`{open}` is never closed")));
                }
                Some(_) => items.push(self.form(depth + 1)?),
            }
        }
    }

    fn string(&mut self) -> Result<String, QpatError> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => {
                    if let Some(escaped) = self.peek() {
                        self.at += escaped.len_utf8();
                        out.push(if escaped == 'n' { '\n' } else { escaped });
                    }
                }
                // Doc strings are folded: a line break and its indentation count as one blank.
                '\n' => {
                    while self.peek().is_some_and(char::is_whitespace) {
                        self.at += self.peek().map_or(1, char::len_utf8);
                    }
                    out.push(' ');
                }
                c => out.push(c),
            }
        }
        Err(QpatError::new(&self.span(start, start + 1), "string without a closing quote"))
    }

    fn atom(&mut self) -> Result<Kind, QpatError> {
        let start = self.at;
        while let Some(c) = self.peek() {
            if c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | '"' | ';' | ',') {
                break;
            }
            self.at += c.len_utf8();
        }
        let text = &self.source.text[start..self.at];
        let named = |rest: &str, what: &str| {
            if rest.is_empty() {
                Err(QpatError::new(&self.span(start, self.at), format!("{what} without a name")))
            } else {
                Ok(rest.to_owned())
            }
        };
        if text == "..." {
            return Ok(Kind::Ellipsis);
        }
        if let Some(rest) = text.strip_prefix(':') {
            return Ok(Kind::Keyword(named(rest, "keyword")?));
        }
        if let Some(rest) = text.strip_prefix('?') {
            return Ok(Kind::Var(named(rest, "variable")?));
        }
        if let Some(number) = number(text) {
            return Ok(number);
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(QpatError::new(&self.span(start, self.at), format!("`{text}` is no number"))
                .hint("numbers are written 3, 0.5, 1e-5, 1/256, 2^-12, inf or -inf"));
        }
        Ok(Kind::Symbol(text.to_owned()))
    }
}

fn number(text: &str) -> Option<Kind> {
    match text {
        "inf" => return Some(Kind::Float(f64::INFINITY)),
        "-inf" => return Some(Kind::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.') {
        return None;
    }
    if let Ok(v) = text.parse::<i64>() {
        return Some(Kind::Int(v));
    }
    if let Some((a, b)) = text.split_once('/') {
        let (a, b) = (a.parse::<f64>().ok()?, b.parse::<f64>().ok()?);
        return (b != 0.0).then_some(Kind::Float(a / b));
    }
    if let Some((a, b)) = text.split_once('^') {
        return Some(Kind::Float(a.parse::<f64>().ok()?.powi(b.parse::<i32>().ok()?)));
    }
    if !text.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.parse::<f64>().ok().map(Kind::Float)
}
