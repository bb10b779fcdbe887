//! Failures in a row: what needs no statistics to end a stage at once.

use serde::{Deserialize, Serialize};

use super::{MemberFacts, StageFacts};
use crate::model::release::Judgement;
use crate::model::{ColorName, ServiceName};

/// What part of releases of an equally good color may fail by a row of failures.
pub const PERMITTED: f64 = 0.000_1;

/// A color that fails again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardFailure {
    /// The service.
    pub service: ServiceName,
    /// The new color.
    pub color: ColorName,
    /// Failures since the last connection that got an answer.
    pub in_a_row: u32,
    /// How many are a failure.
    pub bound: u32,
    /// The same in a sentence.
    pub says: String,
}

/// The first member whose new color fails again and again. Cheap: a few comparisons, and samples without open
/// connections are enough ([`super::Sample::take_counters`]).
///
/// Where the old color fails as well, as shared dependencies do or protocols without answers, a longer row is
/// needed: so long that it comes by chance in at most `PERMITTED` of all releases.
pub fn hard_failure(judgement: &Judgement, stage: &StageFacts) -> Option<HardFailure> {
    if !judgement.enabled || stage.percent.get() == 0 {
        return None;
    }
    stage.members.iter().find_map(|member| of_member(judgement, member, stage.comparisons))
}

fn of_member(judgement: &Judgement, member: &MemberFacts, comparisons: usize) -> Option<HardFailure> {
    let (in_a_row, least) = (member.new.in_a_row, judgement.consecutive_failures_max.max(1));
    if in_a_row < least || member.new.tried == 0 {
        return None;
    }
    let bound = least.max(by_chance(member, comparisons));
    let says = format!(
        "{in_a_row} connections of {} to {} failed in a row: {bound} are a failure whatever else is known.",
        member.service, member.to
    );
    (in_a_row >= bound).then(|| {
        let (service, color) = (member.service.clone(), member.to.clone());
        HardFailure { service, color, in_a_row, bound, says }
    })
}

/// How long a row must be so that a color which fails as often as the control hardly ever has one.
fn by_chance(member: &MemberFacts, comparisons: usize) -> u32 {
    let control = if member.old.tried > 0 { Some(&member.old) } else { member.before.as_ref() };
    let Some(control) = control.filter(|control| control.tried > 0) else { return 0 };
    // Rather too high than too low where little was seen: the rule of succession.
    let failures = control.failures().min(control.tried) as f64;
    let rate = (failures + 1.0) / (control.tried as f64 + 2.0);
    let starts = member.new.tried as f64 * comparisons.max(1) as f64;
    let length = (PERMITTED / starts).ln() / rate.ln();
    // A float that is too large becomes the largest number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let length = length.ceil() as u32;
    length
}

#[cfg(test)]
mod tests {
    use super::super::Sample;
    use super::super::tests::{judgement, stage};
    use super::*;

    fn found(in_a_row: u32, old: Sample) -> bool {
        let new = Sample { tried: 100, in_a_row, ..Sample::default() };
        hard_failure(&judgement(), &stage(50, vec![(new, old)])).is_some()
    }

    #[test]
    fn a_row_is_a_failure_where_the_old_color_works() {
        let works = Sample { tried: 1000, ..Sample::default() };
        assert!(!found(9, works.clone()));
        assert!(found(10, works));
        assert!(found(10, Sample::default()), "nothing is known of the old color");
    }

    #[test]
    fn where_the_old_color_fails_as_well_the_row_must_be_longer_or_is_nothing() {
        let often = Sample { tried: 1000, failed: 500, ..Sample::default() };
        assert!(!found(20, often.clone()));
        assert!(found(40, often));
        // A protocol without answers: every connection of both colors looks empty.
        assert!(!found(1000, Sample { tried: 1000, empty: 1000, ..Sample::default() }));
    }

    #[test]
    fn what_was_before_the_shift_is_no_failure_of_the_stage() {
        let new = Sample { in_a_row: 50, ..Sample::default() };
        assert!(hard_failure(&judgement(), &stage(50, vec![(new.clone(), Sample::default())])).is_none());
        let asked = Sample { tried: 1, ..new };
        assert!(hard_failure(&judgement(), &stage(0, vec![(asked.clone(), Sample::default())])).is_none());
        let off = Judgement { enabled: false, ..judgement() };
        assert!(hard_failure(&off, &stage(50, vec![(asked, Sample::default())])).is_none());
    }
}
