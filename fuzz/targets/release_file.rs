//! A release file: a report that names places in it, or a specification that holds together and survives the journal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teal::config::{ReportStyle, release};
use teal::model::release::{Percent, ReleaseSpec};

fuzz_target!(|text: &str| {
    match release::read("release.toml", text) {
        Ok(spec) => {
            assert!(spec.to.is_some() != !spec.members.is_empty(), "it goes nowhere, or to two places");
            assert!(spec.steps.is_sorted_by(|a, b| a.percent < b.percent), "the steps do not grow");
            assert_eq!(spec.steps.last().map(|step| step.percent), Some(Percent::ALL));
            let gates = spec.steps.iter().flat_map(|step| &step.gates);
            assert!(gates.into_iter().all(|name| spec.gates.contains_key(name)), "a gate is missing");
            let kept = serde_json::to_string(&spec).expect("a specification can be written");
            serde_json::from_str::<ReleaseSpec>(&kept).expect("and read again");
        }
        Err(rejected) => {
            assert!(!rejected.diagnostics.is_empty(), "refused without a reason");
            assert!(!release::report("release.toml", text, &rejected, ReportStyle::Plain).is_empty());
        }
    }
});
