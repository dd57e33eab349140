//! The binary as an operator meets it: settings that are wrong, the log, the certificate.

use rcgen::date_time_ymd;
use smtp_gateway::tls::insecure;

use crate::support::api::{FakeApi, Play};
use crate::support::client::SmtpClient;
use crate::support::gateway::Certificate;
use crate::support::process::{Process, Scene, command, run, serve};
use crate::support::volume::Volume;
use crate::support::wait_until;

#[test]
fn without_settings_the_start_fails_and_says_all_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["serve"], &["check"]] {
        let (code, errors) = run(command(folder.path()).args(arguments));
        assert_eq!(code, 78);
        for key in ["api.url", "auth.url", "tls.cert_path"] {
            let lines = errors
                .lines()
                .filter(|line| line.contains(&format!("{key}:")));
            assert_eq!(lines.count(), 1, "one line for {key} in {errors}");
        }
        assert_eq!(errors.lines().count(), 3, "{errors}");
    }
}

#[test]
fn each_wrong_setting_is_one_clear_line() {
    let scene = Scene::new();
    for (name, value, told) in [
        ("SMTP_PORT", "smtp", &["SMTP_PORT"][..]),
        (
            "SMTP_PORT",
            "tcp://10.0.0.1:587",
            &["SMTP_PORT", "enableServiceLinks"],
        ),
        (
            "GATEWAY__LIMITS__AUTH_FAILURES",
            "101",
            &["GATEWAY__LIMITS__AUTH_FAILURES", "at most 100"],
        ),
        (
            "GATEWAY__POLICY__SENDERS",
            r#"[{account = "ann", domains = ["app@example.com"]}]"#,
            &[
                "GATEWAY__POLICY__SENDERS",
                "app@example.com",
                "neither a domain",
            ],
        ),
        (
            "GATEWAY__POLICY__SENDERS",
            r#"[{account = "ann", domain = "example.com"}]"#,
            &["GATEWAY__POLICY__SENDERS", "domain"],
        ),
        (
            "GATEWAY__SMTP__PROT",
            "587",
            &["GATEWAY__SMTP__PROT", "GATEWAY__SMTP__PORT"],
        ),
        (
            "GATEWAY__API__KEY_FILE",
            "/nowhere/key",
            &["GATEWAY__API__KEY_FILE", "/nowhere/key"],
        ),
        (
            "GATEWAY__API__URL",
            "http://api.example",
            &["GATEWAY__API__URL", "allow_http"],
        ),
        (
            "CAKEMAIL_API_URL",
            "http://api.example",
            &["CAKEMAIL_API_URL", "allow_http"],
        ),
        (
            "GATEWAY__API__CAKEMAIL__LIST_ID",
            "0",
            &["GATEWAY__API__CAKEMAIL__LIST_ID"],
        ),
        (
            "GATEWAY__AUTH__SOURCE",
            "any",
            &["GATEWAY__AUTH__SOURCE", "sandbox"],
        ),
        (
            "GATEWAY__TLS__RELOAD_INTERVAL",
            "25h",
            &["GATEWAY__TLS__RELOAD_INTERVAL", "24h"],
        ),
        (
            "GATEWAY__DRAIN__DEADLINE",
            "10s",
            &["GATEWAY__DRAIN__DEADLINE", "delivery.deadline"],
        ),
        (
            "GATEWAY__LIMITS__COMMAND_LINE",
            "0",
            &["GATEWAY__LIMITS__COMMAND_LINE", "512"],
        ),
        (
            "GATEWAY__SMTP__HOSTNAME",
            "a b",
            &["GATEWAY__SMTP__HOSTNAME", "host name"],
        ),
        (
            "GATEWAY__API__PATH",
            "messages",
            &["GATEWAY__API__PATH", "/"],
        ),
        (
            "GATEWAY__LOG__LEVEL",
            "smtp_gateway=loud",
            &["GATEWAY__LOG__LEVEL", "DEBUG"],
        ),
        (
            "GATEWAY__LIMITS__MESSAGE_SIZE",
            "25 potatoes",
            &["GATEWAY__LIMITS__MESSAGE_SIZE", "25MiB"],
        ),
        (
            "TLS_CERT_PATH",
            "/nowhere/tls.crt",
            &["TLS_CERT_PATH", "/nowhere/tls.crt"],
        ),
        (
            "GATEWAY__SMTP__LISTENERS",
            "[{port = 25, tls = \"off\"}]",
            &["GATEWAY__SMTP__LISTENERS", "TLS"],
        ),
        (
            "GATEWAY__SMTP__LISTENERS",
            "[{port = 587, proxy_networks = [\"10.0.0.0/8\", \"::/0\"]}]",
            &["GATEWAY__SMTP__LISTENERS", "proxy_networks"],
        ),
    ] {
        let (code, errors) = run(serve(&scene.folder).env(name, value));
        assert_eq!(code, 78, "{name}={value}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{name}={value}: {errors}");
        for word in told {
            assert!(
                errors.contains(word),
                "{name}={value}: no {word} in {errors}"
            );
        }
    }
}

