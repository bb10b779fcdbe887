//! Bounds of the buckets of histograms.

/// Bounds in seconds for what happens inside a host or a data center.
pub const FAST_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
/// Bounds of `teal_first_byte_seconds`, which is kept in parts of its buckets, so that colors can be compared.
pub const FIRST_BYTE_SECONDS: &[f64] = FAST_SECONDS;
/// Into how many.
pub const FIRST_BYTE_PARTS: usize = 4;
/// Bounds in seconds for how long connections live.
pub const LIFE_SECONDS: &[f64] =
    &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0];
/// Bounds in seconds for an answer out of memory.
pub const ANSWER_SECONDS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.0,
];

/// Bounds in seconds for answers of other resolvers, which may have to ask the world.
pub const UPSTREAM_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0];
