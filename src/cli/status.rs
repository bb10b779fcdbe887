//! `teal status`

use std::fmt::Write;
use std::time::Duration;

use hyper::Method;

use super::args::StatusArguments;
use super::client::{default_socket, report, request};
use super::drain::seconds;
use super::exit::Exit;
use super::print::{print, print_json};
use super::table::{Align, Table};
use crate::admin::report::{
    ColorReport, DrainReport, EndpointReport, LanesReport, ReloadResult, ServiceReport, StatusReport,
};

/// Asks the daemon and prints what is.
pub fn status(arguments: &StatusArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    loop {
        let mut answer: StatusReport = match request(&socket, Method::GET, "/v1/status") {
            Ok(answer) => answer,
            Err(error) => return report(&error),
        };
        if let Some(name) = &arguments.service {
            let wanted = without_zone(name, &answer.dns.zones);
            answer.services.retain(|service| service.name == wanted);
            answer.drains.retain(|drain| drain.service == wanted);
            if answer.services.is_empty() {
                eprintln!("teal: no service is called {wanted:?} on this host; `teal status` lists them");
                return Exit::Failed;
            }
        }
        if arguments.json {
            let _ = print_json(&answer);
            return Exit::Done;
        }
        let text = render(&answer, arguments.service.is_some());
        if !arguments.watch {
            let _ = print(&text);
            return Exit::Done;
        }
        // Home, the text with the rest of each line cleared, the rest of the screen cleared.
        if print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))).is_err() {
            return Exit::Done;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A service's name without one of the zones.
fn without_zone(name: &str, zones: &[String]) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let stripped = zones.iter().find_map(|zone| name.strip_suffix(zone.as_str())?.strip_suffix('.'));
    stripped.unwrap_or(&name).to_owned()
}

fn render(report: &StatusReport, with_endpoints: bool) -> String {
    let mut text = head(report);
    text.push('\n');
    text.push_str(&services(&report.services));
    for service in &report.services {
        if let Some(affinity) = &service.affinity {
            let name = &service.name;
            let _ = writeln!(text, "{name}: affinity {affinity}, the split is by client and not exact");
        }
        if let Some(lanes) = &service.lanes {
            text.push_str(&lanes_line(&service.name, lanes));
        }
    }
    text.push_str(&set_by_hand(&report.services));
    text.push_str(&drains(&report.drains));
    if with_endpoints {
        text.push('\n');
        text.push_str(&endpoints(&report.services));
    }
    text.push('\n');
    if report.problems.is_empty() {
        text.push_str("no problems\n");
    }
    for problem in &report.problems {
        let _ = writeln!(text, "problem: {}: {}", problem.subject, problem.message);
    }
    text
}

fn lanes_line(service: &str, lanes: &LanesReport) -> String {
    let LanesReport { mode, served, fallbacks, refused, ambiguous } = lanes;
    format!(
        "{service}: lanes {mode}, {served} kept, {fallbacks} split, {refused} refused, {ambiguous} ambiguous\n"
    )
}

fn head(report: &StatusReport) -> String {
    let configuration = &report.configuration;
    let listen: Vec<String> = report.dns.listen.iter().map(ToString::to_string).collect();
    let degraded =
        if configuration.degraded { ", DEGRADED: the last good one, as the file is broken" } else { "" };
    let mut text = format!(
        "teal {} on this host: {}, up {}, {} of {} connections\nconfiguration {} ({}, with its baseline {}{degraded})\n",
        report.version,
        report.phase,
        humantime::format_duration(Duration::from_secs(report.uptime_seconds)),
        report.connections.open,
        report.connections.max,
        configuration.path.display(),
        configuration.hash,
        configuration.baseline_hash,
    );
    if let Some(reload) = &configuration.last_reload {
        let outcome = match reload.result {
            ReloadResult::Applied => "took effect",
            ReloadResult::Unchanged => "changed nothing",
            ReloadResult::Rejected => "was rejected",
            ReloadResult::Refused => "was refused",
        };
        let at = std::time::UNIX_EPOCH + Duration::from_secs(reload.at);
        let _ = writeln!(text, "the last reload {outcome} at {}", humantime::format_rfc3339_seconds(at));
        if let Some(message) = &reload.message {
            let _ = writeln!(text, "  {}", message.trim_end().replace('\n', "\n  "));
        }
    }
    let _ = writeln!(
        text,
        "DNS at {} for {}, VIPs from {}",
        if listen.is_empty() { "no address".to_owned() } else { listen.join(", ") },
        report.dns.zones.join(", "),
        report.vip_pool
    );
    for upstream in &report.dns.upstreams {
        let domain = upstream.domain.as_ref().map(|domain| format!(" for {domain}")).unwrap_or_default();
        let rtt = upstream.rtt_ms.map(|rtt| format!(", {rtt:.1} ms")).unwrap_or_default();
        let error = upstream.last_error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
        let _ = writeln!(text, "upstream {}{domain}: {}{rtt}{error}", upstream.address, upstream.state);
    }
    text
}

