//! Releases: what one is to do ([`plan`]), what it does next ([`machine`]), what is thought of the new color
//! ([`analysis`]), whom it asks and tells ([`outside`]), and the task that carries all of it out ([`engine`]).
//!
//! Plan, machine and analysis are pure: facts and clocks are arguments, and what comes out is a decision that the
//! engine records and carries out.

pub mod analysis;
pub mod engine;
pub mod machine;
mod metrics;
pub mod outside;
pub mod plan;
pub mod report;
