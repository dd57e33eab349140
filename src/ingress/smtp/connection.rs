//! One connection: the loop over [`Session::step`], and the answers to its questions.
//!
//! Whoever is logged in is known here and nowhere else; it dies with the connection and with
//! STARTTLS.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, error, warn};

use crate::auth::api_key::ApiKey;
use crate::auth::throttle::Verdict;
use crate::auth::{Denied, Identity};
use crate::ingress::smtp::patience::{Late, Patience};
use crate::ingress::smtp::stream::Stream;
use crate::ingress::smtp::{
    Answer, ListenerAuth, ListenerConfig, ListenerTls, Service, ending_label, replies,
};
use crate::message::date::Date;
use crate::message::received::Received;
use crate::shutdown::Tasks;
use crate::smtp::address::ReversePath;
use crate::smtp::envelope::Envelope;
use crate::smtp::reply::{self, Reply};
use crate::smtp::sasl::Credentials;
use crate::smtp::session::{Authentication, Ending, Question, Session, Step, Tls, Wait};
use crate::submission::budget::{NoRoom, Room};
use crate::submission::{Failure, Refusal, Submission, Unheard};
use crate::telemetry::privacy::{random_fraction, random_id};

pub(super) struct Connection {
    service: Arc<Service>,
    tasks: Tasks,
    client: IpAddr,
    implicit_tls: bool,
    session: Session,
    session_id: String,
    /// Who this is by the network it comes from.
    trusted: Option<Identity>,
    /// Who this is by AUTH.
    authenticated: Option<Identity>,
    /// What the message of this transaction may take in memory.
    room: Option<Room>,
    transactions: u32,
    octets_read: u64,
    patience: Patience,
    /// Final answers to messages, until the client says something more.
    unheard: Vec<Unheard>,
}

impl Connection {
    pub(super) fn new(
        service: Arc<Service>,
        listener: &ListenerConfig,
        client: IpAddr,
        tasks: Tasks,
    ) -> Self {
        let trusted = match listener.auth {
            ListenerAuth::Required => None,
            ListenerAuth::Trusted => service.authenticator.trusted(client),
        };
        let tls = match listener.tls {
            ListenerTls::Starttls => Tls::Offered,
            ListenerTls::Implicit => Tls::Established,
            ListenerTls::Off => Tls::Off,
        };
        let authentication = match trusted {
            None => Authentication::Required,
            Some(_) => Authentication::Waived,
        };
        Self {
            tasks,
            client,
            implicit_tls: listener.tls == ListenerTls::Implicit,
            session: Session::new(service.settings.load_full(), tls, authentication),
            session_id: random_id(),
            trusted,
            authenticated: None,
            room: None,
            transactions: 0,
            octets_read: 0,
            patience: Patience::new(
                &service.intake.limits().now(),
                Instant::now(),
                random_fraction(),
            ),
            unheard: Vec::new(),
            service,
        }
    }

    /// Talks to the client until the session is over.
    pub(super) async fn run(mut self, stream: TcpStream) {
        let started = Instant::now();
        let result = self.converse(Stream::Clear(stream)).await;
        if result.is_err() || self.session.ending().is_none() {
            for unheard in self.unheard.drain(..) {
                unheard.remember().await;
            }
        }
        let duration = started.elapsed();
        let ending = match (&result, self.session.ending()) {
            (Err(error), None) => ending_without_a_word(error),
            (_, ending) => ending,
        };
        let ending = ending_label(ending);
        let metrics = &self.service.metrics;
        metrics.duration.observe(duration.as_secs_f64());
        metrics.endings.with_label_values(&[ending]).inc();
        // A probe that connects and leaves is not worth a line.
        if self.octets_read > 0 {
            debug!(
                "session.id" = self.session_id,
                "client.addr" = %self.client,
                "session.ending" = ending,
                "session.transactions" = self.transactions,
                "error.detail" = result.err().map(|error| error.to_string()),
                duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                "session ended"
            );
        }
    }

