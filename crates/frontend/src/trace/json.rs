//! JSON with positions: serde_json's raw values point into the source text, so an offset is a difference of addresses.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::TraceError;

/// A JSON value and where it starts in the source.
#[derive(Clone, Debug)]
pub(crate) struct Spanned {
    pub(crate) offset: usize,
    pub(crate) value: Json,
}

/// A JSON value.
#[derive(Clone, Debug)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Spanned>),
    /// Members in order.
    Object(Vec<(String, Spanned)>),
}

impl Json {
    /// The kind's name, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

/// The members of an object, undecoded; unlike a map it keeps duplicates, so that they can be reported.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Line and column, from 1, of an offset.
pub(crate) fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Parses a document.
pub(crate) fn parse(source: &str) -> Result<Spanned, TraceError> {
    // The whole text first, for the position of a syntax error.
    let raw: &RawValue = serde_json::from_str(source).map_err(|e| {
        let message = e.to_string();
        // Its own position says the same.
        let cause = message.split(" at line ").next().unwrap_or(&message);
        TraceError::new(format!("not JSON: {cause}")).at((e.line(), e.column()))
    })?;
    decode(source, raw, 0)
}

/// Where a part of the source starts.
fn offset_in(source: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(source.as_ptr() as usize)
}

fn decode(source: &str, raw: &RawValue, depth: usize) -> Result<Spanned, TraceError> {
    let text = raw.get();
    let offset = offset_in(source, text);
    let fail = |message: String| TraceError::new(message).at(position(source, offset));
    if depth > 64 {
        return Err(fail("objects are nested too deeply".to_owned()));
    }
    let invalid = |e: serde_json::Error| fail(format!("not JSON: {e}"));
    let value = match text.as_bytes().first() {
        Some(b'{') => {
            let Members(raw) = serde_json::from_str(text).map_err(invalid)?;
            let mut members: Vec<(String, Spanned)> = Vec::with_capacity(raw.len());
            for (key, value) in raw {
                if members.iter().any(|m| m.0 == key) {
                    let at = position(source, offset_in(source, value.get()));
                    return Err(TraceError::new(format!("`{key}` is given twice")).at(at));
                }
                members.push((key, decode(source, value, depth + 1)?));
            }
            Json::Object(members)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(invalid)?;
            Json::Array(items.into_iter().map(|v| decode(source, v, depth + 1)).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Json::String(serde_json::from_str(text).map_err(invalid)?),
        Some(b't' | b'f') => Json::Bool(serde_json::from_str(text).map_err(invalid)?),
        Some(b'n') => Json::Null,
        _ => Json::Number(serde_json::from_str(text).map_err(invalid)?),
    };
    Ok(Spanned { offset, value })
}
