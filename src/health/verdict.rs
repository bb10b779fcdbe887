//! What the outcome of a check means for an endpoint. Pure.

use crate::model::ActiveCheck;
use crate::state::{HealthState, Verdict};

/// Whether a check passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// It did.
    Passed,
    /// It did not.
    Failed,
}

/// The verdict after one more check. The first check of an endpoint decides alone; after that it takes
/// `rise` or `fall` checks in a row that say the opposite.
pub fn after(before: Verdict, result: Result, check: &ActiveCheck) -> Verdict {
    let (said, needed) = match result {
        Result::Passed => (HealthState::Healthy, check.rise),
        Result::Failed => (HealthState::Unhealthy, check.fall),
    };
    let against = match before.state {
        HealthState::Pending | HealthState::Unchecked => needed,
        state if state == said => 0,
        _ => before.against.saturating_add(1),
    };
    if against >= needed { Verdict { state: said, against: 0 } } else { Verdict { against, ..before } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Result::{Failed, Passed};
    use super::*;
    use crate::model::CheckKind;

    fn check(rise: u32, fall: u32) -> ActiveCheck {
        ActiveCheck { rise, fall, ..ActiveCheck::new(CheckKind::Tcp) }
    }

    fn states(check: &ActiveCheck, results: &[Result]) -> Vec<HealthState> {
        let mut verdict = Verdict::PENDING;
        let next = |result: &Result| {
            verdict = after(verdict, *result, check);
            verdict.state
        };
        results.iter().map(next).collect()
    }

    #[test]
    fn the_first_check_decides_alone() {
        let check = check(9, 9);
        assert_eq!(states(&check, &[Passed]), [HealthState::Healthy]);
        assert_eq!(states(&check, &[Failed]), [HealthState::Unhealthy]);
    }

    #[test]
    fn it_takes_rise_or_fall_checks_in_a_row_after_that() {
        use HealthState::{Healthy, Unhealthy};
        let check = check(2, 3);
        let results =
            [Passed, Failed, Failed, Passed, Failed, Failed, Failed, Passed, Failed, Passed, Passed];
        let expected = [
            Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy,
            Healthy,
        ];
        assert_eq!(states(&check, &results), expected);
    }

    proptest! {
        /// The state changes exactly where the last `rise` or `fall` results since the last change all
        /// speak against it.
        #[test]
        fn a_state_changes_exactly_when_it_should(
            (rise, fall) in (1_u32..6, 1_u32..6),
            passes in proptest::collection::vec(any::<bool>(), 1..200),
        ) {
            let check = check(rise, fall);
            let mut verdict = Verdict::PENDING;
            let mut row = 0;
            for passed in passes {
                let said = if passed { HealthState::Healthy } else { HealthState::Unhealthy };
                let before = verdict.state;
                row = if said == before { 0 } else { row + 1 };
                verdict = after(verdict, if passed { Passed } else { Failed }, &check);
                let due = before == HealthState::Pending || row >= if passed { rise } else { fall };
                prop_assert_eq!(verdict.state, if due && said != before { said } else { before });
                row = if verdict.state == before { row } else { 0 };
            }
        }
    }
}
