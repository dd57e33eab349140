//! T30, supply chain: what is built is what the lock file says, from one registry, each package by
//! its checksum; there is one TLS stack.

/// The packages of the lock file, each as its lines.
fn packages() -> Vec<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    lock.split("[[package]]\n").skip(1).collect()
}

fn value<'a>(package: &'a str, key: &str) -> Option<&'a str> {
    let line = |line: &'a str| {
        line.strip_prefix(key)?
            .strip_prefix(" = \"")?
            .strip_suffix('"')
    };
    package.lines().find_map(line)
}

#[test]
fn every_package_comes_from_one_registry_by_its_checksum() {
    let packages = packages();
    assert!(packages.len() > 100);
    let mut sources = std::collections::BTreeSet::new();
    for package in packages {
        let name = value(package, "name").unwrap();
        if name == "smtp-gateway" {
            continue;
        }
        let source = value(package, "source").unwrap_or_default();
        assert!(
            source.starts_with("registry+https://"),
            "{name} is from {source:?}"
        );
        sources.insert(source);
        let checksum = value(package, "checksum").unwrap_or_default();
        assert_eq!(checksum.len(), 64, "{name} has the checksum {checksum:?}");
    }
    assert_eq!(sources.len(), 1, "{sources:?}");
}

#[test]
fn there_is_one_tls_stack() {
    let packages = packages();
    let names: Vec<_> = packages
        .iter()
        .filter_map(|package| value(package, "name"))
        .collect();
    assert!(names.contains(&"rustls") && names.contains(&"aws-lc-rs"));
    for other in ["openssl", "openssl-sys", "native-tls", "boring", "mbedtls"] {
        assert!(!names.contains(&other), "{other} is there too");
    }
}
