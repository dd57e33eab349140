//! Finds values inside others by the levels that lead to them. A level of a list is an index.

use figment::error::Actual;
use figment::value::Value;

pub(super) fn child<'v>(node: &'v Value, level: &str) -> Option<&'v Value> {
    match node {
        Value::Dict(_, table) => table.get(level),
        Value::Array(_, list) => list.get(level.parse::<usize>().ok()?),
        _ => None,
    }
}

pub(super) fn find<'v>(root: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(root, |node, level| child(node, level))
}

pub(super) fn find_mut<'v>(root: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(root, |node, level| match node {
        Value::Dict(_, table) => table.get_mut(level),
        Value::Array(_, list) => list.get_mut(level.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The path to a scalar that occurs once; empty if it is the node itself, or not found so.
pub(super) fn path_to_only(wanted: &Actual, node: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), node)];
    while let Some((path, node)) = open.pop() {
        let below = |level: String| [path.clone(), vec![level]].concat();
        match node {
            Value::Dict(_, table) => {
                open.extend(
                    table
                        .iter()
                        .map(|(level, next)| (below(level.clone()), next)),
                );
            }
            Value::Array(_, list) => {
                let entries = list.iter().enumerate();
                open.extend(entries.map(|(n, next)| (below(n.to_string()), next)));
            }
            scalar if scalar.to_actual() == *wanted => found.push(path),
            _ => {}
        }
    }
    match found.as_slice() {
        [only] => only.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::inline;

    #[test]
    fn a_scalar_is_found_if_it_occurs_once() {
        let node = inline::parse(r#"{ a = ["x", "y", { b = "z" }], c = "x" }"#).unwrap();
        let path = |text: &str| path_to_only(&Actual::Str(text.into()), &node).join(".");
        assert_eq!(path("z"), "a.2.b");
        assert_eq!(path("x"), "");
        assert_eq!(find(&node, &["a".into(), "1".into()]), Some(&"y".into()));
        assert_eq!(find(&node, &["a".into(), "9".into()]), None);
    }
}