fn services(services: &[ServiceReport]) -> String {
    let mut table = Table::new(&[
        ("SERVICE", Align::Left),
        ("VIP", Align::Left),
        ("PORTS", Align::Left),
        ("COLOR", Align::Left),
        ("WEIGHT", Align::Right),
        ("SHARE", Align::Right),
        ("SERVED", Align::Right),
        ("OPEN", Align::Right),
        ("DRAINING", Align::Right),
        ("OLDEST", Align::Right),
        ("ENDPOINTS", Align::Right),
    ]);
    for service in services {
        let total: u32 = service.colors.iter().map(|color| u32::from(color.weight)).sum();
        let ports: Vec<String> = service.ports.iter().map(|port| port.listen.to_string()).collect();
        for (index, color) in service.colors.iter().enumerate() {
            let once = |text: String| if index == 0 { text } else { String::new() };
            table.row([
                once(service.name.clone()),
                once(service.vip.to_string()),
                once(ports.join(",")),
                color.name.clone(),
                color.weight.to_string(),
                share(color, total),
                color.served.to_string(),
                color.open.to_string(),
                color.draining.to_string(),
                color.oldest_draining_seconds.map_or_else(|| "-".to_owned(), |age| format!("{age}s")),
                healthy(color),
            ]);
        }
    }
    table.render()
}

/// How many endpoints are healthy, of how many; only how many where they are not checked.
fn healthy(color: &ColorReport) -> String {
    let count = color.endpoints.len();
    let ejected = color.endpoints.iter().filter(|endpoint| endpoint.ejected).count();
    let and_ejected = if ejected == 0 { String::new() } else { format!(", {ejected} ejected") };
    if color.endpoints.iter().all(|endpoint| endpoint.health == "unchecked") {
        return format!("{count}{and_ejected}");
    }
    let healthy = color.endpoints.iter().filter(|endpoint| endpoint.health == "healthy").count();
    format!("{healthy}/{count} healthy{and_ejected}")
}

/// Overrides and disabled endpoints: what the file does not say.
fn set_by_hand(services: &[ServiceReport]) -> String {
    let mut text = String::new();
    for service in services {
        if let Some(color) = service.colors.iter().find(|color| color.origin != "file") {
            let all = |weight: fn(&ColorReport) -> u16| {
                let colors = service.colors.iter();
                colors.map(|color| format!("{}={}", color.name, weight(color))).collect::<Vec<_>>().join(" ")
            };
            let (baseline, file) = (all(|color| color.baseline), all(|color| color.configured));
            let baseline =
                if baseline == file { String::new() } else { format!("; the baseline is {baseline}") };
            let _ = writeln!(text, "{}: {}{baseline}; the file says {file}", service.name, color.origin);
        }
        for color in &service.colors {
            for endpoint in &color.endpoints {
                if let Some(disabled) = &endpoint.disabled {
                    let _ =
                        writeln!(text, "{}: {} {} {disabled}", service.name, color.name, endpoint.address);
                }
            }
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What has connections that no others follow; nothing where there are none.
fn drains(drains: &[DrainReport]) -> String {
    if drains.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("DRAINING", Align::Left),
        ("COLOR", Align::Left),
        ("PORT", Align::Right),
        ("ENDPOINT", Align::Left),
        ("WHY", Align::Left),
        ("LEFT", Align::Right),
        ("OLDEST", Align::Right),
        ("CLOSED IN", Align::Right),
    ]);
    for drain in drains {
        let shown = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), seconds);
        table.row([
            drain.service.clone(),
            drain.color.clone(),
            drain.port.to_string(),
            drain.endpoint.to_string(),
            drain.why.clone(),
            drain.left.to_string(),
            shown(drain.oldest_seconds),
            shown(drain.closed_in_seconds),
        ]);
    }
    format!("\n{}", table.render())
}

fn share(color: &ColorReport, total: u32) -> String {
    if total == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", f64::from(color.weight) * 100.0 / f64::from(total))
}

fn endpoints(services: &[ServiceReport]) -> String {
    let mut table = Table::new(&[
        ("COLOR", Align::Left),
        ("PREVIEW", Align::Left),
        ("PORT", Align::Right),
        ("ENDPOINT", Align::Left),
        ("WEIGHT", Align::Right),
        ("OPEN", Align::Right),
        ("HEALTH", Align::Left),
    ]);
    for color in services.iter().flat_map(|service| &service.colors) {
        for endpoint in &color.endpoints {
            table.row([
                color.name.clone(),
                color.preview.to_string(),
                endpoint.port.to_string(),
                endpoint.address.to_string(),
                endpoint.weight.to_string(),
                endpoint.open.to_string(),
                health(endpoint),
            ]);
        }
    }
    table.render()
}

fn health(endpoint: &EndpointReport) -> String {
    let ejected = if endpoint.ejected { ", ejected" } else { "" };
    let percent = endpoint.slow_start_percent.map(|percent| format!(", slow start at {percent}%"));
    format!("{}{ejected}{}", endpoint.health, percent.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_have_a_line_that_fits() {
        let max = 9_999_999;
        let lanes =
            LanesReport { mode: "require".into(), served: max, fallbacks: max, refused: max, ambiguous: max };
        let line = lanes_line("servicea", &lanes);
        assert!(line.starts_with("servicea: lanes require, 9999999 kept, ") && line.len() <= 100, "{line}");
    }

    #[test]
    fn services_are_named_with_or_without_a_zone() {
        let zones = ["local".to_owned(), "svc.internal".to_owned()];
        for name in ["servicea", "ServiceA.local", "servicea.svc.internal."] {
            assert_eq!(without_zone(name, &zones), "servicea");
        }
    }
}
