//! Names that are alike, for hints in messages.

/// `did you mean ...?` for a misspelt name, else the list of what there is (if short).
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let best = known.iter().map(|k| (distance(wrong, k), *k)).min()?;
    if best.0 <= 2.max(wrong.len() / 4) && best.0 < wrong.chars().count() {
        return Some(format!("did you mean `{}`?", best.1));
    }
    (known.len() <= 24).then(|| format!("there is: {}", known.join(", ")))
}

/// The name most like `name`, if any is alike: at most a third of it to be changed, or one contains the other.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let far = |other: &'a str| {
        let distance = distance(name, other);
        let contains = !name.is_empty() && (other.contains(name) || name.contains(other));
        (distance <= name.len() / 3 + 1 || contains).then_some((distance, other))
    };
    names.into_iter().filter_map(far).min().map(|(_, n)| n.to_owned())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_found_and_another_word_is_not() {
        let known = ["relu", "tanh", "max_pool2d"];
        assert_eq!(suggest("rely", known).as_deref(), Some("did you mean `relu`?"));
        assert_eq!(suggest("hardtanh", known).as_deref(), Some("there is: relu, tanh, max_pool2d"));
        assert_eq!(nearest("maxpool2d", known).as_deref(), Some("max_pool2d"));
        assert_eq!(nearest("stem", known), None);
    }
}
