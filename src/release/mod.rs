//! Releases: what one is to do ([`plan`]), and what it does next ([`machine`]).
//!
//! Both are pure: facts and clocks are arguments, and what comes out is a decision that the caller records and
//! carries out. Nothing here changes weights, asks gates or tells anybody.

pub mod machine;
pub mod plan;
