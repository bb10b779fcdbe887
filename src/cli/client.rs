//! The client of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::exit::Exit;
use crate::admin::report::ErrorReport;

/// How long the daemon may take to answer; a reload waits for a file that is being written.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read: the status of tens of thousands of services.
const ANSWER_OCTETS_MAX: usize = 256 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error(
        "no teal answers at {path}: {source}; is it running? name its socket with --socket or TEAL_SOCKET"
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// This user may not open the socket.
    #[error("not allowed to open {path}: run this as root or as a member of group teal")]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon did not answer in time.
    #[error("teal at {path} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke, or the answer makes no sense to this version.
    #[error("teal answered in a way that this version does not understand: {0}")]
    Answer(String),
    /// The daemon says no.
    #[error("{words}")]
    Refused {
        /// The status code of HTTP.
        status: u16,
        /// Why.
        words: String,
    },
}

impl ClientError {
    /// The exit code for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::NotAllowed { .. } | Self::Timeout { .. } => Exit::Unreachable,
            Self::Answer(_) | Self::Refused { .. } => Exit::Failed,
        }
    }
}

/// Prints the error and returns its exit code.
pub fn report(error: &ClientError) -> Exit {
    eprintln!("teal: {error}");
    error.exit()
}

/// Sends one request and reads the JSON of its answer.
///
/// # Errors
/// Nobody answers, or not in time, or not with what was expected.
pub fn request<T: DeserializeOwned>(socket: &Path, method: Method, path: &str) -> Result<T, ClientError> {
    send(socket, (method, path), Bytes::new())
}

/// Sends one request with a body of JSON and reads the JSON of its answer.
///
/// # Errors
/// As for [`request`].
pub fn request_with<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: &impl Serialize,
) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))?;
    send(socket, (method, path), body.into())
}

fn send<T: DeserializeOwned>(
    socket: &Path,
    (method, path): (Method, &str),
    body: Bytes,
) -> Result<T, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError::Answer(error.to_string()))?;
    runtime.block_on(async {
        let answer = tokio::time::timeout(TIMEOUT, exchange(socket, (method, path), body)).await;
        answer.map_err(|_| ClientError::Timeout { path: socket.to_owned() })?
    })
}

async fn exchange<T: DeserializeOwned>(
    socket: &Path,
    (method, path): (Method, &str),
    body: Bytes,
) -> Result<T, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path: socket.to_owned() },
        _ => ClientError::Unreachable { path: socket.to_owned(), source },
    })?;
    let broken = |error: hyper::Error| ClientError::Answer(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "teal");
    let request = if body.is_empty() { request } else { request.header("content-type", "application/json") };
    let request = request.body(Full::new(body)).map_err(|error| ClientError::Answer(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_OCTETS_MAX).collect().await;
    let body = body.map_err(|error| ClientError::Answer(error.to_string()))?.to_bytes();
    if !status.is_success() {
        if let Ok(report) = serde_json::from_slice::<ErrorReport>(&body) {
            return Err(ClientError::Refused { status: status.as_u16(), words: report.error });
        }
        let text = String::from_utf8_lossy(&body);
        let words = format!("{status}: {}", text.trim());
        return Err(ClientError::Refused { status: status.as_u16(), words });
    }
    serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()))
}

/// The name of the control socket in its folder.
const SOCKET: &str = "admin.sock";

/// Where the control socket is unless somebody says otherwise: in `$RUNTIME_DIRECTORY`
/// (systemd.exec(5)), else `$XDG_RUNTIME_DIR/teal`, else `/run/teal`.
pub fn default_socket() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("RUNTIME_DIRECTORY")
        .or_else(|| variable("XDG_RUNTIME_DIR").map(|folder| folder.join("teal")))
        .unwrap_or_else(|| PathBuf::from("/run/teal"));
    folder.join(SOCKET)
}
