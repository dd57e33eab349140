//! Logins by keys: what an authentication API says, and what the client is told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use smtp_gateway::auth::Source;
use smtp_gateway::auth::key_api::dialect::Dialect;
use smtp_gateway::config::Config;
use smtp_gateway::delivery::BackendName;
use smtp_gateway::secret::Secret;
use smtp_gateway::units::Period;

use crate::support::api::{FakeApi, Play};
use crate::support::client::SmtpClient;
use crate::support::gateway::{Certificate, Gateway};
use crate::support::http::Request;
use crate::support::process::{Process, command};
use crate::support::wait_until;

const MESSAGE: &str = "Subject: hello\r\n\r\nhello\r\n";
const LONG: u64 = 432_000;
const PAT: &str = "ck_pat_0123456789012345678901234567890123456789";
const NO: &str = r#"{"detail":[{"msg":"no","type":"unauthorized"}]}"#;

fn token(key: &str, expires_in: u64) -> Play {
    let token = json!({
        "access_token": key,
        "token_type": "bearer",
        "expires_in": expires_in,
        "refresh_token": format!("refresh-{key}"),
        "accounts": [27],
    });
    Play::answer(200, &token.to_string())
}

fn plain(username: &str, password: &str) -> String {
    let response = STANDARD.encode(format!("\0{username}\0{password}"));
    format!("AUTH PLAIN {response}")
}

/// An authentication API that plays its script, an email API that plays its own, and a gateway
/// before both.
struct Scene {
    auth: FakeApi,
    api: FakeApi,
    gateway: Gateway,
}

impl Scene {
    fn new(auth: impl IntoIterator<Item = Play>, api: impl IntoIterator<Item = Play>) -> Self {
        Self::with(auth, api, |_| {})
    }

    fn with(
        auth: impl IntoIterator<Item = Play>,
        api: impl IntoIterator<Item = Play>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (auth, api) = (FakeApi::play(auth), FakeApi::play(api));
        let gateway = Gateway::before(&api.url(), |config| {
            config.auth.source = Source::KeyApi;
            config.auth.url = auth.url();
            config.auth.accounts = Vec::new();
            change(config);
        });
        Self { auth, api, gateway }
    }

    fn passthrough(api: impl IntoIterator<Item = Play>, change: impl FnOnce(&mut Config)) -> Self {
        Self::with([], api, |config| {
            config.auth.source = Source::Passthrough;
            config.auth.url = String::new();
            change(config);
        })
    }

    /// The reply to AUTH.
    fn log_in(&self, username: &str, password: &str) -> String {
        let mut client = self.gateway.secured();
        client.ask(&plain(username, password), "")
    }

    fn logged_in(&self) -> SmtpClient {
        self.gateway.logged_in()
    }

    /// The keys that came with the requests to the email API.
    fn keys(&self) -> Vec<String> {
        self.api
            .recorded()
            .iter()
            .map(|request| key(request))
            .collect()
    }

    fn asked(&self) -> usize {
        self.auth.recorded().len()
    }

    fn metric(&self, name: &str) -> f64 {
        self.gateway.metric(name)
    }
}

fn key(request: &Request) -> String {
    request.header("authorization").unwrap_or_default()
}

fn text(request: &Request) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

fn send(client: &mut SmtpClient, start: &str) -> String {
    let reply = client.submit(&["ann@example.net"], MESSAGE);
    assert!(reply.starts_with(start), "{reply:?} is not {start:?}");
    reply
}

#[test]
fn a_login_posts_a_form_and_mail_goes_with_its_token() {
    let scene = Scene::new([token("k1", LONG)], []);
    let mut client = scene.gateway.secured();
    client.ask(&plain("ann+app@example.com", "p&ss"), "235 2.7.0");
    send(&mut client, "250 2.0.0");
    send(&mut client, "250 2.0.0");
    let asked = scene.auth.recorded();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].head.text().starts_with("POST /token HTTP/1.1\r\n"));
    assert!(asked[0].has_header("content-type: application/x-www-form-urlencoded"));
    assert_eq!(
        text(&asked[0]),
        "grant_type=password&username=ann%2Bapp%40example.com&password=p%26ss"
    );
    assert_eq!(scene.keys(), ["Bearer k1", "Bearer k1"]);
    assert_eq!(scene.metric("smtp_api_key_cache_size"), 1.0);
    assert_eq!(
        scene.metric("smtp_auth_lookups_total{outcome=\"found\"}"),
        1.0
    );
}

