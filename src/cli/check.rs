//! `teal check`

use std::io::IsTerminal;

use super::args::CheckArguments;
use super::exit::Exit;
use super::print::print;
use crate::config::{self, ReportStyle};
use crate::daemon::limits::dns_listener_count;
use crate::model::Catalog;
use crate::provider::files;

/// Prints every error and warning of a configuration, or a summary.
pub fn check(arguments: &CheckArguments) -> Exit {
    let sources = match files::read(&arguments.config) {
        Ok(sources) => sources,
        Err(error) => {
            eprintln!("teal: {error}");
            return Exit::Failed;
        }
    };
    let style = if std::io::stderr().is_terminal() { ReportStyle::Coloured } else { ReportStyle::Plain };
    match config::load(&sources) {
        Ok(loaded) => {
            eprint!("{}", config::render(&loaded.warnings, &sources, style));
            let _ = print(&summary(&loaded.catalog));
            Exit::Done
        }
        Err(rejected) => {
            eprint!("{}", config::render(&rejected.diagnostics, &sources, style));
            Exit::Failed
        }
    }
}

/// What a configuration is about, and the descriptors that its listeners cost.
fn summary(catalog: &Catalog) -> String {
    let services = catalog.services.values();
    let colors: usize = services.clone().map(|service| service.colors.len()).sum();
    let endpoints: usize =
        services.clone().flat_map(|service| &service.colors).map(|color| color.endpoints.len()).sum();
    let listeners: usize = services.map(|service| service.listeners()).sum();
    let of_dns = dns_listener_count(catalog);
    format!(
        "valid: {} services, {colors} colors, {endpoints} endpoints, {} apps (hash {})\n\
         listening takes {} descriptors: {listeners} for services, {of_dns} for DNS\n",
        catalog.services.len(),
        catalog.apps.len(),
        catalog.hash,
        listeners + of_dns,
    )
}
