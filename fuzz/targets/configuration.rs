//! A configuration of one or two files: a report that names places in it, or a catalog that can be carried out.

#![no_main]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use teal::config::{ReportStyle, SourceFile, Sources, load, render};
use teal::model::Catalog;
use teal::state::build::{Addresses, Parts, build};
use teal::state::{Answers, Live};

fuzz_target!(|text: &str| {
    let names = ["teal.toml", "conf.d/more.toml"];
    let file = |(name, text): (&str, &str)| SourceFile { path: PathBuf::from(name), text: text.to_owned() };
    let sources = Sources { files: names.into_iter().zip(text.split('\0')).map(file).collect() };
    match load(&sources) {
        Ok(loaded) => {
            render(&loaded.warnings, &sources, ReportStyle::Plain);
            carry_out(loaded.catalog);
        }
        Err(rejected) => {
            assert!(!rejected.diagnostics.is_empty(), "refused without a reason");
            assert!(!render(&rejected.diagnostics, &sources, ReportStyle::Plain).is_empty());
        }
    }
});

/// What `config` takes must be fit for everything that follows.
fn carry_out(catalog: Catalog) {
    let vip = Ipv4Addr::new(127, 80, 0, 1);
    let addresses: BTreeMap<_, _> = catalog
        .services
        .iter()
        .map(|(name, service)| (name.clone(), Addresses { vip, previews: vec![vip; service.colors.len()] }))
        .collect();
    let (live, catalog) = (Live::default(), Arc::new(catalog));
    let answers = Answers::build(&catalog, &addresses, 1);
    build(
        &Parts {
            catalog,
            addresses: &addresses,
            answers,
            releases: Arc::default(),
            live: &live,
            rotation: 3,
        },
        None,
    );
}
