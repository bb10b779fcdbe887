//! Weights: the relative share of a color in its service, and of an endpoint in its color.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A number that is no weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not between {min} and {max}")]
pub struct WeightError {
    /// What was given.
    pub given: i64,
    /// The smallest weight allowed.
    pub min: u16,
    /// The largest weight allowed.
    pub max: u16,
}

fn bounded(given: i64, min: u16, max: u16) -> Result<u16, WeightError> {
    u16::try_from(given).ok().filter(|weight| (min..=max).contains(weight)).ok_or(WeightError {
        given,
        min,
        max,
    })
}

/// The share of a color in its service, relative to the other colors: 0 to 1000, 0 meaning that no
/// new connection reaches it through the service's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Weight(u16);

impl Weight {
    /// No new connection.
    pub const ZERO: Self = Self(0);
    /// The largest weight.
    pub const MAX: Self = Self(1000);

    /// A weight of 0 to 1000.
    ///
    /// # Errors
    /// The number is outside these bounds.
    pub fn new(given: i64) -> Result<Self, WeightError> {
        bounded(given, 0, Self::MAX.0).map(Self)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// Whether no new connection may be sent here.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The share of an endpoint in its color: 1 to 1000. An endpoint that should get nothing is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EndpointWeight(u16);

impl EndpointWeight {
    /// What an endpoint has when nothing is said.
    pub const ONE: Self = Self(1);
    /// The largest weight.
    pub const MAX: Self = Self(1000);

    /// A weight of 1 to 1000.
    ///
    /// # Errors
    /// The number is outside these bounds.
    pub fn new(given: i64) -> Result<Self, WeightError> {
        bounded(given, 1, Self::MAX.0).map(Self)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for EndpointWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
