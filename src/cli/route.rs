//! `teal route`

use super::args::RouteArguments;
use super::exit::Exit;
use super::print::print;
use crate::config;
use crate::model::VipPool;
use crate::net::route::{self, Removal, RouteState};
use crate::provider::files;

/// Adds or removes the local route of the pool that a configuration says.
pub fn route(arguments: &RouteArguments) -> Exit {
    match carry_out(arguments) {
        Ok(done) => {
            let _ = print(&format!("{done} (on this host)\n"));
            Exit::Done
        }
        Err(message) => {
            eprintln!("teal: {message}");
            Exit::Failed
        }
    }
}

fn carry_out(arguments: &RouteArguments) -> Result<String, String> {
    let pool = pool(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let said = if arguments.remove {
            match route::remove(pool).await.map_err(|error| error.to_string())? {
                Removal::Removed => "removed",
                Removal::NotThere => "was not there",
            }
        } else {
            match route::ensure(pool).await.map_err(|error| error.to_string())? {
                RouteState::Added => "added",
                RouteState::AlreadyThere => "was there already",
                RouteState::NotNeeded => "not needed: the pool lies in 127.0.0.0/8",
            }
        };
        Ok(format!("local route of {}: {said}", pool.0))
    })
}

fn pool(arguments: &RouteArguments) -> Result<VipPool, String> {
    let sources = files::read(&arguments.config).map_err(|error| error.to_string())?;
    let loaded = config::load(&sources)
        .map_err(|_| format!("{} has errors: `teal check {0}` shows them", arguments.config.display()))?;
    Ok(loaded.catalog.settings.vip.pool)
}
