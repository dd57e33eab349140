//! What is told while messages are sent and after: dialogue, progress, summary.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::cli::send::exit::Exit;
use crate::cli::tell;
use crate::smtp::client::{Answer, Ending, Line};
use crate::smtp::reply::Reply;

pub(super) struct Report {
    count: u32,
    quiet: bool,
    shows_progress: bool,
    /// Connecting counts, too.
    started: Instant,
    progress_told: Instant,
    tally: Tally,
}

/// What became of the messages so far.
#[derive(Default)]
struct Tally {
    /// Accepted for all recipients.
    sent: u32,
    /// Refused for one of them at least.
    refused: u32,
    exit: Option<Exit>,
    /// The reply that led to this exit, the last of several.
    decisive: Option<Reply>,
    last_refusal: Option<Reply>,
    /// Why the session ended, where no reply says it.
    fault: Option<String>,
}

impl Tally {
    fn take(&mut self, exit: Exit, reply: &Reply) {
        if self.exit <= Some(exit) {
            self.exit = Some(exit);
            self.decisive = Some(reply.clone());
        }
        if !reply.is_positive() {
            self.last_refusal = Some(reply.clone());
        }
    }
}

impl Report {
    pub(super) fn new(count: u32, quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            count,
            quiet,
            shows_progress: count > 1 && !quiet && io::stderr().is_terminal(),
            started: now,
            progress_told: now,
            tally: Tally::default(),
        }
    }

    /// Tells a line of the dialogue, up to the end of the first message where there are several.
    pub(super) fn line(&self, line: &Line) {
        if !self.quiet && (self.count == 1 || self.settled_count() == 0) {
            tell(&mut io::stdout(), &line.to_string());
        }
    }

    pub(super) fn tls(&self, description: &str) {
        if !self.quiet {
            tell(&mut io::stdout(), &format!("-- {description}"));
        }
    }

    pub(super) fn settled(&mut self, answers: &[Answer]) {
        let tally = &mut self.tally;
        match Exit::of_answers(answers) {
            Exit::Success => tally.sent = tally.sent.saturating_add(1),
            _ => tally.refused = tally.refused.saturating_add(1),
        }
        for Answer { reply, .. } in answers {
            tally.take(Exit::of_reply(reply), reply);
        }
        if self.shows_progress && self.progress_told.elapsed() >= PROGRESS_INTERVAL {
            self.progress_told = Instant::now();
            let text = format!("\r{} of {}", self.settled_count(), self.count);
            // That nobody reads it is no reason to fail.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// Takes the end of the session, and gives its exit code.
    pub(super) fn ended(&mut self, ending: &Ending) -> Exit {
        let exit = Exit::of_ending(ending);
        self.tally.fault = match ending {
            Ending::Quit => None,
            Ending::Refused(reply) | Ending::LoginRefused(reply) => {
                self.tally.take(exit, reply);
                None
            }
            Ending::NotOffered(missing) => Some(format!("the server does not offer {missing}")),
            Ending::Fault(fault) => Some(format!("the server does not speak SMTP: {fault}")),
            Ending::Disconnected => Some("the server closed the connection".to_owned()),
        };
        exit
    }

    /// The worst of what became of the messages.
    pub(super) fn exit(&self) -> Exit {
        self.tally.exit.unwrap_or(Exit::Success)
    }

    /// Tells what comes last: a fault, the reply that led to this exit where nothing else was told, the
    /// summary where there were several messages.
    pub(super) fn end(&self, exit: Exit) {
        if self.shows_progress {
            tell(&mut io::stderr(), "");
        }
        let Tally {
            sent,
            refused,
            exit: exit_of_replies,
            decisive,
            last_refusal,
            fault,
        } = &self.tally;
        if let Some(fault) = fault {
            tell(&mut io::stderr(), fault);
        }
        if self.quiet {
            if let (Some(reply), true) = (decisive, *exit_of_replies == Some(exit)) {
                tell(&mut io::stdout(), &text(reply));
            }
        } else if self.count > 1 {
            let seconds = self.started.elapsed().as_secs_f64();
            let rate = f64::from(self.settled_count()) / seconds.max(f64::MIN_POSITIVE);
            let summary = format!("{sent} sent, {refused} refused, {rate:.1} messages a second");
            tell(&mut io::stdout(), &summary);
            if let Some(reply) = last_refusal {
                let told = format!("The last refusal: {}", text(reply));
                tell(&mut io::stdout(), &told);
            }
        }
    }

    fn settled_count(&self) -> u32 {
        self.tally.sent.saturating_add(self.tally.refused)
    }
}

fn text(reply: &Reply) -> String {
    reply.to_string().trim_end().replace("\r\n", "\n")
}

const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