#[test]
fn each_wrong_setting_of_the_key_look_up_is_one_clear_line() {
    let scene = Scene::new();
    let url = scene.api.url();
    for (variables, told) in [
        (&[][..], &["auth.url", "static"][..]),
        (
            &[("CAKEMAIL_AUTH_URL", "keys")],
            &["CAKEMAIL_AUTH_URL", "https://"],
        ),
        (
            &[("CAKEMAIL_AUTH_URL", "http://keys.example")],
            &["CAKEMAIL_AUTH_URL", "allow_http"],
        ),
        (
            &[
                ("CAKEMAIL_AUTH_URL", &url),
                ("GATEWAY__AUTH__CHECK_PATH", "self"),
            ],
            &["GATEWAY__AUTH__CHECK_PATH", "/"],
        ),
        (
            &[("CAKEMAIL_AUTH_URL", &url), ("GATEWAY__AUTH__TIMEOUT", "0")],
            &["GATEWAY__AUTH__TIMEOUT", "1s"],
        ),
        (
            &[
                ("GATEWAY__AUTH__SOURCE", "passthrough"),
                ("CAKEMAIL_API_URL", "api"),
            ],
            &["CAKEMAIL_API_URL", "https://"],
        ),
        (
            &[
                ("GATEWAY__AUTH__SOURCE", "passthrough"),
                (
                    "GATEWAY__POLICY__SENDERS",
                    r#"[{account = "ann", domains = ["example.com"]}]"#,
                ),
            ],
            &["GATEWAY__POLICY__SENDERS", "user names are free"],
        ),
    ] {
        let mut command = serve(&scene.folder);
        command.env("GATEWAY__AUTH__SOURCE", "key-api");
        let (code, errors) = run(command.envs(variables.iter().copied()));
        assert_eq!(
            (code, errors.lines().count()),
            (78, 1),
            "{variables:?}: {errors}"
        );
        for word in told {
            assert!(
                errors.contains(word),
                "{variables:?}: no {word} in {errors}"
            );
        }
    }
    let mut command = serve(&scene.folder);
    command.env("GATEWAY__AUTH__SOURCE", "key-api");
    let (code, errors) = run(command.env("CAKEMAIL_AUTH_URL", &url).arg("check"));
    assert_eq!((code, errors.as_str()), (0, ""));
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let scene = Scene::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for name in ["SMTP_PORT", "HTTP_PORT"] {
        let (code, errors) = run(serve(&scene.folder).env(name, &port));
        assert_eq!(code, 1);
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&port) && errors.contains(name), "{errors}");
        assert!(errors.contains("in use"), "{errors}");
    }
}

#[test]
fn check_shows_the_settings_in_force_and_hides_secrets() {
    let scene = Scene::new();
    let output = serve(&scene.folder)
        .args(["check", "--set", "limits.recipients=7"])
        .env("RATE_LIMIT_PER_IP", "42")
        .output()
        .unwrap();
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    for line in [
        "limits.messages_per_minute_per_ip = 42  # RATE_LIMIT_PER_IP",
        "limits.recipients = 7  # command line",
        "limits.errors = 10  # default",
        "limits.message_size = \"25MiB\"  # default",
        "api.key = \"***\"  # gateway.toml",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "no {line:?} in {shown}"
        );
    }
    assert!(
        !shown.contains("gateway-key") && !shown.contains("secret\""),
        "{shown}"
    );
}

