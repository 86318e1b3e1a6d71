//! Objects of the JSON document, with the place in it for messages.

use std::fmt;

use quantc_ops::names::{nearest, suggest};
use serde_json::{Map, Value as Json};

/// One thing wrong with the document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormError {
    /// The place: `configs[3].pattern[1]`.
    pub at: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl FormError {
    pub(super) fn new(at: &str, message: impl Into<String>) -> FormError {
        FormError { at: at.to_owned(), message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> FormError {
        FormError { hint: Some(hint.into()), ..self }
    }

    /// With the known name that is most like the one given.
    pub(super) fn nearest<'a>(self, name: &str, known: impl IntoIterator<Item = &'a str>) -> FormError {
        match nearest(name, known) {
            Some(best) => self.hint(format!("did you mean `{best}`?")),
            None => self,
        }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

/// An object and where it stands. A key with `null` is one that is not there.
pub(super) struct Fields<'a> {
    at: &'a str,
    map: &'a Map<String, Json>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(at: &'a str, value: &'a Json) -> Result<Fields<'a>, FormError> {
        let map = value.as_object().ok_or_else(|| FormError::new(at, "must be an object"))?;
        Ok(Fields { at, map })
    }

    /// The place of a key.
    pub(super) fn place(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    fn wrong(&self, key: &str, expected: &str) -> FormError {
        FormError::new(&self.place(key), format!("must be {expected}"))
    }

    /// Fails if there is a key that is not one of these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), FormError> {
        let Some(key) = self.map.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
        let error = FormError::new(&self.place(key), "there is no such key");
        Err(match suggest(key, known.iter().copied()) {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }

    /// The value of a key and its place.
    pub(super) fn get(&self, key: &str) -> Option<(String, &'a Json)> {
        self.map.get(key).filter(|v| !v.is_null()).map(|v| (self.place(key), v))
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<&'a str>, FormError> {
        self.get(key).map(|(_, v)| v.as_str().ok_or_else(|| self.wrong(key, "a string"))).transpose()
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&'a [Json]>, FormError> {
        let list =
            |(_, v): (String, &'a Json)| v.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(key, "a list"));
        self.get(key).map(list).transpose()
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, FormError> {
        self.get(key).map(|(_, v)| v.as_bool().ok_or_else(|| self.wrong(key, "true or false"))).transpose()
    }

    /// A whole number; PyTorch takes a float for it too.
    pub(super) fn int(&self, key: &str) -> Result<Option<i32>, FormError> {
        let whole = |v: &Json| {
            let v =
                v.as_f64().filter(|v| v.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(v))?;
            Some(v as i32)
        };
        self.get(key).map(|(_, v)| whole(v).ok_or_else(|| self.wrong(key, "a whole number"))).transpose()
    }

    pub(super) fn real(&self, key: &str) -> Result<Option<f32>, FormError> {
        let finite = |v: &Json| v.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
        self.get(key).map(|(_, v)| finite(v).ok_or_else(|| self.wrong(key, "a number"))).transpose()
    }
}