    async fn converse(&mut self, mut stream: Stream) -> io::Result<()> {
        if self.implicit_tls {
            stream = self.handshake(stream).await?;
        }
        let mut buffer = Vec::new();
        loop {
            let step = self.session.step();
            for exceeded in self.session.exceeded() {
                self.service.metrics.limits_hit.exceeded(exceeded);
            }
            if !matches!(step, Step::Receive) {
                self.patience.command_is_whole();
            }
            match step {
                Step::Send(octets) => {
                    timeout(self.patience.write(), stream.write(&octets)).await??;
                }
                Step::Receive => {
                    self.keep_room().await;
                    if !self.receive(&mut stream, &mut buffer).await? {
                        return Ok(());
                    }
                }
                Step::Ask(question) => {
                    let (reply, then) = self.decide(question, &mut stream, &mut buffer).await;
                    match then {
                        Then::GoOn => self.session.answer(&reply),
                        Then::Close => self.session.answer_and_close(&reply),
                    }
                }
                Step::StartTls => {
                    stream = self.handshake(stream).await?;
                    self.session.tls_established();
                    self.authenticated = None;
                }
                Step::Close => {
                    Box::pin(stream.close()).await;
                    return Ok(());
                }
            }
        }
    }

    async fn handshake(&self, stream: Stream) -> io::Result<Stream> {
        let tls = self
            .service
            .tls
            .as_ref()
            .ok_or(io::ErrorKind::Unsupported)?;
        let patience = self.patience.handshake();
        // Boxed, as all that a session does only now and then: an idle one has no room for it.
        let handshake = Box::pin(stream.into_tls(Arc::clone(tls)));
        let handshake = async { timeout(patience, handshake).await? };
        let last_call = self.tasks.last_call();
        let Some(result) = last_call.run_until_cancelled(handshake).await else {
            return Err(io::ErrorKind::Interrupted.into());
        };
        if result.is_err() {
            self.service.metrics.handshake_failures.inc();
        }
        result
    }

    /// Reads once. False when the peer has left.
    async fn receive(&mut self, stream: &mut Stream, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let wait = self.session.waiting_for();
        let size = match wait {
            Wait::Command | Wait::Transaction | Wait::Chunk => COMMAND_BUFFER,
            Wait::MailData => DATA_BUFFER,
        };
        if buffer.len() != size {
            // An idle session keeps the small one only.
            *buffer = vec![0; size];
        }
        let (interrupted, interruption) = match wait {
            Wait::Command | Wait::Transaction | Wait::Chunk if !self.session.is_draining() => {
                (self.tasks.draining(), Interruption::Drain)
            }
            // The drain waits for a message that is in flight, up to its last call.
            _ => (self.tasks.last_call(), Interruption::LastCall),
        };
        let began = Instant::now();
        let due = self.patience.due(wait, began);
        let lapse = match wait {
            Wait::Transaction => self.room.as_ref().and_then(Room::lapses),
            Wait::Command | Wait::Chunk | Wait::MailData => None,
        };
        let in_time = async {
            // Who always has more to say is late at some time all the same.
            if due.at <= began {
                return Err(Interruption::Late(due.late));
            }
            let (at, late) = match lapse {
                Some(lapse) if lapse < due.at => (lapse, Interruption::Lapse),
                _ => (due.at, Interruption::Late(due.late)),
            };
            timeout_at(at, stream.read(buffer)).await.map_err(|_| late)
        };
        let read = tokio::select! {
            biased;
            () = interrupted.cancelled() => Err(interruption),
            read = in_time => read,
        };
        match read {
            Err(Interruption::Drain) => self.session.draining(),
            Err(Interruption::LastCall) => self.session.last_call(),
            Err(Interruption::Lapse) => self.give_room_back(),
            Err(Interruption::Late(Late::TimedOut)) => self.session.timed_out(),
            Err(Interruption::Late(Late::Expired)) => self.session.expired(),
            Ok(read) => {
                let octets = buffer.get(..read?).unwrap_or_default();
                self.patience.waited(began.elapsed(), octets.len());
                self.take(octets);
                if !octets.is_empty() {
                    self.unheard.clear();
                }
                return Ok(!octets.is_empty());
            }
        }
        Ok(true)
    }

    /// Keeps as much room as the transaction needs, or drops its message where there is none.
    async fn keep_room(&mut self) {
        match self.session.waiting_for() {
            Wait::Command => self.room = None,
            Wait::MailData if self.make_room().await.is_err() => {
                self.session.no_room();
                self.room = None;
            }
            Wait::MailData | Wait::Transaction | Wait::Chunk => {}
        }
    }

