//! Settings as a tree of values, each knowing its source, and how a stronger source covers a
//! weaker one.
//!
//! Tables are merged key by key. Everything else, lists too, is a leaf and is replaced as a whole.

use figment::value::Dict;
use figment::value::Tag;
use figment::value::Value;

use crate::config::key_path::KeyPath;
use crate::config::origin::Origins;
use crate::config::origin::Source;
use crate::config::vocabulary::Vocabulary;

/// The values of one source, or of several merged. Every leaf has an origin, and nothing else has.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) values: Dict,
    pub(super) origins: Origins,
}

impl Tree {
    /// Adds all of a table, from one source.
    pub(super) fn plant(&mut self, at: &KeyPath, table: Dict, source: &Source) {
        for (level, value) in table {
            let key = at.child(&level);
            match value {
                Value::Dict(_, table) if !table.is_empty() => self.plant(&key, table, source),
                leaf => self.set(&key, leaf, source.clone()),
            }
        }
    }

    /// Gives a key its value, and makes the tables that lead to it.
    pub(super) fn set(&mut self, key: &KeyPath, leaf: Value, source: Source) {
        let Some((last, holders)) = key.levels().split_last() else {
            return;
        };
        let mut table = &mut self.values;
        for level in holders {
            let node = table.entry(level.clone()).or_insert_with(empty_table);
            if !matches!(node, Value::Dict(..)) {
                *node = empty_table();
            }
            let Value::Dict(_, next) = node else { return };
            table = next;
        }
        let is_empty_table = leaf.as_dict().is_some_and(Dict::is_empty);
        if is_empty_table && matches!(table.get(last), Some(Value::Dict(..))) {
            return;
        }
        table.insert(last.clone(), leaf);
        self.origins.remove_within(key);
        for holder in key.and_holders() {
            self.origins.remove(&holder);
        }
        self.origins.insert(key.clone(), source);
    }

    /// Puts a stronger source on top.
    ///
    /// A secret also replaces its twin (`password` the weaker `password_file`, and the other way
    /// round), so that only one source giving both is a fault.
    pub(super) fn cover(&mut self, stronger: &Self, vocabulary: &Vocabulary) {
        for (key, _) in stronger.origins.iter() {
            if let Some(twin) = vocabulary.twin(key) {
                self.remove(&twin);
            }
        }
        for (key, source) in stronger.origins.iter() {
            if let Some(leaf) = find(&stronger.values, key.levels()) {
                self.set(key, leaf.clone(), source.clone());
            }
        }
    }

    pub(super) fn remove(&mut self, key: &KeyPath) {
        self.origins.remove_within(key);
        let Some((last, holders)) = key.levels().split_last() else {
            return;
        };
        let mut table = &mut self.values;
        for level in holders {
            let Some(Value::Dict(_, next)) = table.get_mut(level) else {
                return;
            };
            table = next;
        }
        table.remove(last);
    }
}

pub(super) fn empty_table() -> Value {
    Value::Dict(Tag::Default, Dict::new())
}

fn find<'v>(table: &'v Dict, levels: &[String]) -> Option<&'v Value> {
    let (first, rest) = levels.split_first()?;
    rest.iter()
        .try_fold(table.get(first)?, |node, level| node.as_dict()?.get(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: Vocabulary = Vocabulary {
        sections: &[],
        values: &[],
        secrets: &["password"],
        aliases: &[],
    };

    fn tree(source: &str, leaves: &[(&str, Value)]) -> Tree {
        let mut tree = Tree::default();
        for (key, value) in leaves {
            tree.set(
                &KeyPath::from(*key),
                value.clone(),
                Source::Environment(source.into()),
            );
        }
        tree
    }

    fn keys(tree: &Tree) -> Vec<String> {
        tree.origins
            .iter()
            .map(|(key, source)| format!("{key} {source}"))
            .collect()
    }

    #[test]
    fn tables_merge_key_by_key_and_the_stronger_value_wins() {
        let mut weak = tree("weak", &[("a.x", 1.into()), ("a.y", 2.into())]);
        weak.cover(
            &tree("strong", &[("a.y", 3.into()), ("b", 4.into())]),
            &VOCABULARY,
        );
        assert_eq!(keys(&weak), ["a.x weak", "a.y strong", "b strong"]);
        assert_eq!(
            find(&weak.values, KeyPath::from("a.y").levels()),
            Some(&3.into())
        );
    }

    #[test]
    fn lists_are_replaced_as_a_whole() {
        let mut weak = tree("weak", &[("a", vec![1, 2].into())]);
        weak.cover(&tree("strong", &[("a", vec![3].into())]), &VOCABULARY);
        assert_eq!(weak.values.get("a"), Some(&vec![3].into()));
    }

    #[test]
    fn a_table_replaces_a_leaf_and_a_leaf_a_table() {
        let mut weak = tree("weak", &[("a", 1.into()), ("b.x", 1.into())]);
        weak.cover(
            &tree("strong", &[("a.x", 2.into()), ("b", 2.into())]),
            &VOCABULARY,
        );
        assert_eq!(keys(&weak), ["a.x strong", "b strong"]);
    }

    #[test]
    fn an_empty_table_is_kept_but_clears_nothing() {
        let mut weak = tree("weak", &[("a.x", 1.into())]);
        weak.cover(
            &tree("strong", &[("a", empty_table()), ("b", empty_table())]),
            &VOCABULARY,
        );
        assert_eq!(keys(&weak), ["a.x weak", "b strong"]);
    }

    #[test]
    fn a_stronger_secret_replaces_the_weaker_twin() {
        let mut weak = tree("weak", &[("a.password_file", "/x".into())]);
        weak.cover(&tree("strong", &[("a.password", "p".into())]), &VOCABULARY);
        assert_eq!(keys(&weak), ["a.password strong"]);
        weak.cover(
            &tree("flag", &[("a.password_file", "/y".into())]),
            &VOCABULARY,
        );
        assert_eq!(keys(&weak), ["a.password_file flag"]);
    }
}
