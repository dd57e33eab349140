//! The tests' Cakemail keeps to the API's description: it takes what is allowed, and refuses each
//! thing that is not. Without this, a test that it accepts something would say nothing.

use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};
use smtp_gateway::secret::Secret;
use tokio::sync::Semaphore;

use crate::support::cakemail::{
    ACCOUNT, Cakemail, Challenge, Endpoint, SUB_ACCOUNTS, Sender, User,
};
use crate::support::gateway::Gateway;
use crate::support::http::{Play, request_with, try_request};
use crate::support::wait_until;

const LOGIN: &str = "grant_type=password&username=ann%40example.com&password=secret";
const PERSONAL: &str = "ck_pat_0123456789abcdef0123456789abcdef01234567";

struct Client<'a>(&'a Cakemail);

impl Client<'_> {
    fn call(&self, method: &str, path: &str, fields: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = request_with(self.0.address(), method, path, fields, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn token(&self, form: &str) -> (u16, Value) {
        let fields = "content-type: application/x-www-form-urlencoded\r\n";
        self.call("POST", "/token", fields, form)
    }

    fn log_in(&self) -> String {
        let (status, body) = self.token(LOGIN);
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    fn get(&self, path: &str, token: &str) -> (u16, Value) {
        self.call("GET", path, &bearer(token), "")
    }

    fn send(&self, path: &str, token: &str, email: &Value) -> (u16, Value) {
        let fields = bearer(token) + "content-type: application/json\r\n";
        self.call("POST", path, &fields, &email.to_string())
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn good() -> Value {
    json!({
        "email": "bob@example.net",
        "sender": {"id": "1042", "name": "Shop"},
        "content": {"type": "transactional", "subject": "Receipt", "html": "<p>Thanks</p>",
            "text": "Thanks", "encoding": "utf-8"},
        "additional_headers": [{"name": "Reply-To", "value": "help@example.com"}],
        "tracking": {"opens": false, "clicks_html": false, "clicks_text": false},
        "tags": ["receipt"],
        "attachment": [{"filename": "receipt-7.pdf", "type": "pdf", "content": "JVBERi0="},
            {"filename": "date.ics", "type": "calendar", "content": ""}],
    })
}

/// The good request with something else at this place; nothing takes it out.
fn but(place: &str, value: Option<Value>) -> Value {
    let mut email = good();
    let (parent, name) = place.rsplit_once('/').unwrap();
    match (email.pointer_mut(parent).unwrap(), value) {
        (Value::Object(fields), Some(value)) => {
            fields.insert(name.to_owned(), value);
        }
        (Value::Object(fields), None) => {
            fields.remove(name).expect("it was there");
        }
        (Value::Array(items), Some(value)) => items[name.parse::<usize>().unwrap()] = value,
        (parent, _) => panic!("{place} of {parent}"),
    }
    email
}

/// Whether an error names this place, `/` between its steps.
fn names(body: &Value, place: &str) -> bool {
    let details = body["detail"].as_array().expect("errors are a list");
    details.iter().any(|detail| {
        assert!(
            detail["msg"].is_string() && detail["type"].is_string(),
            "{detail}"
        );
        let steps = detail["loc"].as_array().cloned().unwrap_or_default();
        let step = |step: &Value| step.as_str().map_or(step.to_string(), str::to_owned);
        steps.iter().map(step).collect::<Vec<_>>().join("/") == place
    })
}

#[test]
fn a_good_request_is_taken_and_recorded() {
    let cakemail = Cakemail::start();
    let client = Client(&cakemail);
    let token = client.log_in();
    let (status, body) = client.send("/v2/emails", &token, &good());
    assert_eq!(status, 201, "{body}");
    assert_eq!(
        body,
        json!({"email": "bob@example.net", "object": "email", "submitted": true,
            "data": {"id": "6f0c0000-0000-4000-8000-000000000001", "status": "queued"}})
    );
    let sent = cakemail.wait_for(1);
    assert_eq!(sent[0].json, good());
    assert_eq!(sent[0].recipient(), "bob@example.net");
    assert_eq!(sent[0].bearer(), token);
    assert_eq!(sent[0].fault, None);
    assert!(sent[0].mentions("Thanks") && !sent[0].mentions("hidden@example.net"));
    assert_eq!(cakemail.calls(Endpoint::Emails), 1);
}

#[test]
fn every_optional_field_may_be_left_out_and_an_attachment_may_stand_alone() {
    let cakemail = Cakemail::start();
    let client = Client(&cakemail);
    let token = client.log_in();
    for place in ["tags", "tracking", "additional_headers", "attachment"] {
        let email = but(&format!("/{place}"), None);
        assert_eq!(client.send("/v2/emails", &token, &email).0, 201, "{place}");
    }
    let alone = json!({"filename": "a.png", "type": "png", "content": "AA=="});
    let email = but("/attachment", Some(alone));
    assert_eq!(client.send("/v2/emails", &token, &email).0, 201);
}

#[test]
fn each_violation_is_refused_and_named() {
    let cakemail = Cakemail::start();
    let client = Client(&cakemail);
    let token = client.log_in();
    let file = |name: &str, kind: &str, content: &str| {
        Some(json!({"filename": name, "type": kind, "content": content}))
    };
    let header = |name: &str, value: &str| Some(json!({"name": name, "value": value}));
    let table = [
        ("/email", None, "body/email"),
        (
            "/email",
            Some(json!("a@example.net, b@example.net")),
            "body/email",
        ),
        ("/email", Some(json!("Bob <bob@example.net>")), "body/email"),
        ("/email", Some(json!(["bob@example.net"])), "body/email"),
        ("/sender", None, "body/sender"),
        ("/sender/id", None, "body/sender/id"),
        ("/sender/id", Some(json!(1042)), "body/sender/id"),
        ("/sender/id", Some(json!("")), "body/sender/id"),
        (
            "/sender/email",
            Some(json!("app@example.com")),
            "body/sender/email",
        ),
        ("/content", None, "body/content"),
        ("/content/subject", None, "body/content/subject"),
        ("/content/subject", Some(json!("")), "body/content/subject"),
        ("/content/type", None, "body/content/type"),
        ("/content/type", Some(json!("bulk")), "body/content/type"),
        ("/content/html", Some(json!("")), "body/content/html"),
        ("/content/text", Some(json!("")), "body/content/text"),
        ("/content/encoding", None, "body/content/encoding"),
        (
            "/content/encoding",
            Some(json!("UTF-8")),
            "body/content/encoding",
        ),
        ("/content/amp", Some(json!("<html>")), "body/content/amp"),
        ("/list_id", Some(json!("9")), "body/list_id"),
        ("/tags/0", Some(json!("two words")), "body/tags/0"),
        ("/tags/0", Some(json!("")), "body/tags/0"),
        ("/tags/0", Some(json!("x".repeat(256))), "body/tags/0"),
        (
            "/tracking/opens",
            Some(json!("true")),
            "body/tracking/opens",
        ),
        (
            "/tracking/clicks",
            Some(json!(true)),
            "body/tracking/clicks",
        ),
        (
            "/additional_headers",
            Some(json!({"Reply-To": "x"})),
            "body/additional_headers",
        ),
        (
            "/additional_headers/0",
            header("Bcc", "x"),
            "body/additional_headers/0/name",
        ),
        (
            "/additional_headers/0",
            header("cC", "x"),
            "body/additional_headers/0/name",
        ),
        (
            "/additional_headers/0",
            header("X Y", "x"),
            "body/additional_headers/0/name",
        ),
        (
            "/additional_headers/0",
            header("X", "a\r\nBcc: b"),
            "body/additional_headers/0/value",
        ),
        (
            "/attachment/0",
            file("a b.pdf", "pdf", ""),
            "body/attachment/0/filename",
        ),
        (
            "/attachment/0",
            file("a.b.pdf", "pdf", ""),
            "body/attachment/0/filename",
        ),
        (
            "/attachment/0",
            file("ü.pdf", "pdf", ""),
            "body/attachment/0/filename",
        ),
        (
            "/attachment/0",
            file("a.PDF", "pdf", ""),
            "body/attachment/0/filename",
        ),
        (
            "/attachment/0",
            file("a.jpg", "jpeg", ""),
            "body/attachment/0/filename",
        ),
        (
            "/attachment/0",
            file("a.txt", "pdf", ""),
            "body/attachment/0/filename",
        ),
        (
            "/attachment/0",
            file("a.png", "image/png", ""),
            "body/attachment/0/type",
        ),
        (
            "/attachment/0",
            file("a.png", "pdf", ""),
            "body/attachment/0",
        ),
        (
            "/attachment/0",
            file("a.ics", "ics", ""),
            "body/attachment/0/type",
        ),
        (
            "/attachment/0",
            file("a.pdf", "pdf", "JVBERi0"),
            "body/attachment/0/content",
        ),
        (
            "/attachment/0",
            file("a.pdf", "pdf", "JVBE\r\nRi0="),
            "body/attachment/0/content",
        ),
        (
            "/attachment/0",
            file("a.pdf", "pdf", "JVBERi1="),
            "body/attachment/0/content",
        ),
        (
            "/attachment/0/content_id",
            Some(json!("x")),
            "body/attachment/0/content_id",
        ),
        ("/attachments", Some(json!([])), "body/attachments"),
        ("/from", Some(json!("app@example.com")), "body/from"),
        ("/to", Some(json!([])), "body/to"),
        ("/bcc", Some(json!([])), "body/bcc"),
        ("/reply_to", Some(json!("x@example.com")), "body/reply_to"),
        ("/headers", Some(json!({})), "body/headers"),
    ];
    let violations = table.len();
    for (place, value, named) in table {
        let email = but(place, value);
        let (status, body) = client.send("/v2/emails", &token, &email);
        assert_eq!(status, 422, "{email}: {body}");
        assert!(names(&body, named), "{named} is not in {body}");
    }
    let sent = cakemail.sent();
    assert_eq!(sent.len(), violations);
    assert!(sent.iter().all(|sent| sent.fault.is_some()));
}

#[test]
fn a_body_that_is_not_declared_as_json_or_is_none_is_refused() {
    let cakemail = Cakemail::start();
    let client = Client(&cakemail);
    let fields = bearer(&client.log_in());
    let json = "content-type: application/json\r\n";
    for (kind, body) in [("", good().to_string()), (json, "{".to_owned())] {
        let fields = format!("{fields}{kind}");
        let (status, body) = client.call("POST", "/v2/emails", &fields, &body);
        assert_eq!(status, 422);
        assert!(names(&body, "body"), "{body}");
    }
}

#[test]
fn a_sender_must_be_confirmed_and_of_the_account() {
    let [sub, other] = SUB_ACCOUNTS;
    let cakemail = Cakemail::start()
        .sender(Sender::unconfirmed(1, "new@example.com"))
        .sender(Sender::confirmed(2, "sub@example.com").of(sub));
    let client = Client(&cakemail);
    let token = client.log_in();
    for (path, id, expected) in [
        ("/v2/emails".to_owned(), "1", 400),
        ("/v2/emails".to_owned(), "99", 400),
        ("/v2/emails".to_owned(), "2", 400),
        (format!("/v2/emails?account_id={sub}"), "2", 201),
        (format!("/v2/emails?account_id={other}"), "2", 400),
        (format!("/v2/emails?account_id={ACCOUNT}"), "1042", 201),
        ("/v2/emails?account_id=4".to_owned(), "1042", 403),
        ("/v2/emails?account_id=x".to_owned(), "1042", 422),
        ("/v2/emails?other=1".to_owned(), "1042", 422),
    ] {
        let email = but("/sender/id", Some(json!(id)));
        let (status, body) = client.send(&path, &token, &email);
        assert_eq!(status, expected, "{path} {id}: {body}");
        assert!(status != 400 || names(&body, "sender/id"), "{body}");
    }
}

#[test]
fn an_account_may_demand_one_text_or_a_list() {
    let cakemail = Cakemail::start().html_or_text_only().list_required();
    let client = Client(&cakemail);
    let token = client.log_in();
    let (status, body) = client.send("/v2/emails", &token, &good());
    assert!(status == 400 && names(&body, "content"), "{body}");
    let mut one = but("/content/text", None);
    let (status, body) = client.send("/v2/emails", &token, &one);
    assert!(
        status == 400 && body.to_string().contains("List Management"),
        "{body}"
    );
    one["list_id"] = json!(9);
    assert_eq!(client.send("/v2/emails", &token, &one).0, 201);
}

#[test]
fn a_login_gives_a_token_and_a_refresh_another() {
    let cakemail = Cakemail::start().expires_in(600);
    let client = Client(&cakemail);
    let (status, first) = client.token(LOGIN);
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["token_type"], "bearer");
    assert_eq!(first["expires_in"], 600);
    assert_eq!(first["accounts"], json!([ACCOUNT]));
    let (_, second) = client.token(LOGIN);
    assert_ne!(first["access_token"], second["access_token"]);

    let refresh = first["refresh_token"].as_str().unwrap();
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    let (status, renewed) = client.token(&form);
    assert_eq!(status, 200, "{renewed}");
    assert_ne!(renewed["access_token"], first["access_token"]);
    assert_eq!(
        client.token(&form).0,
        401,
        "the latest refresh token counts"
    );
    assert_eq!((cakemail.logins(), cakemail.refreshes()), (2, 2));
    assert_eq!(cakemail.calls(Endpoint::Token), 4);
}

#[test]
fn a_login_that_is_wrong_or_not_as_described_is_refused() {
    let cakemail = Cakemail::start().user(User::new("ann+shop@example.com", "+ &=%ü"));
    let client = Client(&cakemail);
    let good = "username=ann%2Bshop%40example.com&password=%2B+%26%3D%25%C3%BC";
    assert_eq!(client.token(good).0, 200, "the grant type has a default");
    for (form, expected) in [
        ("username=ann%40example.com&password=wrong", 401),
        ("username=nobody%40example.com&password=secret", 401),
        (
            "username=ann+shop%40example.com&password=%2B+%26%3D%25%C3%BC",
            401,
        ),
        ("username=ann%40example.com", 422),
        ("password=secret", 422),
        (
            "username=ann%40example.com&password=secret&client_id=1",
            422,
        ),
        (
            "username=ann%40example.com&password=secret&password=secret",
            422,
        ),
        ("username=ann@example.com&password=secret", 422),
        (
            "username=ann%40example.com&password=secret&account_id=x",
            422,
        ),
        ("grant_type=client_credentials", 422),
        ("grant_type=refresh_token", 422),
        ("grant_type=refresh_token&refresh_token=refresh-9", 401),
        ("username", 422),
        ("username=%4", 422),
    ] {
        let (status, body) = client.token(form);
        assert_eq!(status, expected, "{form}: {body}");
        assert!(body["detail"][0]["msg"].is_string(), "{body}");
    }
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let json = "content-type: application/json\r\n";
    let own = bearer("x") + form;
    for (path, fields, expected) in [
        ("/token?version=v1", form, 200),
        ("/token?version=v3", form, 422),
        ("/token?x=1", form, 422),
        ("/token", json, 422),
        ("/token", &own, 400),
    ] {
        let (status, body) = client.call("POST", path, fields, LOGIN);
        assert_eq!(status, expected, "{path} {fields}: {body}");
    }
}

#[test]
fn a_second_factor_is_asked_for_in_either_form() {
    for (challenge, expected) in [(Challenge::Ok, 200), (Challenge::Unauthorized, 401)] {
        let user = User::new("ann@example.com", "secret").with_second_factor(challenge);
        let cakemail = Cakemail::start().user(user);
        let (status, body) = Client(&cakemail).token(LOGIN);
        assert_eq!(status, expected);
        assert!(body["challenge"].is_string(), "{body}");
        assert!(body.get("access_token").is_none(), "{body}");
    }
}

#[test]
fn tokens_expire_and_are_revoked() {
    let cakemail = Cakemail::start().personal_token(PERSONAL, &["accounts:read"]);
    let client = Client(&cakemail);
    let (_, tokens) = client.token(LOGIN);
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(client.get("/accounts/self", access).0, 200);
    cakemail.expire_tokens();
    assert_eq!(client.get("/accounts/self", access).0, 401);
    assert_eq!(client.get("/accounts/self", PERSONAL).0, 200);
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    let (_, tokens) = client.token(&form);
    let (access, refresh) = (&tokens["access_token"], &tokens["refresh_token"]);
    assert_eq!(
        client.get("/accounts/self", access.as_str().unwrap()).0,
        200
    );
    cakemail.revoke_tokens();
    let refresh = refresh.as_str().unwrap();
    let form = format!("grant_type=refresh_token&refresh_token={refresh}");
    assert_eq!(client.token(&form).0, 401);
}

#[test]
fn calls_need_a_token_with_the_right_scope() {
    let cakemail = Cakemail::start().personal_token(PERSONAL, &["emailapi:send"]);
    let client = Client(&cakemail);
    let senders = "/brands/default/senders";
    for (token, expected) in [("nonsense", 401), (PERSONAL, 403)] {
        assert_eq!(client.get("/accounts/self", token).0, expected);
        assert_eq!(client.get(senders, token).0, expected);
    }
    assert_eq!(client.call("GET", "/accounts/self", "", "").0, 401);
    assert_eq!(client.send("/v2/emails", "nonsense", &good()).0, 401);
    assert_eq!(client.send("/v2/emails", PERSONAL, &good()).0, 201);
    assert_eq!(client.get("/accounts/other", PERSONAL).0, 404);
}

#[test]
fn a_user_of_another_account_has_its_senders() {
    let cakemail = Cakemail::start()
        .user(User::new("eve@example.org", "secret").of(99))
        .sender(Sender::confirmed(3, "eve@example.org").of(99));
    let client = Client(&cakemail);
    let (_, tokens) = client.token("username=eve%40example.org&password=secret");
    let token = tokens["access_token"].as_str().unwrap();
    let (_, page) = client.get("/brands/default/senders", token);
    assert_eq!(page["data"][0]["email"], "eve@example.org");
    assert_eq!(client.send("/v2/emails", token, &good()).0, 400);
}

#[test]
fn senders_come_in_pages() {
    let cakemail = (0..120).fold(Cakemail::start(), |cakemail, number| {
        cakemail.sender(Sender::unconfirmed(
            number,
            &format!("s{number}@example.com"),
        ))
    });
    let client = Client(&cakemail);
    let token = client.log_in();
    for (query, expected) in [
        ("", 50),
        ("?page=3", 21),
        ("?page=4", 0),
        ("?per_page=100", 100),
        ("?page=2&per_page=100", 21),
    ] {
        let (status, page) = client.get(&format!("/brands/default/senders{query}"), &token);
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["data"].as_array().unwrap().len(), expected, "{query}");
    }
    let (_, page) = client.get("/brands/default/senders?with_count=true&per_page=1", &token);
    assert_eq!(
        page["pagination"],
        json!({"page": 1, "per_page": 1, "count": 121})
    );
    assert_eq!(
        page["data"],
        json!([{"id": "1042", "name": "App", "email": "app@example.com", "confirmed": true,
            "confirmed_on": 1_700_000_000, "language": "en_US"}])
    );
    for query in [
        "?per_page=101",
        "?per_page=0",
        "?page=0",
        "?page=x",
        "?email=x",
        "?page=1&page=2",
    ] {
        let (status, body) = client.get(&format!("/brands/default/senders{query}"), &token);
        assert_eq!(status, 422, "{query}: {body}");
    }
    assert_eq!(cakemail.calls(Endpoint::Senders), 12);
}

#[test]
fn the_contract_of_the_gateway_before_is_there_too() {
    let cakemail = Cakemail::start();
    let client = Client(&cakemail);
    let json = "content-type: application/json\r\n";
    let login = |asked: &Value| client.call("POST", "/validate", json, &asked.to_string());
    let (status, body) = login(&json!({"username": "ann@example.com", "password": "secret"}));
    assert_eq!(status, 200, "{body}");
    let key = body["api_key"].as_str().unwrap();
    assert_eq!(
        login(&json!({"username": "ann@example.com", "password": "x"})).0,
        401
    );
    assert_eq!(login(&json!({"username": "ann@example.com"})).0, 400);
    let email = json!({"subject": "s"});
    let (status, body) = client.send("/email", key, &email);
    assert_eq!((status, body), (202, json!({"message_id": "m-1"})));
    assert_eq!(client.send("/email", "nonsense", &email).0, 401);
    assert_eq!(cakemail.sent()[0].json, email);
}

#[test]
fn our_own_json_goes_to_the_path_of_the_gateway_before() {
    let cakemail = Cakemail::start().personal_token(PERSONAL, &["emailapi:send"]);
    let gateway = Gateway::before(&cakemail.url(), |config| {
        config.api.path = "/email".to_owned();
        config.api.key = Some(Secret::new(PERSONAL));
    });
    let content = "Subject: Hello\r\n\r\nx\r\n";
    let reply = gateway.logged_in().submit(&["bob@example.net"], content);
    assert_eq!(reply, "250 2.0.0 Ok: queued as m-1\r\n");
    assert_eq!(cakemail.sent()[0].json["subject"], "Hello");
}

#[test]
fn plays_come_in_their_order_and_then_the_api_itself() {
    let cakemail = Cakemail::start()
        .script([
            Play::answer(503, "{}"),
            Play::json(429, &json!({"detail": "slow down"})),
        ])
        .script_for(Endpoint::Senders, [Play::answer(500, "{}")]);
    let client = Client(&cakemail);
    let token = client.log_in();
    let status = || client.send("/v2/emails", &token, &good()).0;
    assert_eq!([status(), status(), status()], [503, 429, 201]);
    let sent = cakemail.sent();
    assert_eq!(sent.len(), 3, "what a play answers is recorded, too");
    assert!(sent.iter().all(|sent| sent.fault.is_none()));
    let senders = || client.get("/brands/default/senders", &token).0;
    assert_eq!([senders(), senders()], [500, 200]);
    cakemail.always(Endpoint::Token, Play::answer(503, "{}"));
    assert_eq!([client.token(LOGIN).0, client.token(LOGIN).0], [503, 503]);
}

#[test]
fn a_connection_can_end_before_or_behind_an_answer() {
    let plays = [Play::Reset, Play::ResetBeforeBody, Play::TakeAndClose];
    let cakemail = Cakemail::start().script(plays);
    let token = Client(&cakemail).log_in();
    let fields = bearer(&token) + "content-type: application/json\r\n";
    let answers = [(); 3].map(|()| {
        let (address, body) = (cakemail.address(), good().to_string());
        try_request(address, "POST", "/v2/emails", &fields, &body).map(|(status, _, _)| status)
    });
    assert_eq!(answers, [None, None, Some(201)]);
    assert_eq!(cakemail.calls(Endpoint::Emails), 3);
    assert_eq!(cakemail.sent().len(), 2, "one was never read");
}

#[test]
fn the_most_calls_at_once_are_counted() {
    let held = Arc::new(Semaphore::new(0));
    let plays = [(); 3].map(|()| Play::Held(Arc::clone(&held)));
    let cakemail = Cakemail::start().script(plays);
    let client = Client(&cakemail);
    let token = client.log_in();
    assert_eq!(cakemail.most_at_once(), 1);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(client.send("/v2/emails", &token, &good()).0, 201));
        }
        cakemail.wait_for(3);
        wait_until(|| cakemail.most_at_once() == 3);
        held.add_permits(3);
    });
    assert_eq!(cakemail.most_at_once(), 3);
}
