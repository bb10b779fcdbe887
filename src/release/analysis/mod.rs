//! Judges the new color of each member of a release against the old one beside it.
//!
//! Pure: facts in, verdict out. The engine takes samples of live facts ([`Sample`]), subtracts what was there at
//! the stage's shift and asks [`judge`] as often as it likes, and [`hard_failure`] more often still. The tests are
//! valid at any time ([`evidence`]), so that looking often raises no error. docs/judgement.md has the rates.

pub mod evidence;
mod facts;
mod first_byte;
mod hard;
mod judging;
mod recorded;
mod verdict;
mod words;

#[cfg(test)]
mod error_tests;
#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use crate::state::sample::{FirstBytes, Sample};
pub use facts::{MemberFacts, StageFacts};
pub use hard::{HardFailure, hard_failure};
pub use judging::judge;
pub use recorded::{DamagedLine, LINE_BYTES_MAX, LINES_MAX, Recorded, Replayed, replay};
pub use verdict::{Finding, FirstByteTimes, MemberVerdict, Share, Signal, Verdict, VerdictKind};
