//! `teal release confirm`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyper::Method;

use super::args::ConfirmArguments;
use super::{ask, became, because, refused, releases, socket};
use crate::admin::releases::VerbRequest;
use crate::admin::report::{ReloadReport, ReloadResult, SourceReport};
use crate::cli::client::{report, request, request_with};
use crate::cli::exit::Exit;
use crate::cli::print::print;
use crate::cli::save::{Prepared, prepare_all};
use crate::cli::weight::segment;
use crate::release::report::ReleaseReport;

/// Confirms, and saves the new weights if wanted. Everything that can fail about saving fails before.
pub fn confirm(arguments: &ConfirmArguments) -> Exit {
    let socket = socket(&arguments.daemon);
    let prepared = if arguments.save { prepare(&socket, &arguments.app) } else { Ok(Vec::new()) };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let body = VerbRequest { no_wait: arguments.no_wait, ..because(Some(&arguments.why)) };
    let path = format!("/v1/releases/{}/confirm", segment(&arguments.app));
    let release = match request_with::<ReleaseReport>(&socket, Method::POST, &path, &body) {
        Ok(release) => release,
        Err(error) => return refused(&error),
    };
    let exit = became(&release, arguments.json);
    if arguments.save { save(&socket, prepared) } else { exit }
}

/// A service with the weights of its colors.
type Weights = (String, BTreeMap<String, u16>);

/// The files with the weights in effect of all members, written beside them.
fn prepare(socket: &Path, app: &str) -> Result<Vec<(PathBuf, Prepared)>, Exit> {
    let answer = releases(socket, Some(app)).map_err(|error| refused(&error))?;
    let members = answer.releases.first().map_or(&[][..], |release| &release.members);
    let mut files: BTreeMap<PathBuf, Vec<Weights>> = BTreeMap::new();
    for member in members {
        let path = format!("/v1/services/{}/source", segment(&member.service));
        let source: SourceReport = ask(socket, &path).map_err(|error| refused(&error))?;
        files.entry(source.path).or_default().push((source.service, source.weights));
    }
    let prepare = |(path, services): (PathBuf, Vec<_>)| {
        prepare_all(&path, &services).map(|prepared| (path, prepared)).map_err(|error| {
            eprintln!("teal: {error}; nothing was confirmed on this host");
            Exit::Failed
        })
    };
    files.into_iter().map(prepare).collect()
}

fn save(socket: &Path, prepared: Vec<(PathBuf, Prepared)>) -> Exit {
    let mut saved = Vec::new();
    for (path, prepared) in prepared {
        let path = path.display().to_string();
        if let Err(error) = prepared.commit() {
            eprintln!(
                "teal: {path} was not saved: {error}; the release is confirmed on this host, the file differs"
            );
            return Exit::Failed;
        }
        saved.push(path);
    }
    match request::<ReloadReport>(socket, Method::POST, "/v1/reload") {
        Ok(reload) if matches!(reload.result, ReloadResult::Applied | ReloadResult::Unchanged) => {
            let _ = print(&format!("saved in {}\n", saved.join(", ")));
            Exit::Done
        }
        Ok(reload) => {
            let message = reload.message.unwrap_or_default();
            eprintln!("teal: {} saved, but the reload failed on this host: {message}", saved.join(", "));
            Exit::Failed
        }
        Err(error) => report(&error),
    }
}