    fn give_room_back(&mut self) {
        if let Some(room) = &mut self.room {
            room.give_back();
        }
    }

    /// Hands octets that were read to the session.
    fn take(&mut self, octets: &[u8]) {
        self.octets_read += octets.len() as u64;
        self.session.receive(octets);
    }

    /// Whether the client has not left, as far as that can be told without waiting. It may have said
    /// more before it left, without hearing the answer.
    fn is_listening(&mut self, stream: &mut Stream, buffer: &mut [u8]) -> bool {
        for _ in 0..LAST_WORDS {
            match unconstrained(stream.read(buffer)).now_or_never() {
                None => return true,
                Some(Ok(0) | Err(_)) => return false,
                Some(Ok(read)) => self.take(buffer.get(..read).unwrap_or_default()),
            }
        }
        true
    }

    async fn decide(
        &mut self,
        question: Question,
        stream: &mut Stream,
        buffer: &mut [u8],
    ) -> (Reply, Then) {
        let reply = match question {
            Question::Authenticate(credentials) => self.authenticate(credentials).await,
            Question::Mail(path, parameters) => self.begin(&path, parameters.size).await,
            Question::Rcpt(_) => reply::RECIPIENT_OK.clone(),
            Question::Data => self.data().await,
            Question::Message(envelope, content) => {
                self.patience.message_is_over();
                let submission = self.submission(envelope, content);
                let service = Arc::clone(&self.service);
                let answer = Answer::none_yet(&service.metrics);
                let (reply, then) = self.message(submission, stream, buffer).await;
                answer.is(&reply);
                return (reply, then);
            }
        };
        (reply, Then::GoOn)
    }

    async fn authenticate(&mut self, credentials: Credentials) -> Reply {
        let network = self.service.intake.limits().now().counted_as(self.client);
        let authenticator = &self.service.authenticator;
        let authenticating = Box::pin(authenticator.authenticate(credentials, network));
        match authenticating.await {
            Ok(identity) => {
                self.authenticated = Some(identity);
                reply::AUTHENTICATED.clone()
            }
            Err(denied) => {
                self.count_denied(denied);
                replies::denied(denied).clone()
            }
        }
    }

    fn count_denied(&self, denied: Denied) {
        let reason = match denied {
            Denied::Credentials => "credentials",
            Denied::Challenge => "challenge",
            Denied::Unavailable => "unavailable",
            Denied::Throttled => "throttled",
        };
        let failures = &self.service.metrics.auth_failures;
        failures.with_label_values(&[reason]).inc();
        debug!(
            "session.id" = self.session_id,
            "client.addr" = %self.client,
            "auth.reason" = reason,
            "login refused"
        );
    }

    async fn begin(&mut self, path: &ReversePath, announced: Option<u64>) -> Reply {
        let Some(identity) = self.identity() else {
            return self.without_identity();
        };
        if let Err(refusal) = self.service.intake.begin(self.client, identity, path) {
            if let Refusal::Sender(_) = refusal {
                warn!(
                    "session.id" = self.session_id,
                    "client.addr" = %self.client,
                    "refusal.cause" = refusal.cause(),
                    "transaction not begun"
                );
            }
            return self.refused(&refusal);
        }
        self.room = None;
        match self.service.intake.reserve(announced.unwrap_or(0)).await {
            Ok(room) => self.room = Some(room),
            Err(refusal) => return self.refused(&refusal),
        }
        self.transactions += 1;
        reply::SENDER_OK.clone()
    }

    async fn data(&mut self) -> Reply {
        match self.make_room().await {
            Ok(()) => replies::data(),
            Err(NoRoom) => reply::NO_ROOM.clone(),
        }
    }

    /// Room for what the next read may bring of the message.
    async fn make_room(&mut self) -> Result<(), NoRoom> {
        let octets = self.session.content_len().saturating_add(DATA_BUFFER);
        match &mut self.room {
            Some(room) => room.make(octets as u64).await,
            None => Ok(()),
        }
    }

    /// Who this is, once that is known.
    fn identity(&self) -> Option<&Identity> {
        self.authenticated.as_ref().or(self.trusted.as_ref())
    }

