//! Alerts, dashboard and pages name metrics: each of them is there in a gateway that has just started,
//! with the labels by which they select. Each alert has a test and an entry in the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::named_tests::sources;
use crate::support::http::request;
use crate::support::process::{Process, Scene, serve};

const RULES: &str = include_str!("../helm/smtp-gateway/templates/prometheusrule.yaml");
const RULES_TEST: &str = include_str!("../helm/tests/rules_test.yaml");
const ADAPTER: &str = include_str!("../deployment/prometheus-adapter/values.yaml");
const RUNBOOK: &str = include_str!("../docs/operations.md");

/// What an operator reads or installs, without the code.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = ["README.md", "CHANGELOG.md", "docs", "helm", "deployment"];
    let mut paths: Vec<_> = names.map(|name| root.join(name)).into();
    let mut texts = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let ending = path.extension().and_then(OsStr::to_str);
        if matches!(ending, Some("md" | "yaml" | "json" | "tpl" | "txt")) {
            // A dashboard's expressions are strings of JSON.
            let text = fs::read_to_string(&path).unwrap().replace("\\\"", "\"");
            texts.push((path, without_templates(&text)));
        }
    }
    texts
}

/// A text without what Helm or Grafana puts in the place of `{{ … }}`.
fn without_templates(text: &str) -> String {
    let mut rest = String::new();
    for (place, piece) in text.split("{{").enumerate() {
        let kept = match (place, piece.split_once("}}")) {
            (0, _) | (_, None) => piece,
            (_, Some((_, kept))) => kept,
        };
        rest.push_str(kept);
    }
    rest
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')
}

/// Each metric of the gateway that a text names, with what selects in braces behind it.
fn named(text: &str) -> Vec<(&str, Vec<Selector<'_>>)> {
    let mut named = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (_, from) = rest.split_at(start);
        let (word, behind) = from.split_at(from.find(|at| !is_word(at)).unwrap_or(from.len()));
        rest = behind;
        let is_metric = word.starts_with("smtp_") || word.starts_with("process_");
        // Recorded by a rule; the crate; the beginning of many.
        let is_other = word.contains(':') || word == "smtp_gateway" || word.ends_with('_');
        if is_metric && !is_other {
            let braces = behind
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'));
            named.push((
                word,
                braces.map_or_else(Vec::new, |(inner, _)| selectors(inner)),
            ));
        }
    }
    named
}

struct Selector<'a> {
    label: &'a str,
    values: Vec<&'a str>,
}

/// `label="value"` and the like, save for labels that the gateway does not choose.
fn selectors(inner: &str) -> Vec<Selector<'_>> {
    inner
        .split(',')
        .filter_map(|text| text.trim().split_once('='))
        .map(|(label, value)| Selector {
            label: label.trim_end_matches('!'),
            values: value.trim_matches(['~', '"']).split('|').collect(),
        })
        .filter(|selector| !ADDED.contains(&selector.label))
        .collect()
}

const ADDED: [&str; 5] = ["namespace", "service", "job", "pod", "le"];

/// The metrics of a gateway, each with the values of its labels.
fn exported(text: &str) -> BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> {
    let mut exported = BTreeMap::<_, BTreeMap<_, BTreeSet<_>>>::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            exported
                .entry(family.split(' ').next().unwrap())
                .or_default();
        } else if let Some((name, selectors)) = named(line).into_iter().next() {
            let labels = exported.entry(name).or_default();
            for selector in selectors {
                labels
                    .entry(selector.label)
                    .or_default()
                    .extend(selector.values);
            }
        }
    }
    exported
}

#[test]
fn every_metric_that_is_named_is_there_from_the_start_with_its_labels() {
    let scene = Scene::new();
    let url = scene.api.url();
    let mut process = Process::start(serve(&scene.folder).envs([
        ("GATEWAY__AUTH__SOURCE", "key-api"),
        ("CAKEMAIL_AUTH_URL", url.as_str()),
    ]));
    let (_, metrics) = request(process.listening("HTTP"), "GET", "/metrics");
    let exported = exported(&metrics);
    let (_, adapted) = ADAPTER.split_once(" as: ").unwrap();
    let adapted = adapted.lines().next().unwrap();
    let mut faults = Vec::new();
    let mut found = BTreeSet::new();
    for (path, text) in texts() {
        for (name, selectors) in named(&text) {
            let Some(labels) = exported.get(name) else {
                if name != adapted {
                    faults.push(format!("{}: there is no {name}", path.display()));
                }
                continue;
            };
            for Selector { label, values } in selectors {
                let there = labels.get(label).cloned().unwrap_or_default();
                let is_missing = |value: &&&str| **value != "…" && !there.contains(**value);
                for value in values.iter().filter(is_missing) {
                    let fault = format!("no {name}{{{label}=\"{value}\"}}");
                    faults.push(format!("{}: {fault}", path.display()));
                }
            }
            found.insert(name.to_owned());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(found.len() > 30, "the names were found: {found:?}");
}

#[test]
fn every_line_of_the_log_that_the_runbook_looks_for_is_written() {
    let read = |path| fs::read_to_string(path).unwrap();
    let sources: Vec<_> = sources("src").into_iter().map(read).collect();
    let looked_for = RUNBOOK.split(".message == \"").skip(1);
    let lines: Vec<_> = looked_for
        .filter_map(|text| text.split('"').next())
        .collect();
    assert!(lines.len() > 10, "the lines were found");
    for line in lines {
        let written = format!("\"{line}\"");
        let is_there = sources.iter().any(|source| source.contains(&written));
        assert!(is_there, "nothing writes {written}");
    }
}

/// The names of the alerts, from `- alert: Name` and `"alert" "Name"`.
fn alerts() -> BTreeSet<&'static str> {
    let words = RULES.split(|at| !is_word(at));
    words
        .filter(|word| word.starts_with("SmtpGateway"))
        .collect()
}

#[test]
fn every_alert_has_a_test_and_an_entry_in_the_runbook() {
    let entries: BTreeSet<_> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(alerts(), entries);
    for alert in alerts() {
        let tested = format!("alertname=\"{alert}\"");
        assert!(RULES_TEST.contains(&tested), "nothing fires {alert}");
    }
    let (address, _) = RULES.split_once("docs/operations.md#").unwrap();
    assert!(address.ends_with("https://github.com/cakemail/smtp-gateway/blob/main/"));
    // The anchor of a heading is its text in small letters.
    let anchors = RULES
        .lines()
        .filter_map(|line| line.split_once("runbook_url: {{ $runbook }}"));
    let known: BTreeSet<_> = entries.iter().map(|entry| entry.to_lowercase()).collect();
    let mut count = 0;
    for (_, anchor) in anchors {
        count += 1;
        let is_known = known.contains(anchor) || anchor == "{{ lower $objective.alert }}";
        assert!(is_known, "there is no entry for {anchor}");
    }
    assert_eq!(count, RULES.matches("- alert:").count());
}
