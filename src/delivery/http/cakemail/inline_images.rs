//! Images that the HTML shows out of its own message (RFC 2392), for an API that knows no
//! Content-ID.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::delivery::http::cakemail::{InlineImages, attachments};
use crate::delivery::http::provider::Unsendable;
use crate::message::base64_form::Base64Form;
use crate::message::content::Content;
use crate::message::content_id::references;
use crate::message::email::{Attachment, Email};

/// The HTML in parts, and which attachments are in it.
pub(super) struct Html<'a> {
    pub(super) parts: Vec<Part<'a>>,
    pub(super) embedded: BTreeSet<usize>,
}

pub(super) enum Part<'a> {
    /// Of the HTML.
    Text(Range<usize>),
    /// In place of its `cid:` URL.
    Image {
        media_type: &'a str,
        content: Base64Form,
    },
}

impl<'a> Html<'a> {
    /// # Errors
    /// [`Unsendable::CannotCarry`] where the settings want it, and where the HTML shows its images so
    /// often that it would grow out of all bounds.
    pub(super) fn new(
        html: &str,
        email: &'a Email,
        content: &Content,
        policy: InlineImages,
    ) -> Result<Self, Unsendable> {
        let images = images(&email.attachments, policy);
        let mut whole = Self {
            parts: Vec::new(),
            embedded: BTreeSet::new(),
        };
        let mut forms: HashMap<usize, Base64Form> = HashMap::new();
        let (mut at, mut count, mut repeated) = (0, 0, 0_u64);
        for found in references(html).take_while(|_| !images.is_empty()) {
            let Some((index, image)) = images.get(found.content_id.as_str()) else {
                continue;
            };
            if policy == InlineImages::Refuse {
                return Err(cannot("its HTML shows images of its own"));
            }
            let form = forms.entry(*index).or_insert_with(|| {
                let slice = content.slice(image.body.clone());
                Base64Form::of_part(slice, image.encoding)
            });
            count += 1;
            if !whole.embedded.insert(*index) {
                repeated = repeated.saturating_add(form.len());
            }
            if count > MAX_IMAGES || repeated > MAX_REPEATED {
                return Err(cannot("its HTML shows its images too often"));
            }
            whole.parts.push(Part::Text(at..found.range.start));
            at = found.range.end;
            whole.parts.push(Part::Image {
                media_type: &image.media_type,
                content: form.clone(),
            });
        }
        whole.parts.push(Part::Text(at..html.len()));
        Ok(whole)
    }
}

/// The images that are not to be files and that HTML can show, by their ids; of two with one id the
/// first.
fn images(attachments: &[Attachment], policy: InlineImages) -> HashMap<&str, (usize, &Attachment)> {
    let mut images = HashMap::new();
    for (index, attachment) in attachments.iter().enumerate() {
        if let Some(id) = &attachment.content_id
            && is_image(&attachment.media_type)
            && (policy != InlineImages::Attach || !attachments::takes(attachment))
        {
            images.entry(id.as_str()).or_insert((index, attachment));
        }
    }
    images
}

/// An image whose type can stand in an attribute: a quote in it would end that.
fn is_image(media_type: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
    media_type
        .strip_prefix("image/")
        .is_some_and(|subtype| subtype.bytes().all(plain))
}

fn cannot(reason: &str) -> Unsendable {
    Unsendable::CannotCarry(reason.to_owned())
}

/// No newsletter shows nearly as many.
const MAX_IMAGES: usize = 1000;
/// Octets of base64 beyond that of each image once: a bullet or a line may be shown often.
const MAX_REPEATED: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::email::Disposition;
    use crate::message::transfer::TransferEncoding;

    fn image(id: &str, media_type: &str) -> Attachment {
        Attachment {
            name: None,
            media_type: media_type.to_owned(),
            content_type: media_type.to_owned(),
            content_id: Some(id.to_owned()),
            disposition: Disposition::Inline,
            encoding: TransferEncoding::Identity,
            body: 0..5,
        }
    }

    /// The HTML as it leaves, and the attachments that are in it.
    fn html(html: &str, policy: InlineImages) -> Result<(String, Vec<usize>), Unsendable> {
        let email = Email {
            attachments: vec![
                image("pic@x", "image/png"),
                image("other@x", "image/gif"),
                image("odd@x", "image/x'y"),
                image("file@x", "application/pdf"),
            ],
            ..Email::default()
        };
        let found = Html::new(html, &email, &Content::new("hello"), policy)?;
        let show = |part: &Part<'_>| match part {
            Part::Text(range) => html[range.clone()].to_owned(),
            Part::Image {
                media_type,
                content,
            } => format!("[{media_type}, {} octets]", content.len()),
        };
        let shown = found.parts.iter().map(show).collect();
        Ok((shown, found.embedded.into_iter().collect()))
    }

    const PAGE: &str =
        "<img src=\"cid:pic%40x\"> é <img src='CID:pic@x'> <a href=cid:file@x> cid:no";

    #[test]
    fn images_are_put_where_they_are_shown() {
        let (shown, embedded) = html(PAGE, InlineImages::Data).unwrap();
        assert_eq!(
            shown,
            "<img src=\"[image/png, 8 octets]\"> é <img src='[image/png, 8 octets]'> \
             <a href=cid:file@x> cid:no"
        );
        assert_eq!(embedded, [0]);
        // A type that would end the attribute.
        let odd = "<img src='cid:odd@x'>";
        let (shown, _) = html(odd, InlineImages::Data).unwrap();
        assert_eq!(shown, odd);
    }

    #[test]
    fn an_image_that_cannot_be_a_file_is_put_into_the_html() {
        let page = "<img src='cid:pic@x'><img src='cid:other@x'>";
        let (shown, embedded) = html(page, InlineImages::Attach).unwrap();
        let expected = "<img src='cid:pic@x'><img src='[image/gif, 8 octets]'>";
        assert_eq!((shown.as_str(), embedded), (expected, vec![1]));
    }

    #[test]
    fn a_large_image_is_not_repeated_without_bound() {
        let email = Email {
            attachments: vec![Attachment {
                body: 0..300_000,
                ..image("pic@x", "image/png")
            }],
            ..Email::default()
        };
        let content = Content::new(vec![b'x'; 300_000]);
        let page = |times| "cid:pic@x ".repeat(times);
        let made = |times| {
            let page = page(times);
            Html::new(&page, &email, &content, InlineImages::Data).is_ok()
        };
        // 400,000 octets of base64 each; the first is free.
        assert!(made(3));
        assert!(!made(4));
    }

    #[test]
    fn they_can_be_left_alone_or_refused() {
        let as_is = (PAGE.to_owned(), Vec::new());
        assert_eq!(html(PAGE, InlineImages::Attach), Ok(as_is));
        assert!(html(PAGE, InlineImages::Refuse).is_err());
        assert!(html("cid:file@x", InlineImages::Refuse).is_ok());
    }

    #[test]
    fn html_does_not_grow_out_of_all_bounds() {
        let page = |times| "cid:pic@x ".repeat(times);
        assert!(html(&page(MAX_IMAGES), InlineImages::Data).is_ok());
        assert!(html(&page(MAX_IMAGES + 1), InlineImages::Data).is_err());
    }
}