#[test]
fn the_other_dialect_posts_json_and_gets_a_key() {
    let key = Play::answer(200, r#"{"api_key":"k1","expires_in":900}"#);
    let no = Play::answer(401, r#"{"error":"unauthorized","message":"no"}"#);
    let scene = Scene::with([key, no], [], |config| {
        config.auth.dialect = Dialect::Validate;
    });
    send(&mut scene.logged_in(), "250 2.0.0");
    assert!(scene.log_in("ann", PAT).starts_with("535 5.7.8"));
    let asked = scene.auth.recorded();
    assert!(
        asked[0]
            .head
            .text()
            .starts_with("POST /validate HTTP/1.1\r\n")
    );
    assert!(asked[0].has_header("content-type: application/json"));
    let expected: Value = json!({"username": "ann", "password": "secret"});
    assert_eq!(asked[0].json(), expected);
    assert_eq!(scene.keys(), ["Bearer k1"]);
}

#[test]
fn other_credentials_are_looked_up_for_themselves() {
    let scene = Scene::new(
        [token("k1", LONG), Play::answer(401, NO), token("k2", LONG)],
        [],
    );
    assert!(scene.log_in("ann", "secret").starts_with("235"));
    assert!(scene.log_in("ann", "wrong").starts_with("535 5.7.8"));
    assert!(scene.log_in("anns", "ecret").starts_with("235"));
    assert_eq!(scene.asked(), 3);
    assert_eq!(scene.metric("smtp_api_key_cache_size"), 2.0);
}

#[test]
fn a_refusal_is_remembered_and_the_same_for_all() {
    let unprocessable = r#"{"detail":[{"loc":["body"],"msg":"no address","type":"value_error"}]}"#;
    let scene = Scene::new(
        [Play::answer(401, NO), Play::answer(422, unprocessable)],
        [],
    );
    let wrong_password = scene.log_in("ann", "wrong");
    assert_eq!(
        wrong_password,
        "535 5.7.8 Authentication credentials invalid\r\n"
    );
    assert_eq!(scene.log_in("no address", "x"), wrong_password);
    assert_eq!(scene.log_in("ann", "wrong"), wrong_password);
    assert_eq!(scene.asked(), 2);
    let failures = "smtp_auth_failures_total{reason=\"credentials\"}";
    assert_eq!(scene.metric(failures), 3.0);
    assert_eq!(scene.metric("smtp_api_key_cache_size"), 0.0);
}

#[test]
fn a_second_factor_is_named() {
    for (status, body) in [(200, r#"{"challenge":"c"}"#), (401, r#"{"challenge":"c"}"#)] {
        let scene = Scene::new([Play::answer(status, body)], []);
        let reply = scene.log_in("ann", "secret");
        assert!(
            reply.starts_with("535 5.7.8 ") && reply.contains("multi-factor"),
            "{reply}"
        );
        let failures = "smtp_auth_failures_total{reason=\"challenge\"}";
        assert_eq!(scene.metric(failures), 1.0);
    }
}

#[test]
fn a_look_up_that_is_down_is_454_and_not_remembered() {
    let elsewhere = FakeApi::start();
    let location = format!("location: {}/\r\n", elsewhere.url()).leak();
    let down = [
        Play::Reset,
        Play::Hang,
        Play::answer(500, NO),
        Play::answer(429, NO),
        Play::answer(401, "<html>blocked by a firewall</html>"),
        Play::answer(200, "<html>Welcome</html>"),
        Play::Answer(307, location, String::new()),
        Play::LongAnswer(1 << 30),
        Play::Raw("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"access_token\""),
    ];
    let count = down.len();
    let scene = Scene::with(down.into_iter().chain([token("k1", LONG)]), [], |config| {
        config.auth.timeout = Period::seconds(1);
    });
    for _ in 0..count {
        let reply = scene.log_in("ann", "secret");
        assert!(reply.starts_with("454 4.7.0"), "{reply}");
    }
    assert!(scene.log_in("ann", "secret").starts_with("235"));
    assert!(elsewhere.recorded().is_empty());
    let unavailable = "smtp_auth_lookups_total{outcome=\"unavailable\"}";
    assert_eq!(
        scene.metric(unavailable),
        f64::from(u32::try_from(count).unwrap())
    );
}

#[test]
fn a_look_up_that_cannot_be_reached_is_454() {
    // Bound, so that nobody else gets the port, and not listening.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    let scene = Scene::with([], [], |config| config.auth.url = url);
    assert!(scene.log_in("ann", "secret").starts_with("454 4.7.0"));
    assert_eq!(scene.gateway.get("/health/ready").0, 200);
}

#[test]
fn an_expired_key_is_renewed_in_mid_session_and_the_client_does_not_notice() {
    // Each but the last is over as soon as it is there.
    let scene = Scene::new([token("k1", 0), token("k2", 0), token("k3", LONG)], []);
    let mut client = scene.logged_in();
    for _ in 0..3 {
        send(&mut client, "250 2.0.0");
    }
    assert_eq!(scene.keys(), ["Bearer k2", "Bearer k3", "Bearer k3"]);
    let asked = scene.auth.recorded();
    assert_eq!(asked.len(), 3);
    // The newest refresh token each time.
    for (request, refresh_token) in asked[1..].iter().zip(["refresh-k1", "refresh-k2"]) {
        let expected = format!("grant_type=refresh_token&refresh_token={refresh_token}");
        assert_eq!(text(request), expected);
    }
    // That key says nothing about the password.
    assert!(scene.log_in("ann", "secret").starts_with("454"));
    assert!(text(&scene.auth.recorded()[3]).starts_with("grant_type=password&"));
}

#[test]
fn where_a_refresh_token_does_not_help_the_password_does() {
    let spent = r#"{"detail":[{"loc":["body","refresh_token"],"msg":"no","type":"value_error"}]}"#;
    for (status, body) in [
        (401, NO),
        (403, NO),
        (422, spent),
        (400, spent),
        (400, r#"{"error":"invalid_grant"}"#),
    ] {
        let refused = Play::answer(status, body);
        let scene = Scene::new([token("k1", 0), refused, token("k2", LONG)], []);
        let mut client = scene.logged_in();
        send(&mut client, "250 2.0.0");
        assert_eq!(scene.keys(), ["Bearer k2"]);
        assert!(text(&scene.auth.recorded()[2]).starts_with("grant_type=password&"));
    }
}

#[test]
fn where_nobody_can_be_asked_the_password_is_not_tried_as_well() {
    for play in [Play::answer(503, NO), Play::answer(400, "<html>no</html>")] {
        let scene = Scene::new([token("k1", 0), play], []);
        let mut client = scene.logged_in();
        send(&mut client, "451 4.7.0");
        assert_eq!(scene.asked(), 2);
    }
}

#[test]
fn a_key_that_was_refused_is_not_tried_again_while_nobody_can_be_asked() {
    let down = || Play::answer(503, NO);
    let scene = Scene::new(
        [token("k1", LONG), down(), down(), token("k2", LONG)],
        [Play::answer(401, r#"{"error":"revoked"}"#)],
    );
    let mut client = scene.logged_in();
    send(&mut client, "451 4.7.0");
    send(&mut client, "451 4.7.0");
    send(&mut client, "250 2.0.0");
    assert_eq!(scene.keys(), ["Bearer k1", "Bearer k2"]);
}

#[test]
fn a_refused_key_is_looked_up_once_more_and_the_message_goes() {
    let refused = Play::answer(401, r#"{"error":"revoked"}"#);
    let scene = Scene::new([token("k1", LONG), token("k2", LONG)], [refused]);
    let mut client = scene.logged_in();
    send(&mut client, "250 2.0.0");
    assert_eq!(scene.keys(), ["Bearer k1", "Bearer k2"]);
    assert!(text(&scene.auth.recorded()[1]).starts_with("grant_type=password&"));
    // The refused one is not at hand any more, the other is.
    send(&mut scene.logged_in(), "250 2.0.0");
    assert_eq!(scene.keys()[2], "Bearer k2");
    assert_eq!(scene.asked(), 2);
}

#[test]
fn a_key_that_is_refused_twice_fails_the_message_and_not_the_session() {
    let refused = || Play::answer(403, r#"{"error":"revoked"}"#);
    let keys = [token("k1", LONG), token("k2", LONG)];
    let scene = Scene::new(keys, [refused(), refused()]);
    let mut client = scene.logged_in();
    let reply = send(&mut client, "550 5.7.1");
    assert!(reply.ends_with(": revoked\r\n"), "{reply}");
    assert_eq!(scene.keys(), ["Bearer k1", "Bearer k2"]);
    assert_eq!(scene.asked(), 2);
    send(&mut client, "250 2.0.0");
}

#[test]
fn without_another_key_the_answer_to_the_look_up_decides() {
    for (answer, start) in [
        (Play::answer(401, NO), "550 5.7.1"),
        (Play::answer(401, r#"{"challenge":"c"}"#), "550 5.7.1"),
        (Play::answer(503, NO), "451 4.7.0"),
        (Play::Reset, "451 4.7.0"),
    ] {
        let refused = Play::answer(401, r#"{"error":"revoked"}"#);
        let scene = Scene::new([token("k1", LONG), answer], [refused]);
        send(&mut scene.logged_in(), start);
        assert_eq!(scene.keys(), ["Bearer k1"]);
        assert_eq!(scene.metric("smtp_api_key_cache_size"), 0.0);
    }
}

#[test]
fn a_personal_access_token_is_checked_and_used_as_it_is() {
    let genuine = Play::answer(200, r#"{"data":{"id":27}}"#);
    let scene = Scene::new([genuine, Play::answer(401, NO), Play::answer(502, NO)], []);
    let mut client = scene.gateway.secured();
    client.ask(&plain("ann", PAT), "235 2.7.0");
    send(&mut client, "250 2.0.0");
    assert!(scene.log_in("ann", PAT).starts_with("235"));
    assert_eq!(scene.asked(), 1);
    assert!(scene.log_in("ann", "ck_pat_wrong").starts_with("535 5.7.8"));
    assert!(scene.log_in("ann", "ck_pat_other").starts_with("454 4.7.0"));
    assert!(scene.log_in("ann", "ck_pat_\u{1}").starts_with("535 5.7.8"));
    assert_eq!(scene.keys(), [format!("Bearer {PAT}")]);
    let asked = scene.auth.recorded();
    assert_eq!(asked.len(), 3);
    assert!(
        asked[0]
            .head
            .text()
            .starts_with("GET /accounts/self HTTP/1.1\r\n")
    );
    assert_eq!(key(&asked[0]), format!("Bearer {PAT}"));
}

#[test]
fn a_key_that_may_not_do_what_the_check_does_is_a_key() {
    let narrow = r#"{"detail":[{"msg":"no","type":"forbidden"}]}"#;
    let scene = Scene::new([Play::answer(403, narrow)], []);
    assert!(scene.log_in("ann", PAT).starts_with("235"));
}

#[test]
fn a_password_that_is_the_key_is_checked_where_the_email_api_can_tell() {
    let refused = || Play::answer(401, r#"{"error":"no"}"#);
    let scene = Scene::passthrough([Play::answer(200, "{}"), refused()], |config| {
        config.auth.check_path = Some("/me".to_owned());
    });
    let mut client = logged_in_as(&scene, "apikey", "re_123");
    // Revoked since: that is as good as a refused login.
    send(&mut client, "550 5.7.1");
    client.expect_end();
    assert_eq!(scene.metric("smtp_api_key_cache_size"), 0.0);
    let asked = scene.api.recorded();
    assert!(asked[0].head.text().starts_with("GET /me HTTP/1.1\r\n"));
    assert_eq!(scene.keys(), ["Bearer re_123", "Bearer re_123"]);
}

fn logged_in_as(scene: &Scene, username: &str, password: &str) -> SmtpClient {
    let mut client = scene.gateway.secured();
    client.ask(&plain(username, password), "235 2.7.0");
    client
}

#[test]
fn a_password_that_cannot_be_checked_is_judged_by_the_first_message() {
    let refused = Play::answer(401, r#"{"error":"no such key"}"#);
    let scene = Scene::passthrough([refused], |_| {});
    let mut client = logged_in_as(&scene, "apikey", "wrong");
    assert!(scene.api.recorded().is_empty());
    send(&mut client, "550 5.7.1");
    client.expect_end();
    assert_eq!(scene.keys(), ["Bearer wrong"]);
    let failures = "smtp_auth_failures_total{reason=\"credentials\"}";
    assert_eq!(scene.metric(failures), 1.0);
    wait_until(|| scene.metric("smtp_sessions_ended_total{ending=\"refused\"}") == 1.0);
    let mut client = logged_in_as(&scene, "apikey", "right");
    send(&mut client, "250 2.0.0");
    send(&mut client, "250 2.0.0");
}

#[test]
fn a_refusal_of_the_message_does_not_close_the_session() {
    let refused = Play::answer(400, r#"{"error":"no such template"}"#);
    let scene = Scene::passthrough([refused], |_| {});
    let mut client = logged_in_as(&scene, "apikey", "right");
    send(&mut client, "554 5.6.0");
    send(&mut client, "250 2.0.0");
}

#[test]
fn an_account_whose_key_is_refused_does_not_send_with_the_gateways() {
    let api = FakeApi::play([Play::answer(401, r#"{"error":"revoked"}"#)]);
    let gateway = Gateway::before(&api.url(), |config| {
        config.auth.accounts[0].api_key = Some(Secret::new("own"));
    });
    send(&mut gateway.logged_in(), "451 4.7.0");
    let keys: Vec<_> = api.recorded().iter().map(|request| key(request)).collect();
    assert_eq!(keys, ["Bearer own"]);
}

#[test]
fn the_sandbox_lets_all_in_where_there_is_nobody_to_ask_and_asks_where_there_is() {
    let gateway = Gateway::sandbox(|config| config.auth.source = Source::KeyApi);
    let mut client = gateway.secured();
    client.ask(&plain("who", "ever"), "235 2.7.0");
    let scene = Scene::with(
        [token("canary", LONG), Play::answer(401, NO)],
        [],
        |config| {
            config.backend = BackendName::Sandbox;
        },
    );
    send(&mut scene.logged_in(), "250 2.0.0");
    assert!(scene.log_in("ann", "wrong").starts_with("535"));
    assert_eq!(scene.asked(), 2);
    assert!(scene.api.recorded().is_empty());
    let (_, inbox) = scene.gateway.get("/api/messages");
    assert!(!inbox.contains("canary"), "{inbox}");
}

#[test]
fn no_key_password_or_address_is_logged() {
    let refused = || Play::answer(401, r#"{"error":"canary"}"#);
    let auth = FakeApi::play([
        Play::answer(401, r#"{"detail":[{"msg":"canary","type":"canary"}]}"#),
        Play::answer(500, "canary"),
        token("canary-token", 0),
        Play::answer(401, NO),
        token("canary-token-2", LONG),
        Play::Reset,
        Play::answer(200, "{}"),
    ]);
    let api = FakeApi::play([Play::answer(202, r#"{"id":"m1"}"#), refused()]);
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::new();
    let settings = format!(
        "[smtp]\nlisteners = [{{ host = \"127.0.0.1\", port = 0 }}]\n\
         [http]\nhost = \"127.0.0.1\"\nport = 0\n\
         [tls]\ncert_path = {:?}\nkey_path = {:?}\n[drain]\npause = 0\n",
        certificate.chain(),
        certificate.key(),
    );
    std::fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let mut process = Process::start(
        command(folder.path())
            .args(["--config", "gateway.toml"])
            .env("LOG_LEVEL", "TRACE")
            .env("GATEWAY__API__PROVIDER", "json")
            .env("CAKEMAIL_API_URL", api.url())
            .env("CAKEMAIL_AUTH_URL", auth.url()),
    );
    let address = process.listening("SMTP");
    let mut client = SmtpClient::secured(address, certificate.client());
    let login = plain("canary@example.com", "canary-password");
    client.ask(&plain("canary@example.com", "canary-wrong"), "535");
    client.ask(&login, "454");
    client.ask(&login, "235");
    send(&mut client, "250");
    send(&mut client, "451 4.7.0");
    let mut client = SmtpClient::secured(address, certificate.client());
    let canary = "ck_pat_canary";
    client.ask(&plain(canary, canary), "235");
    send(&mut client, "250");
    assert_eq!(auth.recorded().len(), 7);
    process.wait_for("a key cannot be looked up");
    process.signal("TERM");
    let (_, log) = process.end();
    let log = log.join("\n");
    assert!(log.contains("message accepted") && log.contains("login refused"));
    for canary in ["canary", &STANDARD.encode("canary"), &login[11..30]] {
        assert!(!log.contains(canary), "{canary} is in {log}");
    }
}

#[test]
fn a_key_that_is_still_good_is_used_while_nobody_can_be_asked() {
    let down = || Play::answer(503, NO);
    let scene = Scene::with([token("k1", LONG), down(), down()], [], |config| {
        // Nothing is kept, so that each message asks.
        config.auth.cache_ttl = Period::seconds(0);
    });
    let mut client = scene.logged_in();
    send(&mut client, "250");
    send(&mut client, "250");
    assert_eq!(scene.keys(), ["Bearer k1", "Bearer k1"]);
    assert_eq!(scene.asked(), 3);
}
