//! What only shows when everything is looked at together. Runs on what could be read, so that a wrong
//! value in one place hides nothing in another.

mod addresses;
mod forward;
mod listeners;
mod names;
mod records;
mod warnings;

use super::diagnostic::Findings;
use super::draft::Draft;
use super::policy;

/// Checks a whole draft.
pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    names::check(draft, findings);
    listeners::check(draft, findings);
    addresses::check(draft, findings);
    records::check(draft, findings);
    policy::check_timeouts(&draft.defaults, &policy::PolicyDraft::default(), findings);
    for service in &draft.services {
        policy::check_timeouts(&service.policy, &draft.defaults, findings);
    }
    warnings::check(draft, findings);
}