#[test]
fn every_name_of_the_table_has_an_effect() {
    let scene = Scene::new();
    let (chain, key) = (scene.certificate.chain(), scene.certificate.key());
    let (chain, key) = (chain.to_str().unwrap(), key.to_str().unwrap());
    for (name, value, line) in [
        (
            "CAKEMAIL_API_URL",
            "https://api.example",
            "api.url = \"https://api.example\"",
        ),
        ("SMTP_HOST", "127.0.0.2", "smtp.host = \"127.0.0.2\""),
        ("SMTP_PORT", "2587", "smtp.port = 2587"),
        ("HTTP_HOST", "127.0.0.2", "http.host = \"127.0.0.2\""),
        ("HTTP_PORT", "8081", "http.port = 8081"),
        (
            "TLS_CERT_PATH",
            chain,
            &format!("tls.cert_path = {chain:?}"),
        ),
        ("TLS_KEY_PATH", key, &format!("tls.key_path = {key:?}")),
        ("LOG_LEVEL", "warning", "log.level = \"warning\""),
        (
            "RATE_LIMIT_PER_IP",
            "5",
            "limits.messages_per_minute_per_ip = 5",
        ),
        ("MAX_CONNECTIONS_PER_POD", "5", "limits.connections = 5"),
        ("CONNECTION_TIMEOUT", "60", "limits.idle_timeout = \"1m\""),
        (
            "MESSAGE_SIZE_LIMIT",
            "1048576",
            "limits.message_size = \"1MiB\"",
        ),
    ] {
        let output = serve(&scene.folder)
            .arg("check")
            .env(name, value)
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let expected = format!("{line}  # {name}");
        assert!(
            shown.lines().any(|line| line == expected),
            "no {expected:?} in {shown}"
        );
    }
}

