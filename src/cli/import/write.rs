//! A plan as a configuration, with comments that say what somebody still has to look at.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::label::Probe;
use super::plan::{Color, Plan, Service};
use super::{Options, Report, plain};

/// The first addresses of the networks for documentation (RFC 5737), 254 hosts each.
const PLACEHOLDERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 0), Ipv4Addr::new(198, 51, 100, 0), Ipv4Addr::new(203, 0, 113, 0)];

/// The text of the configuration. Names of the options that nobody needs are errors.
pub fn configuration(plan: &Plan, options: &Options, report: &mut Report) -> String {
    let mut text = String::from("# Imported from compose templates by `teal import-compose`.\n");
    for job in &plan.jobs {
        line(
            &mut text,
            &format!("# {} is a job: nobody calls it, so it has no name and no address here.", plain(job)),
        );
    }
    let names: Vec<_> = plan.services.keys().map(|name| format!("{:?}", name.as_str())).collect();
    if !names.is_empty() {
        line(&mut text, &format!("\n[apps.{}]\nservices = [{}]", options.app, names.join(", ")));
    }
    let mut writer = Writer { options, free: placeholders().collect(), used: BTreeMap::new(), report };
    for (name, service) in &plan.services {
        writer.service(&mut text, name.as_str(), service);
    }
    writer.finish(plan);
    text
}

fn placeholders() -> impl Iterator<Item = IpAddr> {
    let hosts = |network: Ipv4Addr| (1..=254).map(move |host| Ipv4Addr::from(u32::from(network) + host));
    PLACEHOLDERS.into_iter().flat_map(hosts).map(IpAddr::V4)
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

struct Writer<'a> {
    options: &'a Options,
    /// Addresses that stand for unknown ones.
    free: VecDeque<IpAddr>,
    /// Addresses by service of the template: one that serves several names has the same in each.
    used: BTreeMap<String, (Vec<IpAddr>, Origin)>,
    report: &'a mut Report,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Given,
    Placeholder,
}

impl Writer<'_> {
    fn service(&mut self, text: &mut String, name: &str, service: &Service) {
        let expose = self.options.expose.get(name);
        line(text, "");
        for outside in &service.outside {
            let outside = plain(outside);
            line(
                text,
                &format!("# Was reachable from outside as {outside:?}: `expose` says at which addresses."),
            );
        }
        line(text, &format!("[services.{name}]"));
        let is_one = service.ports.len() == 1;
        if expose.is_some() && !is_one {
            self.report.error(format!("--expose {name}: it has several ports; write `expose` by hand"));
        }
        if !service.outside.is_empty() && expose.is_none() {
            self.report.note(format!(
                "{name}: was reachable from outside; name addresses with --expose {name}=0.0.0.0:8080, or write `expose`"
            ));
        }
        let exposed = expose.map(|address| format!(", expose = [\"{address}\"]")).unwrap_or_default();
        let ports = service
            .ports
            .iter()
            .map(|(listen, target)| format!("{{ listen = {listen}, target = {target}{exposed} }}"));
        line(text, &format!("ports = [{}]", ports.collect::<Vec<_>>().join(", ")));
        if !service.depends_on.is_empty() {
            let names: Vec<_> =
                service.depends_on.iter().map(|name| format!("{:?}", name.as_str())).collect();
            line(text, &format!("depends_on = [{}]", names.join(", ")));
        }
        if service.is_sticky {
            line(text, "affinity = \"source_ip\"");
        }
        if let Some(probe) = &service.probe {
            line(text, &health(probe, service));
        }
        for color in &service.colors {
            self.color(text, name, color);
        }
    }

    fn color(&mut self, text: &mut String, service: &str, color: &Color) {
        let (addresses, origin) = self.addresses(color);
        let shown = |ip: &IpAddr| match color.own_port {
            Some(port) => format!("\"{}\"", SocketAddr::new(*ip, port)),
            None => format!("\"{ip}\""),
        };
        let endpoints: Vec<_> = addresses.iter().map(shown).collect();
        let from = plain(&color.from);
        line(text, &format!("\n[services.{service}.colors.{}]", color.name));
        line(text, &format!("# {from} of the template, with {} expected.", endpoints_of(color.scale)));
        if origin == Origin::Placeholder {
            line(
                text,
                "# The addresses are placeholders (RFC 5737): a template does not say where its containers run.",
            );
        }
        line(text, &format!("weight = {}", color.weight));
        line(text, &format!("endpoints = [{}]", endpoints.join(", ")));
    }

    fn addresses(&mut self, color: &Color) -> (Vec<IpAddr>, Origin) {
        if let Some(known) = self.used.get(&color.from) {
            return known.clone();
        }
        let scale = color.scale as usize;
        let found = match self.options.endpoints.get(&color.from) {
            Some(given) => {
                if given.len() != scale {
                    let (given, scale) = (endpoints_of(given.len()), color.scale);
                    self.report
                        .warning(format!("{}: {given} given, the template asks for {scale}", color.from));
                }
                (given.clone(), Origin::Given)
            }
            None if self.free.len() >= scale => (self.free.drain(..scale).collect(), Origin::Placeholder),
            None => {
                self.report.error(format!(
                    "{}: no placeholder addresses are left for {}: name them with --endpoint {}=ADDRESS,...",
                    color.from,
                    endpoints_of(scale),
                    color.from
                ));
                (Vec::new(), Origin::Placeholder)
            }
        };
        self.used.insert(color.from.clone(), found.clone());
        found
    }

    /// Reports options that name nobody, and placeholders.
    fn finish(self, plan: &Plan) {
        let placeholders: Vec<_> =
            self.used.iter().filter(|(_, (_, origin))| *origin == Origin::Placeholder).collect();
        if !placeholders.is_empty() {
            let names: Vec<_> = placeholders.iter().map(|(from, _)| from.as_str()).collect();
            self.report.note(format!(
                "placeholder addresses for {}: name the real ones with --endpoint SERVICE=ADDRESS,...",
                names.join(", ")
            ));
        }
        for name in self.options.endpoints.keys().filter(|name| !self.used.contains_key(*name)) {
            self.report.error(format!(
                "--endpoint {name}: no service of that name is taken over from the templates"
            ));
        }
        let is_known = |name: &str| plan.services.keys().any(|known| known.as_str() == name);
        for name in self.options.expose.keys().filter(|name| !is_known(name)) {
            self.report.error(format!("--expose {name}: no service is called so"));
        }
    }
}

fn endpoints_of(count: impl TryInto<u64>) -> String {
    match count.try_into().unwrap_or_default() {
        1 => "1 endpoint".to_owned(),
        count => format!("{count} endpoints"),
    }
}

fn health(probe: &Probe, service: &Service) -> String {
    let kind = if probe.path.is_some() { "http" } else { "tcp" };
    let seconds = |duration: std::time::Duration| duration.as_secs();
    let mut text = format!("health = {{ kind = \"{kind}\", interval = \"{}s\"", seconds(probe.interval));
    if let Some(timeout) = probe.timeout {
        let _ = write!(text, ", timeout = \"{}s\"", seconds(timeout));
    }
    let is_target = service.ports.len() == 1 && service.ports.values().all(|target| *target == probe.port);
    if !is_target {
        let _ = write!(text, ", port = {}", probe.port);
    }
    if let Some(path) = &probe.path {
        let _ = write!(text, ", path = {}, expect = \"200-399\"", toml::Value::String(path.clone()));
    }
    text + " }"
}
