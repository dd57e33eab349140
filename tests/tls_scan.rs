//! TLS as a scanner sees it: testssl finds no weakness on either TLS port of the release binary.
//! `make tls-scan` runs it; it takes a minute, and needs testssl.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that meets something unexpected has failed; this one prints what was found"
)]
#![expect(
    dead_code,
    unused_imports,
    reason = "this target uses a part of the support only"
)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use serde_json::Value;

use crate::support::gateway::Certificate;
use crate::support::process::{Process, command};

/// What is said of the certificate of this test, which no authority has signed.
const OF_THE_CERTIFICATE: [&str; 3] = [
    "cert_chain_of_trust",
    "cert_revocation",
    "cert_validityPeriod",
];

/// What must have been looked for, lest a scan that broke off passes.
const LOOKED_FOR: [&str; 12] = [
    "SSLv2",
    "SSLv3",
    "TLS1",
    "TLS1_1",
    "TLS1_2",
    "TLS1_3",
    "cipherlist_LOW",
    "cipher_order",
    "PFS",
    "heartbleed",
    "secure_client_renego",
    "BEAST",
];

#[test]
fn testssl_finds_no_weakness_on_either_tls_port() {
    let certificate = Certificate::with(|wanted| {
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "backend = \"sandbox\"\n\
         [smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }},\n\
         {{ host = \"127.0.0.1\", port = 0, tls = \"implicit\" }}]\n\
         [http]\nhost = \"127.0.0.1\"\nport = 0\n\
         [tls]\ncert_path = {:?}\nkey_path = {:?}\n\
         [auth]\nsource = \"any\"\n",
        certificate.chain(),
        certificate.key(),
    );
    std::fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let mut process = Process::start(command(folder.path()).args(["-c", "gateway.toml"]));
    let (starttls, implicit) = (process.listening("SMTP"), process.listening("SMTP"));
    let weaknesses: Vec<String> = std::thread::scope(|scope| {
        let folder = folder.path();
        let scans = [("STARTTLS", starttls), ("TLS", implicit)]
            .map(|(name, address)| scope.spawn(move || scan(name, address, folder)));
        let scans = scans.into_iter().flat_map(|scan| scan.join().unwrap());
        scans.collect()
    });
    assert!(weaknesses.is_empty(), "{weaknesses:#?}");
}

/// The findings that are ours to mend.
fn scan(name: &str, address: SocketAddr, folder: &Path) -> Vec<String> {
    let file = folder.join(format!("{name}.json"));
    let mut testssl = Command::new("timeout");
    testssl.args("150 testssl --quiet --color 0 --warnings batch --nodns none".split(' '));
    // Protocols, kinds of ciphers, forward secrecy, preferences, certificate, vulnerabilities.
    testssl.args(["-p", "-s", "-f", "-P", "-S", "-U"]);
    if name == "STARTTLS" {
        testssl.args(["--starttls", "smtp"]);
    }
    testssl
        .arg("--jsonfile")
        .arg(&file)
        .arg(address.to_string());
    let output = testssl.output().expect("testssl is installed");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let findings: Vec<Value> = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stdout)));
    let of = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    for id in LOOKED_FOR {
        let found = findings.iter().any(|finding| of(finding, "id") == id);
        assert!(found, "{name}: nothing about {id}");
    }
    println!("{name}: {} findings", findings.len());
    let mut weaknesses = Vec::new();
    for finding in &findings {
        let (id, severity) = (of(finding, "id"), of(finding, "severity"));
        let line = format!("{name}: {severity} {id}: {}", of(finding, "finding"));
        match severity.as_str() {
            "OK" | "INFO" | "DEBUG" => {}
            // It could not tell.
            "WARN" => println!("{line}"),
            _ if OF_THE_CERTIFICATE.contains(&&*id) => println!("{line} (the test's certificate)"),
            _ => weaknesses.push(line),
        }
    }
    weaknesses
}
