//! `teal endpoint`

use std::path::Path;

use hyper::Method;

use super::args::{EndpointArguments, EndpointVerb};
use super::client::{default_socket, report, request_with};
use super::exit::Exit;
use super::weight::{hint, print_changes, segment};
use crate::admin::endpoints::EndpointRequest;
use crate::admin::report::ChangeReport;
use crate::state::Admission;

/// Asks the daemon to take an endpoint, or a whole color, out of use, or back.
pub fn endpoint(arguments: &EndpointArguments) -> Exit {
    let socket = arguments.daemon.socket.clone().unwrap_or_else(default_socket);
    let request = EndpointRequest {
        color: arguments.color.clone(),
        address: arguments.address.clone(),
        to: match arguments.verb {
            EndpointVerb::Enable => Admission::Enabled,
            EndpointVerb::Disable => Admission::Disabled,
        },
        why: arguments.why.clone(),
        hint: hint(),
        emergency: arguments.emergency,
    };
    set(&socket, &arguments.service, &request)
}

/// Sends the request and prints what became of it.
pub fn set(socket: &Path, service: &str, request: &EndpointRequest) -> Exit {
    let path = format!("/v1/services/{}/endpoints", segment(service));
    match request_with::<ChangeReport>(socket, Method::POST, &path, request) {
        Ok(answer) => print_changes(&answer),
        Err(error) => report(&error),
    }
}
