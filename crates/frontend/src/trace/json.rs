//! A JSON reader (RFC 8259) that keeps where everything is, so that an error in a description has a line and a column.
//! `serde_json` has positions for syntax errors only.

use super::error::{Kind, TraceError};

/// How deep arrays and objects may nest.
const MAX_DEPTH: usize = 64;

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Byte offset of its first character.
    pub(super) at: usize,
    pub(super) value: Json,
}

#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Text),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// A member of an object; keys are unique.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: String,
    /// Byte offset of the key.
    pub(super) at: usize,
    pub(super) value: Node,
}

/// A string and where each of its characters is in the file.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    /// File offset of the first character.
    start: usize,
    /// After each escape: its end in `text`, and how many more bytes the file has had up to there.
    escapes: Vec<(usize, usize)>,
}

impl Text {
    /// The file offset of a byte offset in the text.
    pub(super) fn offset(&self, index: usize) -> usize {
        let extra = self.escapes.iter().rev().find(|e| e.0 <= index).map_or(0, |e| e.1);
        self.start + index + extra
    }
}

impl Json {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Int(_) => "an integer",
            Json::Float(_) => "a number",
            Json::Str(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

/// Reads a document.
pub(super) fn parse(source: &str) -> Result<Node, TraceError> {
    let mut reader = Reader { source, bytes: source.as_bytes(), at: 0 };
    let node = reader.value(0)?;
    reader.space();
    if reader.at < reader.bytes.len() {
        return Err(reader.fail("unexpected text after the end of the document"));
    }
    Ok(node)
}

struct Reader<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fail(&self, message: impl Into<String>) -> TraceError {
        TraceError::at(self.at, Kind::Json { message: message.into() })
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &str) -> Result<(), TraceError> {
        self.space();
        if self.bytes.get(self.at) != Some(&byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn expected(&self, what: &str) -> TraceError {
        match self.source[self.at..].chars().next() {
            Some(c) => self.fail(format!("expected {what}, found `{}`", c.escape_debug())),
            None => self.fail(format!("expected {what}, found the end of the file")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, TraceError> {
        self.space();
        let at = self.at;
        if depth > MAX_DEPTH {
            return Err(self.fail(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let value = match self.bytes.get(at) {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Json::Str(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Node { at, value })
    }

    fn object(&mut self, depth: usize) -> Result<Json, TraceError> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        let mut keys = std::collections::HashSet::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            let at = self.at;
            if self.bytes.get(at) != Some(&b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?.text;
            if !keys.insert(key.clone()) {
                return Err(TraceError::at(at, Kind::Json { message: format!("the key `{key}` is there twice") }));
            }
            self.expect(b':', "`:`")?;
            let value = self.value(depth + 1)?;
            members.push(Member { key, at, value });
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                _ => return Err(self.expected("`,` or `}`")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, TraceError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.expected("`,` or `]`")),
            }
        }
    }

    fn word(&mut self) -> Result<Json, TraceError> {
        for (word, value) in [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)] {
            if self.source[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    fn number(&mut self) -> Result<Json, TraceError> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = &self.source[start..self.at];
        let digits = text.strip_prefix('-').unwrap_or(text);
        let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        let starts_well = digits.starts_with(|c: char| c.is_ascii_digit()) && !leading_zero && !digits.ends_with('.');
        let value = match text.parse::<i64>() {
            Ok(v) => Some(Json::Int(v)),
            Err(_) => text.parse::<f64>().ok().filter(|v| v.is_finite()).map(Json::Float),
        };
        match value {
            Some(v) if starts_well => Ok(v),
            _ => Err(TraceError::at(start, Kind::Json { message: format!("`{text}` is not a number") })),
        }
    }

    fn string(&mut self) -> Result<Text, TraceError> {
        self.at += 1;
        let start = self.at;
        let mut text = String::new();
        let mut escapes = Vec::new();
        loop {
            let Some(c) = self.source[self.at..].chars().next() else {
                return Err(self.fail("the string does not end"));
            };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(Text { text, start, escapes });
                }
                '\\' => {
                    text.push(self.escape()?);
                    escapes.push((text.len(), self.at - start - text.len()));
                }
                c if c < ' ' => return Err(self.fail("a string can't contain a line break or control character")),
                c => {
                    text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, TraceError> {
        let c = self.bytes.get(self.at + 1).copied();
        let simple = match c {
            Some(c @ (b'"' | b'\\' | b'/')) => Some(char::from(c)),
            Some(b'n') => Some('\n'),
            Some(b't') => Some('\t'),
            Some(b'r') => Some('\r'),
            Some(b'b') => Some('\u{8}'),
            Some(b'f') => Some('\u{c}'),
            _ => None,
        };
        if let Some(c) = simple {
            self.at += 2;
            return Ok(c);
        }
        let unit = |at: usize| {
            let hex = self.source.get(at + 2..at + 6).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))?;
            let escaped = self.source.get(at..at + 2) == Some("\\u");
            u32::from_str_radix(hex, 16).ok().filter(|_| escaped)
        };
        let (code, length) = match (unit(self.at), unit(self.at + 6)) {
            (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                (Some(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)), 12)
            }
            (code, _) => (code, 6),
        };
        let Some(c) = code.and_then(char::from_u32) else {
            return Err(self.fail("unknown escape in a string"));
        };
        self.at += length;
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_keep_their_places() {
        let source = r#"{"a": "x\n\u00e9\ud83d\ude00y", "b": [1, -2.5e1, null, true]}"#;
        let Ok(Node { value: Json::Object(members), .. }) = parse(source) else { panic!("not an object") };
        let Json::Str(text) = &members[0].value.value else { panic!("not a string") };
        assert_eq!(text.text, "x\n\u{e9}\u{1f600}y");
        let y = text.text.find('y').map(|i| text.offset(i));
        assert_eq!(y, source.find('y'));
        assert_eq!(text.offset(0), source.find('x').unwrap());
        assert!(
            matches!(&members[1].value.value, Json::Array(items) if matches!(items[1].value, Json::Float(v) if v == -25.0))
        );
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json() {
        let cases = [
            "{}",
            "[]",
            "[1,]",
            "{\"a\":}",
            "01",
            "-",
            "-0",
            "1.",
            ".5",
            "1e5",
            "1e400",
            "\"\\x\"",
            "\"\\ud800\"",
            "nul",
            "null",
            "tru",
            "[1 2]",
            "\"a\nb\"",
            "{'a':1}",
            "{\"a\" 1}",
            "\"abc",
            "+1",
            "1e",
            "[\"\\u12\"]",
            "truex",
            "",
        ];
        for case in cases {
            assert_eq!(parse(case).is_ok(), serde_json::from_str::<serde_json::Value>(case).is_ok(), "{case}");
        }
    }
}