    fn without_identity(&self) -> Reply {
        error!(
            "session.id" = self.session_id,
            "mail without an identity: this is a bug"
        );
        replies::internal_fault()
    }

    /// The reply, and a count where a limit was met.
    fn refused(&self, refusal: &Refusal) -> Reply {
        self.service.metrics.limits_hit.refused(refusal);
        replies::refused(refusal)
    }

    /// `None` without a transaction that somebody began, which is a bug.
    fn submission(&mut self, envelope: Envelope, content: Bytes) -> Option<Submission> {
        let room = self.room.take()?;
        let identity = self.identity()?;
        Some(Submission {
            session_id: self.session_id.clone(),
            transaction_id: format!("{}-{}", self.session_id, self.transactions),
            envelope,
            content,
            received: self.received(identity),
            identity: identity.clone(),
            room,
        })
    }

    async fn message(
        &mut self,
        submission: Option<Submission>,
        stream: &mut Stream,
        buffer: &mut [u8],
    ) -> (Reply, Then) {
        let service = Arc::clone(&self.service);
        service.metrics.received.inc();
        let started = Instant::now();
        let Some(submission) = submission else {
            return (self.without_identity(), Then::GoOn);
        };
        let may_be_the_password = matches!(submission.identity.api_key, ApiKey::Passed(_));
        let is_listening = async || self.is_listening(stream, buffer);
        // In a box of its own, or each idle connection has room for it.
        let accepting = Box::pin(service.intake.accept(submission, is_listening));
        let answered = accepting.await;
        let processing = &service.metrics.processing;
        processing.observe(started.elapsed().as_secs_f64());
        let answer = match &answered.result {
            Ok(receipt) => {
                self.password_turned_out(Verdict::Good);
                (replies::accepted(receipt), Then::GoOn)
            }
            Err(refusal) => {
                let is_login = may_be_the_password && is_key_refused(refusal);
                (self.refused(refusal), self.after_refusal(is_login))
            }
        };
        if self.unheard.len() < MAX_UNHEARD {
            self.unheard.extend(answered.unheard());
        }
        answer
    }

    /// A password that is the key was perhaps not checked at AUTH: what the API says of it now is
    /// the answer to the login, and nothing else could be sent in this session.
    fn after_refusal(&self, of_login: bool) -> Then {
        if of_login {
            self.count_denied(Denied::Credentials);
            self.password_turned_out(Verdict::Wrong);
            return Then::Close;
        }
        Then::GoOn
    }

    /// Tells who counts wrong passwords what a message told of one.
    fn password_turned_out(&self, verdict: Verdict) {
        let network = self.service.intake.limits().now().counted_as(self.client);
        if let (Some(identity), Some(network)) = (&self.authenticated, network) {
            let authenticator = &self.service.authenticator;
            authenticator.turned_out(identity, network, verdict);
        }
    }

    fn received(&self, identity: &Identity) -> Received {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Received {
            at: Date::from_unix(now.unwrap_or_default().as_secs()),
            by: self.service.settings.load().hostname.clone(),
            from: self.client,
            helo: self
                .session
                .greeting()
                .map(|greeting| greeting.name.clone()),
            protocol: self.session.protocol(),
            account: Some(identity.account.clone()),
        }
    }
}

/// Why a session ended where there was no way to tell the client.
fn ending_without_a_word(error: &io::Error) -> Option<Ending> {
    match error.kind() {
        io::ErrorKind::TimedOut => Some(Ending::TimedOut),
        io::ErrorKind::Interrupted => Some(Ending::Draining),
        _ => None,
    }
}

/// What comes behind a reply.
#[derive(Clone, Copy)]
enum Then {
    GoOn,
    Close,
}

fn is_key_refused(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Failed {
            cause: Failure::KeyRefused,
            ..
        }
    )
}

/// What ends a wait early.
#[derive(Clone, Copy)]
enum Interruption {
    Drain,
    LastCall,
    Late(Late),
    /// Memory that was announced has not been used.
    Lapse,
}

/// Reads of what a client said while its message was on its way.
const LAST_WORDS: usize = 8;
/// Messages that one client sends without waiting for an answer.
const MAX_UNHEARD: usize = 16;
const COMMAND_BUFFER: usize = 2 * 1024;
/// Two TLS records.
const DATA_BUFFER: usize = 32 * 1024;
