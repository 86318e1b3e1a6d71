//! The statements of a `forward`:
//!
//! ```text
//! y = relu(bn1(conv1(x)))          # calls of submodules and of operators
//! y = flatten(y, start_dim=1)      # attributes of operators by name
//! out, state = lstm(y)             # several results
//! return fc(y) + x * 0.5           # + - * / and @ (matmul); numbers are constants
//! ```

use super::TraceError;

/// A statement and where it starts in its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    /// `a, b = ...`
    Assign(Vec<String>, Expr),
    /// `return ...`
    Return(Vec<Expr>),
}

/// An expression and the column (from 0) where it starts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expr {
    pub(crate) column: usize,
    pub(crate) kind: ExprKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExprKind {
    /// A value.
    Name(String),
    /// A number.
    Number(f64),
    /// A submodule (its path may have dots) or an operator on values, with attributes.
    Call { callee: String, args: Vec<Expr>, attrs: Vec<(String, Literal)> },
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Int(i64),
    Float(f64),
    Bool(bool),
    Word(String),
    /// A parameter of the class, `$name`.
    Parameter(String),
    List(Vec<Literal>),
}

/// Parses one statement. The position of an error is (0, column).
pub(crate) fn parse(text: &str) -> Result<Statement, TraceError> {
    let mut p = Parser { text, at: 0 };
    p.space();
    let statement = if p.word("return") { Statement::Return(p.list()?) } else { p.assignment()? };
    if p.at < text.len() {
        return Err(p.unexpected("the end of the statement"));
    }
    Ok(statement)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn column(&self) -> usize {
        self.text[..self.at].chars().count()
    }

    fn unexpected(&self, expected: &str) -> TraceError {
        let found = self.rest().chars().next().map_or("the end".to_owned(), |c| format!("`{c}`"));
        TraceError::new(format!("expected {expected}, found {found}"))
            .with_hint("statements are like `y = relu(conv1(x))` or `return fc(y)`")
            .at((0, self.column()))
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len_utf8();
            self.space();
        }
        found
    }

    fn expect(&mut self, symbol: char) -> Result<(), TraceError> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    /// A whole word.
    fn word(&mut self, word: &str) -> bool {
        let found = self.rest().strip_prefix(word).is_some_and(|r| !r.starts_with(is_name_char));
        if found {
            self.at += word.len();
            self.space();
        }
        found
    }

    fn name(&mut self) -> Result<String, TraceError> {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.unexpected("a name"));
        }
        let name = &rest[..rest.find(|c| !is_name_char(c)).unwrap_or(rest.len())];
        self.at += name.len();
        self.space();
        Ok(name.to_owned())
    }

    fn assignment(&mut self) -> Result<Statement, TraceError> {
        let mut names = vec![self.name()?];
        while self.symbol(',') {
            names.push(self.name()?);
        }
        self.expect('=')?;
        Ok(Statement::Assign(names, self.sum(0)?))
    }

    fn list(&mut self) -> Result<Vec<Expr>, TraceError> {
        let mut items = vec![self.sum(0)?];
        while self.symbol(',') {
            items.push(self.sum(0)?);
        }
        Ok(items)
    }

    fn sum(&mut self, depth: usize) -> Result<Expr, TraceError> {
        self.binary(depth, &[('+', "add"), ('-', "sub")], Self::product)
    }

    fn product(&mut self, depth: usize) -> Result<Expr, TraceError> {
        self.binary(depth, &[('*', "mul"), ('/', "div"), ('@', "matmul")], Self::primary)
    }

    fn binary(
        &mut self,
        depth: usize,
        operators: &[(char, &str)],
        operand: fn(&mut Self, usize) -> Result<Expr, TraceError>,
    ) -> Result<Expr, TraceError> {
        let mut left = operand(self, depth)?;
        while let Some((_, op)) = operators.iter().find(|(c, _)| self.rest().starts_with(*c)) {
            let column = self.column();
            self.at += 1;
            self.space();
            let args = vec![left, operand(self, depth)?];
            left = Expr { column, kind: ExprKind::Call { callee: (*op).to_owned(), args, attrs: Vec::new() } };
        }
        Ok(left)
    }

    fn primary(&mut self, depth: usize) -> Result<Expr, TraceError> {
        if depth > 64 {
            return Err(TraceError::new("calls are nested too deeply").at((0, self.column())));
        }
        let column = self.column();
        if self.symbol('(') {
            let inner = self.sum(depth + 1)?;
            self.expect(')')?;
            return Ok(inner);
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            let number = self.number()?;
            let value = match number {
                Literal::Int(v) => v as f64,
                Literal::Float(v) => v,
                _ => return Err(self.unexpected("a number")),
            };
            return Ok(Expr { column, kind: ExprKind::Number(value) });
        }
        let name = self.name()?;
        if !self.symbol('(') {
            return Ok(Expr { column, kind: ExprKind::Name(name) });
        }
        let (mut args, mut attrs) = (Vec::new(), Vec::new());
        while !self.symbol(')') {
            if !(args.is_empty() && attrs.is_empty()) {
                self.expect(',')?;
            }
            let before = self.at;
            // `name=` begins an attribute.
            match self.name() {
                Ok(attr) if self.symbol('=') => attrs.push((attr, self.literal(0)?)),
                _ => {
                    self.at = before;
                    args.push(self.sum(depth + 1)?);
                }
            }
        }
        Ok(Expr { column, kind: ExprKind::Call { callee: name, args, attrs } })
    }

    fn number(&mut self) -> Result<Literal, TraceError> {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|&(i, c)| {
                let sign = matches!(c, '-' | '+') && (i == 0 || rest[..i].ends_with(['e', 'E']));
                !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || sign)
            })
            .map_or(rest.len(), |(i, _)| i);
        let text = &rest[..end];
        let literal = match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(v), _) => Literal::Int(v),
            (_, Ok(v)) => Literal::Float(v),
            _ => return Err(self.unexpected("a number")),
        };
        self.at += end;
        self.space();
        Ok(literal)
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, TraceError> {
        if self.symbol('[') && depth < 2 {
            let mut items = Vec::new();
            while !self.symbol(']') {
                if !items.is_empty() {
                    self.expect(',')?;
                }
                items.push(self.literal(depth + 1)?);
            }
            return Ok(Literal::List(items));
        }
        if self.symbol('$') {
            return Ok(Literal::Parameter(self.name()?));
        }
        if self.word("true") {
            return Ok(Literal::Bool(true));
        }
        if self.word("false") {
            return Ok(Literal::Bool(false));
        }
        if self.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return self.number();
        }
        Ok(Literal::Word(self.name()?))
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_parse_and_errors_have_columns() {
        let call = |callee: &str, column, args| Expr {
            column,
            kind: ExprKind::Call { callee: callee.to_owned(), args, attrs: Vec::new() },
        };
        let name = |n: &str, column| Expr { column, kind: ExprKind::Name(n.to_owned()) };
        let parsed = parse("y = bn1(x) + x * z").expect("valid");
        let product = call("mul", 15, vec![name("x", 13), name("z", 17)]);
        let sum = call("add", 11, vec![call("bn1", 4, vec![name("x", 8)]), product]);
        assert_eq!(parsed, Statement::Assign(vec!["y".to_owned()], sum));
        let attrs =
            parse("return flatten(x, start_dim=1, dims=[0, -1], scale=-1e-3, mode=edge, keepdim=true, g=$groups)");
        assert!(attrs.is_ok(), "{attrs:?}");
        for (text, column) in
            [("", 0), ("y = ", 4), ("y = f(x", 7), ("y = f(x) )", 9), ("return", 6), ("3 = x", 0), ("y = $p", 4)]
        {
            assert_eq!(parse(text).expect_err(text).position, Some((0, column)), "{text}");
        }
    }
}
