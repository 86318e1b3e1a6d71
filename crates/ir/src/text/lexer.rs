//! Tokens of the text form.

use crate::IrError;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A plain word.
    Word(String),
    /// A quoted string.
    Str(String),
    /// An integer.
    Int(i64),
    /// A real number.
    Float(f64),
    /// `# ...` to the end of the line.
    Comment(String),
    /// One punctuation character.
    Punct(char),
    /// `:` directly followed by a digit: selects an output.
    Select(u32),
    /// End of the text.
    End,
}

impl Token {
    /// The token as messages show it.
    pub(crate) fn show(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Str(s) => format!("{s:?}"),
            Token::Int(v) => format!("`{v}`"),
            Token::Float(v) => format!("`{v:?}`"),
            Token::Comment(_) => "a comment".to_owned(),
            Token::Punct(c) => format!("`{c}`"),
            Token::Select(n) => format!("`:{n}`"),
            Token::End => "the end of the text".to_owned(),
        }
    }
}

/// A token and where it starts (line and column from 1).
#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

struct Chars<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

impl Chars<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|c| keep(*c)) {
            out.push(c);
            self.next();
        }
        out
    }

    fn error(&self, message: impl Into<String>) -> IrError {
        IrError::Parse { line: self.line, column: self.column, message: message.into() }
    }

    /// A string after its opening quote, with Rust's escapes.
    fn string(&mut self) -> Result<String, IrError> {
        let mut out = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err(self.error("string without a closing quote")),
                Some('"') => return Ok(out),
                Some('\\') => match self.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some('0') => out.push('\0'),
                    Some(c @ ('"' | '\\' | '\'')) => out.push(c),
                    Some('u') => {
                        self.next();
                        let hex = self.take_while(|c| c.is_ascii_hexdigit());
                        self.next();
                        let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                        out.push(code.ok_or_else(|| self.error("bad \\u escape"))?);
                    }
                    _ => return Err(self.error("unknown escape in a string")),
                },
                Some(c) => out.push(c),
            }
        }
    }

    fn number(&mut self) -> Result<Token, IrError> {
        let text = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        match text.as_str() {
            "-inf" => return Ok(Token::Float(f64::NEG_INFINITY)),
            "-nan" => return Ok(Token::Float(f64::NAN)),
            _ => {}
        }
        if let Ok(v) = text.parse::<i64>() {
            return Ok(Token::Int(v));
        }
        text.parse::<f64>().map(Token::Float).map_err(|_| self.error(format!("`{text}` is no number")))
    }
}

/// Splits the text into tokens.
pub(crate) fn lex(text: &str) -> Result<Vec<Spanned>, IrError> {
    let mut chars = Chars { rest: text.chars().peekable(), line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        chars.take_while(char::is_whitespace);
        let (line, column) = (chars.line, chars.column);
        let Some(c) = chars.peek() else {
            tokens.push(Spanned { token: Token::End, line, column });
            return Ok(tokens);
        };
        let token = match c {
            '#' => {
                chars.next();
                Token::Comment(chars.take_while(|c| c != '\n').trim().to_owned())
            }
            '"' => {
                chars.next();
                Token::Str(chars.string()?)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                Token::Word(chars.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            }
            c if c.is_ascii_digit() || c == '-' => chars.number()?,
            ':' => {
                chars.next();
                if chars.peek().is_some_and(|c| c.is_ascii_digit()) {
                    let digits = chars.take_while(|c| c.is_ascii_digit());
                    Token::Select(digits.parse().map_err(|_| chars.error("output number out of range"))?)
                } else {
                    Token::Punct(':')
                }
            }
            '(' | ')' | '{' | '}' | '[' | ']' | ',' | '=' | '%' | '@' | '?' | ';' => {
                chars.next();
                Token::Punct(c)
            }
            c => return Err(chars.error(format!("unexpected character {c:?}"))),
        };
        tokens.push(Spanned { token, line, column });
    }
}
