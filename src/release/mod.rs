//! Releases: what moves the weights of an application's services, and what it asks of the world.
//!
//! [`outside`] asks conditions from outside and tells people and programs. It decides nothing about a release.

pub mod outside;
