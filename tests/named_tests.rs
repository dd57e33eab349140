//! `docs/threat-model.md` and `docs/contract.md` name tests: each of them is there, and each attack
//! and each line of the contract has its own.

use std::path::{Path, PathBuf};

const THREATS: &str = include_str!("../docs/threat-model.md");
const CONTRACT: &str = include_str!("../docs/contract.md");

/// Sources below a folder.
pub(crate) fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|ending| ending == "rs"));
    found
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// Each `file::test` in a text.
fn named(text: &'static str) -> Vec<(&'static str, &'static str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let mut named: Vec<_> = quoted.filter_map(|text| text.split_once("::")).collect();
    // The one that says what a name looks like.
    named.retain(|name| *name != ("file", "test"));
    named
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let files: Vec<_> = ["tests", "src"].into_iter().flat_map(sources).collect();
    for page in [THREATS, CONTRACT] {
        let named = named(page);
        assert!(named.len() > 40, "the names were found");
        for (file, test) in named {
            let is_there = files.iter().filter(|path| stem(path) == file).any(|path| {
                let text = std::fs::read_to_string(path).unwrap();
                text.contains(&format!("fn {test}("))
            });
            assert!(is_there, "there is no test {file}::{test}");
        }
    }
}

#[test]
fn every_attack_has_its_row() {
    let rows = THREATS.lines().filter_map(|line| {
        let number = line.strip_prefix("| T")?.split(' ').next()?;
        number.parse().ok()
    });
    let rows: Vec<u32> = rows.collect();
    assert_eq!(rows, (1..=30).collect::<Vec<_>>());
    let named = named(THREATS);
    for path in sources("tests/attacks") {
        let file = stem(&path);
        let is_an_attack = file.starts_with('t') && file.as_bytes()[1].is_ascii_digit();
        let is_named = named.iter().any(|(named, _)| *named == file);
        assert!(is_named || !is_an_attack, "the page does not name {file}");
    }
}

#[test]
fn every_line_of_the_contract_has_its_test() {
    let table = |line: &&str| line.starts_with("| ") && !line.starts_with("| Cause ");
    let rows: Vec<_> = CONTRACT.lines().filter(table).collect();
    assert!(rows.len() > 30, "the rows were found");
    for row in rows {
        assert!(!named(row).is_empty(), "no test for {row}");
    }
}
