//! Exchanges with servers over HTTP: bounded in time and size, repeated with growing pauses when a server did not
//! answer or answered 5xx, never after any other answer. Redirects are not followed.

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, sleep, timeout};

use super::{last_line, plain};

/// Octets of an answer's head at most.
const HEAD_OCTETS_MAX: usize = 16 * 1024;
/// Octets of a refusal's body that are read, to say why, and for how long.
const WORDS_OCTETS_MAX: usize = 4096;
const WORDS_TIME_MAX: Duration = Duration::from_secs(1);

/// How often and how long a server is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// Bound of everything together.
    pub total: Duration,
    /// Bound of each try.
    pub each: Duration,
    /// Pauses after each try; the last one is repeated.
    pub pauses: &'a [Duration],
    /// Tries at most.
    pub tries: u32,
}

/// What a server answered, other than 5xx.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// As much of the body as was wanted.
    pub body: Vec<u8>,
    /// Whether there was more of it.
    pub is_cut: bool,
}

impl Answer {
    /// The answer for people.
    pub fn words(&self) -> String {
        let line = last_line(&self.body);
        let status = match self.status.canonical_reason() {
            Some(reason) => format!("{} {reason}", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        };
        let hint = if self.status.is_redirection() { " (redirects are not followed)" } else { "" };
        if line.is_empty() {
            format!("answered {status}{hint}")
        } else {
            format!("answered {status}{hint}: {line}")
        }
    }
}

const NO_ADDRESS: &str = "the address must begin with `http://` or `https://` and a host, and have no spaces";

/// Checks an address and returns it parsed.
///
/// # Errors
/// Says what is wrong with it, without showing what may be secret.
pub fn parse(url: &str) -> Result<Uri, String> {
    let Ok(uri) = url.parse::<Uri>() else { return Err(NO_ADDRESS.to_owned()) };
    let authority = uri.authority().map_or("", Authority::as_str);
    if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.is_empty() {
        return Err(NO_ADDRESS.to_owned());
    }
    if authority.contains('@') {
        return Err("the address must not have a user or a password".to_owned());
    }
    Ok(uri)
}

/// Scheme, host and port: the rest of an address may be a secret.
pub fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", Authority::as_str);
    format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
}

/// Sends requests, each made by `make` when its time has come, until one is answered by something else than 5xx.
/// Of an answer that is good, `body_octets_max` are read.
///
/// # Errors
/// Says what became of the last try, and how many there were.
pub async fn exchange(
    make: impl Fn() -> Result<Request<Full<Bytes>>, String>,
    patience: Patience<'_>,
    body_octets_max: usize,
) -> Result<Answer, String> {
    let deadline = Instant::now() + patience.total;
    let mut tried = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let bound = patience.each.min(left);
        let last = match timeout(bound, send(make()?, body_octets_max)).await {
            Ok(Ok(answer)) if !answer.status.is_server_error() => return Ok(answer),
            Ok(Ok(answer)) => answer.words(),
            Ok(Err(words)) => words,
            Err(_) => format!("no answer within {:.1} s", bound.as_secs_f64()),
        };
        let pause = patience.pauses.get(tried).or(patience.pauses.last()).copied().unwrap_or_default();
        tried += 1;
        let is_last = tried >= patience.tries as usize;
        if is_last || Instant::now() + pause >= deadline {
            return Err(if tried == 1 { last } else { format!("{last} ({tried} tries)") });
        }
        sleep(pause).await;
    }
}

async fn send(request: Request<Full<Bytes>>, body_octets_max: usize) -> Result<Answer, String> {
    let response = if request.uri().scheme_str() == Some("https") {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| format!("no certificates of authorities on this host: {error}"))?;
        client(connector.https_only().enable_http1().build()).request(request).await
    } else {
        client(HttpConnector::new()).request(request).await
    };
    receive(response.map_err(|error| words(&error))?, body_octets_max).await
}

/// A client for one request: connections are not kept, as the next request may be hours away.
fn client<C: Connect + Clone + Send + Sync + 'static>(connector: C) -> Client<C, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .http1_max_buf_size(HEAD_OCTETS_MAX)
        .build(connector)
}

async fn receive(response: Response<Incoming>, body_octets_max: usize) -> Result<Answer, String> {
    let status = response.status();
    let mut body = response.into_body();
    let mut answer = Answer { status, body: Vec::new(), is_cut: false };
    if status.is_success() {
        answer.is_cut = read(&mut body, &mut answer.body, body_octets_max).await?;
    } else {
        // The status is the answer; words are welcome and not waited for.
        let _ = timeout(WORDS_TIME_MAX, read(&mut body, &mut answer.body, WORDS_OCTETS_MAX)).await;
    }
    Ok(answer)
}

/// Reads a body up to so many octets; whether there was more.
async fn read(body: &mut Incoming, octets: &mut Vec<u8>, octets_max: usize) -> Result<bool, String> {
    if octets_max == 0 {
        return Ok(false);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {}", plain(&error.to_string())))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = octets_max - octets.len();
        octets.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What went wrong, by the innermost cause.
fn words(error: &ClientError) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let what = if error.is_connect() { "cannot connect" } else { "no answer" };
    format!("{what}: {}", plain(&cause.to_string()))
}
