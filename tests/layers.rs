//! The order of the layers, as ARCHITECTURE.md draws it: a module uses only what stands before it.

use std::fs;
use std::path::{Path, PathBuf};

/// Low to high. Modules in one line do not know each other.
const ORDER: [&[&str]; 13] = [
    &["secret", "units", "bounded"],
    &["smtp"],
    &["message"],
    &["telemetry"],
    &["tls", "shutdown"],
    &["http_client"],
    &["auth"],
    &["delivery"],
    &["submission"],
    &["ingress", "admin"],
    &["config"],
    &["app"],
    &["cli"],
];
const PURE: [&str; 10] = [
    "secret",
    "units",
    "bounded",
    "smtp",
    "message",
    "submission/senders",
    "submission/verdict",
    "delivery/breaker",
    "delivery/retry",
    "auth/throttle",
];
const IMPURE: [&str; 8] = [
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
    "std::thread",
    "reqwest",
    "tracing",
];
/// Each of these crates has one home.
const HOMES: [(&str, &[&str]); 10] = [
    ("idna", &["submission/senders"]),
    ("mail_parser", &["message"]),
    ("reqwest", &["http_client", "auth/key_api", "delivery/http"]),
    (
        "moka",
        &["auth/cache", "delivery/http/senders", "submission/memory"],
    ),
    ("axum", &["admin"]),
    ("figment", &["config"]),
    (
        "prometheus",
        &[
            "telemetry/metrics",
            "auth/cache",
            "auth/lookup",
            "submission",
            "delivery/http",
            "ingress/smtp",
            "shutdown",
            "tls",
            "app/reload",
        ],
    ),
    ("clap", &["cli"]),
    (
        "arc_swap",
        &["tls", "auth", "submission", "ingress/smtp", "app"],
    ),
    ("x509_parser", &["tls"]),
];

pub(crate) fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let module = path.strip_prefix(&root).unwrap().with_extension("");
                // What stands behind the tests' line is not part of the product.
                let text = fs::read_to_string(&path).unwrap();
                let text = text
                    .split("#[cfg(test)]\nmod tests")
                    .next()
                    .unwrap()
                    .to_owned();
                found.push((module.to_str().unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 40, "the sources were found");
    found
}

fn layer(module: &str) -> Option<usize> {
    let top = module.split('/').next().unwrap();
    ORDER.iter().position(|names| names.contains(&top))
}

pub(crate) fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

pub(crate) fn is_test(module: &str) -> bool {
    module.ends_with("/tests") || module.contains("/tests/") || module == "config/testing"
}

#[test]
fn a_module_uses_only_what_stands_before_it() {
    let mut wrong = Vec::new();
    for (module, text) in sources() {
        let Some(own) = layer(&module) else {
            assert!(
                matches!(module.as_str(), "lib" | "main"),
                "{module} has no layer"
            );
            continue;
        };
        for line in code_lines(&text) {
            for path in line.split("crate::").skip(1) {
                let used = path
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap();
                assert!(!used.is_empty(), "{module}: write paths out: {line}");
                let top = module.split('/').next().unwrap();
                if used != top && layer(used).is_none_or(|used| used >= own) {
                    wrong.push(format!("{module} uses {used}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn ingress_knows_no_way_out() {
    for (module, text) in sources() {
        if module.starts_with("ingress") && !is_test(&module) {
            assert!(!text.contains("crate::delivery"), "{module} uses delivery");
        }
    }
}

#[test]
fn pure_modules_touch_nothing_outside() {
    for (module, text) in sources() {
        let pure = PURE
            .iter()
            .any(|pure| module == *pure || module.starts_with(&format!("{pure}/")));
        if !pure || is_test(&module) {
            continue;
        }
        for line in code_lines(&text) {
            for word in IMPURE {
                assert!(
                    !line.contains(word),
                    "{module} is pure, but uses {word}: {line}"
                );
            }
        }
    }
}

#[test]
fn each_crate_has_one_home() {
    for (module, text) in sources() {
        for line in code_lines(&text) {
            for (name, homes) in HOMES {
                let uses = line.contains(&format!("{name}::"));
                let home = homes.iter().any(|home| module.starts_with(home));
                assert!(!uses || home, "{module} uses {name}: {line}");
            }
        }
    }
}
