//! `teal dns`

use hyper::Method;

use super::args::{DnsArguments, DnsFlushArguments, DnsQueryArguments, DnsVerb};
use super::client::{default_socket, report, request_with};
use super::exit::Exit;
use super::print::{print, print_json};
use super::table::{Align, Table};
use crate::admin::dns::{FlushRequest, QueryRequest};
use crate::admin::report::{DnsFlushReport, DnsQueryReport};

/// Asks the running daemon about names.
pub fn dns(arguments: &DnsArguments) -> Exit {
    match &arguments.verb {
        DnsVerb::Query(arguments) => query(arguments),
        DnsVerb::Flush(arguments) => flush(arguments),
    }
}

fn flush(arguments: &DnsFlushArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    let body = FlushRequest { name: arguments.name.clone() };
    let report_of: Result<DnsFlushReport, _> = request_with(&socket, Method::POST, "/v1/dns/flush", &body);
    match report_of {
        Ok(DnsFlushReport { flushed }) => {
            let answers = if flushed == 1 { "answer" } else { "answers" };
            let _ = print(&format!("{flushed} {answers} forgotten on this host\n"));
            Exit::Done
        }
        Err(error) => report(&error),
    }
}

fn query(arguments: &DnsQueryArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    let body =
        QueryRequest { name: arguments.name.clone(), kind: arguments.kind.clone(), from: arguments.from };
    let answer: DnsQueryReport = match request_with(&socket, Method::POST, "/v1/dns/query", &body) {
        Ok(answer) => answer,
        Err(error) => return report(&error),
    };
    let _ = if arguments.json { print_json(&answer) } else { print(&text(&answer)) };
    if answer.rcode.as_deref() == Some("NOERROR") { Exit::Done } else { Exit::Failed }
}

fn text(answer: &DnsQueryReport) -> String {
    let rcode = answer.rcode.as_deref().unwrap_or("no answer");
    let mut text = format!("{} {}: {rcode} ({})\n", answer.name, answer.kind, answer.scope);
    if !answer.why.is_empty() {
        text += &answer.why;
        text.push('\n');
    }
    if !answer.records.is_empty() {
        let columns = ["SECTION", "NAME", "TTL", "TYPE", "DATA"];
        let align = |name| if name == "TTL" { Align::Right } else { Align::Left };
        let mut table = Table::new(&columns.map(|name| (name, align(name))));
        for record in answer.records.clone() {
            table.row([record.section, record.name, record.ttl.to_string(), record.kind, record.data]);
        }
        text += &table.render();
    }
    text
}
