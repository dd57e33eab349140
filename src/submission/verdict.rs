//! One reply for several recipients: PURE.
//!
//! SMTP has one reply after the data, and a message may have fared differently with each of its
//! recipients. The rule: transient wins over permanent, so that nobody loses a message that can
//! still arrive; a message delivered to some and refused for others counts as accepted, unless a
//! setting says otherwise.

use crate::delivery::{Outcome, PartialFailure};
use crate::submission::{Deferral, Receipt, Refusal};

/// What to tell the client, given what became of each recipient.
pub(super) fn verdict(
    outcomes: &[Outcome],
    transaction_id: &str,
    partial_failure: PartialFailure,
) -> Result<Receipt, Refusal> {
    let deferred = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Deferred { cause, reason } => Some(Refusal::Deferred {
            cause: *cause,
            reason: reason.clone(),
        }),
        Outcome::Delivered { .. } | Outcome::Failed { .. } => None,
    });
    let failed = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Failed { cause, reason } => Some(Refusal::Failed {
            cause: *cause,
            reason: reason.clone(),
        }),
        Outcome::Delivered { .. } | Outcome::Deferred { .. } => None,
    });
    let mut ids = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Delivered { id } => Some(id.as_str()),
        Outcome::Deferred { .. } | Outcome::Failed { .. } => None,
    });
    match (deferred, ids.next(), failed) {
        (Some(refusal), ..) | (None, None, Some(refusal)) => Err(refusal),
        // Nobody answers for a message without outcomes.
        (None, None, None) => Err(Refusal::Deferred {
            cause: Deferral::Unavailable,
            reason: None,
        }),
        (None, Some(first), _) => {
            let same = ids.clone().all(|id| id == first);
            let delivered = ids.count() + 1;
            let failed = outcomes.len() - delivered;
            if failed > 0 && partial_failure == PartialFailure::Refuse {
                return Err(Refusal::PartlyFailed {
                    recipients: outcomes.len(),
                    failed,
                });
            }
            Ok(Receipt {
                id: if same { first } else { transaction_id }.to_owned(),
                recipients: outcomes.len(),
                failed,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::{Failure, Quote};

    /// `+` and the id: delivered; `4`: deferred; `5`: failed. Later causes differ from the first.
    fn outcomes(text: &str) -> Vec<Outcome> {
        let mut deferrals = [Deferral::Throttled, Deferral::Unknown].into_iter().cycle();
        let mut failures = [Failure::TooLarge, Failure::Refused].into_iter().cycle();
        text.split(' ')
            .map(|word| match word {
                "4" => Outcome::deferred(deferrals.next().unwrap()),
                "5" => Outcome::Failed {
                    cause: failures.next().unwrap(),
                    reason: None,
                },
                id => Outcome::Delivered {
                    id: Quote::new(id.strip_prefix('+').unwrap()),
                },
            })
            .collect()
    }

    fn receipt(id: &str, recipients: usize, failed: usize) -> Result<Receipt, Refusal> {
        Ok(Receipt {
            id: id.into(),
            recipients,
            failed,
        })
    }

    #[test]
    fn nobody_answers_for_a_message_without_outcomes() {
        assert!(verdict(&[], "tx", PartialFailure::Report).is_err());
    }

    #[test]
    fn every_mixture_of_outcomes_has_its_one_reply() {
        let transient = Err(Refusal::Deferred {
            cause: Deferral::Throttled,
            reason: None,
        });
        let permanent = Err(Refusal::Failed {
            cause: Failure::TooLarge,
            reason: None,
        });
        for (text, expected) in [
            ("+a", receipt("a", 1, 0)),
            ("+a +a +a", receipt("a", 3, 0)),
            ("+a +b", receipt("tx", 2, 0)),
            ("4", transient.clone()),
            ("5", permanent.clone()),
            ("5 5", permanent),
            ("4 4", transient.clone()),
            ("5 4", transient.clone()),
            ("+a 4", transient.clone()),
            ("4 +a 5", transient),
            ("+a 5", receipt("a", 2, 1)),
            ("5 +a +b 5", receipt("tx", 4, 2)),
        ] {
            let outcomes = outcomes(text);
            let report = PartialFailure::Report;
            assert_eq!(verdict(&outcomes, "tx", report), expected, "{text}");
            let refused = match expected {
                Ok(Receipt {
                    recipients, failed, ..
                }) if failed > 0 => Err(Refusal::PartlyFailed { recipients, failed }),
                expected => expected,
            };
            let refuse = PartialFailure::Refuse;
            assert_eq!(verdict(&outcomes, "tx", refuse), refused, "{text}");
        }
    }
}