#[test]
fn the_log_has_ids_and_no_address_subject_content_or_secret() {
    let refusal = Play::answer(400, r#"{"error":"canary-reason"}"#);
    let scene = Scene::before(FakeApi::play([refusal, Play::Reset]));
    let mut process = Process::start(serve(&scene.folder).env("LOG_LEVEL", "DEBUG"));
    let mut client = SmtpClient::secured(process.listening("SMTP"), scene.certificate.client());
    // canary-user and canary-password
    client.ask("AUTH PLAIN AGNhbmFyeS11c2VyAGNhbmFyeS1wYXNzd29yZA==", "535");
    client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", "235");
    let content = "From: canary-from@example.com\r\nSubject: canary-subject\r\n\r\ncanary-text\r\n";
    for (reply, line) in [
        ("554 5.6.0", "message not accepted"),
        ("451 4.4.2", "message not accepted"),
        ("250 2.0.0", "message accepted"),
    ] {
        let given = client.submit(&["canary-rcpt@example.net"], content);
        assert!(given.starts_with(reply), "{given}");
        let told = process.wait_for(line);
        let session = told["session.id"].as_str().unwrap();
        let transaction = told["transaction.id"].as_str().unwrap();
        assert!(transaction.starts_with(session), "{told}");
        assert_eq!(told["message.recipients"], 1);
    }
    client.ask("canary-command", "500");
    client.ask("QUIT", "221");
    drop(client);
    let ended = process.wait_for("session ended");
    assert_eq!(ended["session.ending"], "quit");
    process.signal("TERM");
    let (_, log) = process.end();
    let log = log.join("\n");
    for canary in [
        "canary",
        "app@example.com",
        "gateway-key",
        "AGFubgBzZWNyZXQ=",
        "\"secret",
    ] {
        assert!(!log.contains(canary), "{canary} is in {log}");
    }
}

#[test]
fn a_probe_that_sends_nothing_leaves_no_line() {
    let scene = Scene::new();
    let mut process = Process::start(serve(&scene.folder).env("LOG_LEVEL", "DEBUG"));
    let address = process.listening("SMTP");
    let http = process.listening("HTTP");
    for _ in 0..3 {
        let mut probe = SmtpClient::connect(address);
        probe.expect("220");
    }
    let ended = "smtp_sessions_ended_total{ending=\"peer_left\"} 3";
    wait_until(|| {
        crate::support::http::request(http, "GET", "/metrics")
            .1
            .contains(ended)
    });
    process.signal("TERM");
    process.wait_for("draining: not ready any more");
    let (_, log) = process.end();
    assert!(!log.iter().any(|line| line.contains("session")), "{log:#?}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_one_line_and_the_old_one_stays() {
    let scene = Scene::new();
    let (old, new) = (&scene.certificate, Certificate::new());
    let mut volume = Volume::new(old.chain(), old.key());
    let mut process = Process::start(
        serve(&scene.folder)
            .env("TLS_CERT_PATH", volume.chain())
            .env("TLS_KEY_PATH", volume.key())
            .env("GATEWAY__TLS__RELOAD_INTERVAL", "20ms"),
    );
    let smtp = process.listening("SMTP");
    let http = process.listening("HTTP");
    let counted = |result, count| {
        let line = format!("smtp_certificate_reloads_total{{result=\"{result}\"}} {count}\n");
        let (_, metrics) = crate::support::http::request(http, "GET", "/metrics");
        assert!(metrics.contains(&line), "no {line:?} in {metrics}");
    };

    volume.publish(new.chain(), old.key());
    let refused = "certificate refused: the old one stays";
    let told = process.wait_for(refused);
    assert_eq!(told["level"], "WARN");
    let detail = told["error.detail"].as_str().unwrap();
    let start = "the certificate and its key cannot be used: ";
    assert!(detail.starts_with(start), "{told}");
    counted("refused", 1);
    let is_refused = |value: u8| {
        let line = format!("smtp_certificate_refused {value}\n");
        let metrics = || crate::support::http::request(http, "GET", "/metrics").1;
        wait_until(|| metrics().contains(&line));
    };
    is_refused(1);
    SmtpClient::logged_in(smtp, old.client());

    // It is not looked into again, and nothing is wrong any more.
    volume.publish(old.chain(), old.key());
    is_refused(0);
    volume.publish(new.chain(), old.key());
    process.wait_for(refused);
    is_refused(1);

    volume.publish(new.chain(), new.key());
    let told = process.wait_for("certificate loaded");
    assert_eq!(told["level"], "INFO");
    assert!(told["certificate.not_after"].is_string(), "{told}");
    counted("loaded", 1);
    counted("refused", 2);
    is_refused(0);
    SmtpClient::logged_in(smtp, new.client());

    process.signal("TERM");
    let (status, log) = process.end();
    assert_eq!(status.code(), Some(0));
    let lines = log.iter().filter(|line| line.contains("certificate"));
    assert_eq!(lines.count(), 3, "{log:#?}");
}

#[test]
fn an_expired_certificate_is_served_with_a_warning() {
    let mut scene = Scene::new();
    scene.certificate = Certificate::with(|wanted| {
        wanted.not_before = date_time_ymd(2020, 1, 1);
        wanted.not_after = date_time_ymd(2021, 1, 1);
    });
    let mut process = Process::start(
        serve(&scene.folder)
            .env("TLS_CERT_PATH", scene.certificate.chain())
            .env("TLS_KEY_PATH", scene.certificate.key()),
    );
    let told = process.wait_for("clients will not trust the certificate");
    assert_eq!(told["level"], "WARN");
    let detail = told["error.detail"].as_str().unwrap();
    assert!(detail.starts_with("the certificate was valid until Jan"));
    let anyone = insecure::client().unwrap();
    SmtpClient::logged_in(process.listening("SMTP"), anyone);
}

/// The settings file that README shows, with its paths led to real files.
#[test]
fn the_settings_of_the_readme_can_be_used() {
    let scene = Scene::new();
    let (_, rest) = include_str!("../README.md")
        .split_once("```toml\n")
        .unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let folder = scene.folder.path().to_str().unwrap();
    let settings = shown.replace("/run/secrets", folder).replace(
        "/etc/smtp-gateway/tls",
        scene.certificate.folder.path().to_str().unwrap(),
    );
    assert_ne!(settings, shown);
    std::fs::write(scene.folder.path().join("gateway.toml"), settings).unwrap();
    for secret in ["api-key", "shop-password"] {
        std::fs::write(scene.folder.path().join(secret), "x\n").unwrap();
    }
    let (code, errors) = run(serve(&scene.folder).arg("check"));
    assert_eq!((code, errors.as_str()), (0, ""));
}

#[test]
fn a_fault_is_one_line_and_shows_no_secret() {
    let scene = Scene::new();
    for (name, value) in [
        ("GATEWAY__AUTH__ACCOUNTS", "shop:hunter2"),
        (
            "GATEWAY__AUTH__ACCOUNTS",
            "[{name = \"shop\", pasword = \"hunter2\"}]",
        ),
        ("GATEWAY__AUTH__ACCOUNTS", "[\"shop:hunter2\"]"),
        ("GATEWAY__API__URL", "https://user:hunter2@api example"),
        ("GATEWAY__API__URL", "https://user:hunter2@api.example"),
        ("GATEWAY__API__URL", "http://api.example/?key=hunter2"),
    ] {
        let (code, errors) = run(serve(&scene.folder).env(name, value));
        assert_eq!(
            (code, errors.lines().count()),
            (78, 1),
            "{name}={value}: {errors}"
        );
        assert!(
            errors.contains(name) && !errors.contains("hunter2"),
            "{errors}"
        );
    }
    let (code, errors) = run(serve(&scene.folder).args(["--set", "api.key hunter2"]));
    assert!(code != 0 && !errors.contains("hunter2"), "{errors}");
    std::fs::write(scene.folder.path().join("gateway.toml"), "[smtp\n").unwrap();
    let (code, errors) = run(&mut serve(&scene.folder));
    assert_eq!((code, errors.lines().count()), (78, 1), "{errors}");
}
