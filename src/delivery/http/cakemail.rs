//! The provider `cakemail`: Cakemail's Email API, version 2, one call a recipient.
//!
//! What it carries, changes and refuses is told in `docs/providers.md`. Cakemail knows senders by an
//! id: it comes from the message, else from the settings, else from the account's list of senders,
//! by the address in From.

mod answer;
mod attachments;
mod form;
mod header_fields;
mod inline_images;
mod texts;
mod wishes;

use std::num::NonZeroU64;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};

use crate::delivery::Outgoing;
use crate::delivery::http::cakemail::form::Form;
use crate::delivery::http::cakemail::wishes::{Wishes, is_tag};
use crate::delivery::http::provider::{
    Answer, Provider, Request, Response, SenderDirectory, SenderPage, Unsendable, WantedSender,
};
use crate::delivery::http::{self, HttpError};
use crate::http_client::{self, ClientError};

/// Where a message does not say it itself.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The sender of all messages; without it the address in From is looked up.
    pub sender_id: Option<String>,
    /// The account to act for, where it is not the key's own.
    pub account_id: Option<NonZeroU64>,
    /// The list that recipients belong to. Many accounts must name one.
    pub list_id: Option<NonZeroU64>,
    #[serde(rename = "type")]
    pub kind: EmailType,
    /// For every message, besides its own.
    pub tags: Vec<String>,
    pub tracking: Tracking,
    pub text_and_html: TextAndHtml,
    pub inline_images: InlineImages,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sender_id: None,
            account_id: None,
            list_id: None,
            kind: EmailType::Transactional,
            tags: Vec::new(),
            tracking: Tracking::default(),
            text_and_html: TextAndHtml::Both,
            inline_images: InlineImages::Attach,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EmailType {
    Transactional,
    Marketing,
}

/// What Cakemail is to find out about readers. Nothing, unless asked: the API's own default is
/// everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracking {
    pub opens: bool,
    pub clicks_html: bool,
    pub clicks_text: bool,
}

/// What to send of a message that has its text in both forms. Where the API refuses both together,
/// the HTML goes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TextAndHtml {
    Both,
    Html,
}

/// What becomes of images that the HTML shows: the API has no Content-ID for an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InlineImages {
    /// They are files like others, and the HTML shows a gap. Those of a type that the API does not
    /// take, such as GIF, are put into the HTML.
    Attach,
    /// They are put into the HTML as `data:` URLs.
    Data,
    /// The message is refused.
    Refuse,
}

#[derive(Debug)]
pub struct Cakemail {
    config: Config,
    emails: Url,
    senders: Url,
    headers: HeaderMap,
}

impl Cakemail {
    /// # Errors
    /// [`HttpError`] when a setting cannot be used.
    pub fn new(config: &http::Config) -> Result<Self, HttpError> {
        check(config)?;
        let url = |path| http_client::url(&config.url, path, config.allow_http);
        Ok(Self {
            emails: url("/v2/emails")?,
            senders: url("/brands/default/senders")?,
            headers: config.headers()?,
            config: config.cakemail.clone(),
        })
    }

    /// The account to act for, if it is not the key's own.
    fn account(&self, wishes: &Wishes) -> Option<NonZeroU64> {
        wishes.account_id.or(self.config.account_id)
    }
}

impl Provider for Cakemail {
    fn senders(&self) -> Option<&dyn SenderDirectory> {
        Some(self)
    }

    fn requests(
        &self,
        outgoing: &Outgoing,
        sender: Option<&str>,
    ) -> Result<Vec<Request>, Unsendable> {
        let wishes = Wishes::read(&outgoing.email.headers)?;
        let form = Form::new(&self.config, &wishes, sender, outgoing)?;
        let mut url = self.emails.clone();
        if let Some(account) = self.account(&wishes) {
            let account = account.to_string();
            url.query_pairs_mut().append_pair("account_id", &account);
        }
        let mut headers = self.headers.clone();
        headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
        let recipients = outgoing.envelope.recipients().iter().enumerate();
        let request = |(index, recipient)| Request {
            recipients: index..index + 1,
            method: Method::POST,
            url: url.clone(),
            headers: headers.clone(),
            body: form.addressed_to(recipient),
            fallback: form.html_alone(recipient),
        };
        Ok(recipients.map(request).collect())
    }

    fn calls(&self, recipients: usize) -> usize {
        recipients
    }

    fn answer(&self, response: &Response) -> Answer {
        answer::to_email(response)
    }

    fn wants_fallback(&self, response: &Response) -> bool {
        answer::is_about_the_texts(response)
    }
}

impl SenderDirectory for Cakemail {
    fn wanted(&self, outgoing: &Outgoing) -> Result<Option<WantedSender>, Unsendable> {
        let wishes = Wishes::read(&outgoing.email.headers)?;
        if wishes.sender_id.is_some() || self.config.sender_id.is_some() {
            return Ok(None);
        }
        let author = outgoing.email.from.first().ok_or_else(|| {
            Unsendable::Sender(
                "the message names no sender, neither in From nor in MAIL".to_owned(),
            )
        })?;
        Ok(Some(WantedSender {
            address: author.email.clone(),
            account: self.account(&wishes).map(|account| account.to_string()),
        }))
    }

    fn page(&self, account: Option<&str>, number: u32) -> Url {
        let mut url = self.senders.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("page", &number.to_string());
            query.append_pair("per_page", &answer::SENDERS_PER_PAGE.to_string());
            if let Some(account) = account {
                query.append_pair("account_id", account);
            }
        }
        url
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn read(&self, response: &Response) -> Result<SenderPage, Answer> {
        answer::to_senders(response)
    }
}

/// What the types of the settings cannot say.
fn check(config: &http::Config) -> Result<(), HttpError> {
    let fault = |key, reason| Err(HttpError::Setting { key, reason });
    if !config.path.is_empty() {
        return fault("api.path", "this provider has its own: leave it out");
    }
    let base = http_client::url(&config.url, "", config.allow_http)?;
    let path = base.path().trim_end_matches('/');
    if ["/v1", "/v2", "/emails"]
        .iter()
        .any(|end| path.ends_with(end))
    {
        return Err(ClientError::PathAlready("/v2/emails").into());
    }
    if config.raw {
        return fault("api.raw", "this provider takes no raw message");
    }
    if config.idempotent {
        return fault("api.idempotent", "this provider has no idempotency key");
    }
    let cakemail = &config.cakemail;
    if cakemail.sender_id.as_ref().is_some_and(String::is_empty) {
        return fault("api.cakemail.sender_id", "expected the id of a sender");
    }
    if !cakemail.tags.iter().all(|tag| is_tag(tag)) {
        let reason = "expected letters, digits, - and _ only, at most 255 in a tag";
        return fault("api.cakemail.tags", reason);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
