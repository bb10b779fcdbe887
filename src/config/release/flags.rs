//! A release file from a few flags of the command line.

use std::fmt::Write;

/// What can be said without a file; the rest has its defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags<'a> {
    /// The app.
    pub app: &'a str,
    /// The new color.
    pub to: &'a str,
    /// What it is called.
    pub version: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
    /// The percents of the steps; the default ones when empty.
    pub steps: &'a [u32],
    /// How long each step bakes.
    pub bake: Option<&'a str>,
    /// Connections that each step wants.
    pub min_connections: Option<u32>,
    /// The order inside each step.
    pub order: Option<&'a str>,
}

/// The text of a release file that says the same: to be read by [`super::read`], whose reports then show it.
pub fn from_flags(flags: &Flags<'_>) -> String {
    const DEFAULT_STEPS: [u32; 3] = [10, 50, 100];
    let mut text = String::from("[release]\n");
    let strings = [
        ("app", Some(flags.app)),
        ("to", Some(flags.to)),
        ("version", flags.version),
        ("reason", flags.reason),
        ("order", flags.order),
    ];
    for (key, value) in strings {
        if let Some(value) = value {
            line(&mut text, key, &toml::Value::from(value));
        }
    }
    let says_steps = !flags.steps.is_empty() || flags.bake.is_some() || flags.min_connections.is_some();
    let steps = if flags.steps.is_empty() { &DEFAULT_STEPS[..] } else { flags.steps };
    for percent in steps.iter().filter(|_| says_steps) {
        text.push_str("\n[[release.steps]]\n");
        line(&mut text, "percent", &toml::Value::from(*percent));
        if let Some(bake) = flags.bake {
            line(&mut text, "bake", &toml::Value::from(bake));
        }
        if let Some(connections) = flags.min_connections {
            line(&mut text, "min_connections", &toml::Value::from(connections));
        }
    }
    text
}

fn line(text: &mut String, key: &str, value: &toml::Value) {
    writeln!(text, "{key} = {value}").expect("a string takes everything");
}
