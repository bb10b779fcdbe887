//! What a release does next: pure functions of the release, of facts and of two clocks.
//!
//! [`advance()`] is asked a few times a second and says what is due by itself, [`command()`] what an operator's word
//! leads to. Both give a [`Decision`]; the caller records its `next` and its weights as one intent, swaps once and
//! only then takes `next` for the release. What cannot be recorded is not done, and [`shift_failed`] says so; a
//! rollback is done all the same. After a restart, [`restored`] says what becomes of the release that was recorded.

mod advance;
#[cfg(test)]
mod advance_tests;
mod command;
#[cfg(test)]
mod command_tests;
mod decision;
mod facts;
mod guard;
mod moves;
#[cfg(test)]
mod testing;

pub use advance::{Clockwork, advance};
pub use command::{Refusal, Verb, command};
pub use decision::{BaselineEffect, Close, Closing, Decision, EditsDecision};
pub use facts::{Facts, GateState, MemberFacts, Now, PoolFacts, Verdict};
pub use guard::working_needed;
pub use moves::{restored, shift_failed, superseded};
