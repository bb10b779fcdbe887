//! Releases of whole applications: what decides about them.

pub mod analysis;
