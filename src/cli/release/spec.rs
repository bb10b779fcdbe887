//! `teal release plan` and `start`

use std::fmt::Write;
use std::time::Duration;

use hyper::Method;

use super::args::{PlanArguments, SpecArguments, StartArguments};
use super::{refused, socket};
use crate::admin::releases::SpecRequest;
use crate::cli::client::request_with;
use crate::cli::exit::Exit;
use crate::cli::print::{print, print_json};
use crate::cli::table::{Align, Table, fits};
use crate::cli::weight::hint;
use crate::config::release::{Flags, from_flags};
use crate::release::report::{PlanReport, PlannedStage, ReleaseReport};

/// Shows what a release would do.
pub fn plan(arguments: &PlanArguments) -> Exit {
    let body = match body(&arguments.spec, None) {
        Ok(body) => body,
        Err(exit) => return exit,
    };
    let socket = socket(&arguments.daemon);
    match request_with::<PlanReport>(&socket, Method::POST, "/v1/releases/plan", &body) {
        Ok(plan) => {
            let _ = if arguments.json { print_json(&plan) } else { print(&render(&plan)) };
            Exit::Done
        }
        Err(error) => refused(&error),
    }
}

/// Begins a release.
pub fn start(arguments: &StartArguments) -> Exit {
    let body = match body(&arguments.spec, arguments.why.as_deref()) {
        Ok(body) => body,
        Err(exit) => return exit,
    };
    let socket = socket(&arguments.daemon);
    match request_with::<ReleaseReport>(&socket, Method::POST, "/v1/releases", &body) {
        Ok(release) => super::became(&release, arguments.json),
        Err(error) => refused(&error),
    }
}

/// The release file, or what the flags say.
fn body(spec: &SpecArguments, why: Option<&str>) -> Result<SpecRequest, Exit> {
    let (name, text) = if let Some(to) = &spec.to {
        let flags = Flags {
            app: &spec.what,
            to,
            version: spec.version.as_deref(),
            reason: why,
            steps: &spec.steps,
            bake: spec.bake.as_deref(),
            min_connections: spec.min_connections,
            order: spec.order.as_deref(),
        };
        ("(flags)".to_owned(), from_flags(&flags))
    } else {
        let file = &spec.what;
        let text = std::fs::read_to_string(file).map_err(|error| {
            let hint = "where it is the name of an app, say --to COLOR";
            eprintln!("teal: {file} cannot be read as a release file: {error}; {hint}");
            Exit::Failed
        })?;
        (file.clone(), text)
    };
    Ok(SpecRequest { name, text, why: why.unwrap_or_default().to_owned(), hint: hint() })
}

fn duration(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn render(plan: &PlanReport) -> String {
    let named = format!("{} {}", plan.app, plan.version);
    let mut text = format!("{}: {} on this host; nothing has moved\n\n", plan.release, named.trim_end());
    text.push_str(&members(plan));
    if !plan.shared.is_empty() {
        let _ = writeln!(text, "not changed: {}", plan.shared.join(", "));
    }
    text.push('\n');
    text.push_str(&stages(plan));
    let _ = writeln!(
        text,
        "\ntakes {} at least, {} at most, and waits for a confirm",
        duration(plan.expected_seconds),
        duration(plan.longest_seconds)
    );
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn members(plan: &PlanReport) -> String {
    let columns = [
        ("SERVICE", Align::Left),
        ("FROM", Align::Left),
        ("WORKING", Align::Right),
        ("TO", Align::Left),
        ("WORKING", Align::Right),
        ("PREVIEW", Align::Left),
    ];
    let (mut table, mut without_previews) = (Table::new(&columns), Table::new(&columns[..5]));
    let of = |(working, all): (u32, u32)| format!("{working}/{all}");
    for member in &plan.members {
        let cells = [
            member.service.clone(),
            member.from.clone(),
            of(member.from_working),
            member.to.clone(),
            of(member.to_working),
        ];
        without_previews.row(cells.clone());
        let [service, from, from_working, to, to_working] = cells;
        table.row([service, from, from_working, to, to_working, member.preview.clone()]);
    }
    let table = table.render();
    if fits(&table) {
        return table;
    }
    let previews = plan.members.iter().map(|member| format!("preview: {}\n", member.preview));
    without_previews.render() + &previews.collect::<String>()
}

fn stages(plan: &PlanReport) -> String {
    let mut table = Table::new(&[
        ("STEP", Align::Right),
        ("SHARE", Align::Right),
        ("BAKE", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("SERVICES", Align::Left),
        ("BEFORE", Align::Left),
    ]);
    let before = |stage: &PlannedStage| {
        let no_return = stage.point_of_no_return.then(|| "point of no return".to_owned());
        let gates = (!stage.gates.is_empty()).then(|| format!("gates {}", stage.gates.join(", ")));
        gates.into_iter().chain(no_return).collect::<Vec<_>>().join("; ")
    };
    for stage in &plan.stages {
        let all = stage.services.len() == plan.members.len();
        table.row([
            stage.step.to_string(),
            format!("{} %", stage.percent),
            duration(stage.bake_seconds),
            stage.min_connections.to_string(),
            if all { "all at once".to_owned() } else { stage.services.join(", ") },
            before(stage),
        ]);
    }
    table.render()
}
