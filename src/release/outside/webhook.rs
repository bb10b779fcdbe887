//! Signed POST requests, and the gate that is one.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

use super::http::{self, Patience};
use super::sign::{ID_HEADER, Key, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use super::{Asked, GateOutcome};

/// Pauses between tries to ask a gate.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
const USER_AGENT: &str = concat!("teal/", env!("CARGO_PKG_VERSION"));

/// What is posted to a gate.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The gate's name.
    pub gate: &'a str,
    /// About what.
    pub asked: &'a Asked,
}

#[derive(Serialize)]
struct QuestionBody<'a> {
    kind: &'static str,
    gate: &'a str,
    host: &'a str,
    #[serde(flatten)]
    asked: &'a Asked,
}

/// A message that is ready to be sent, as often as it takes.
#[derive(Debug)]
pub struct Post {
    uri: Uri,
    key: Option<Key>,
    id: String,
    body: Bytes,
}

impl Post {
    /// Prepares a message; the key is read now.
    ///
    /// # Errors
    /// The address or the key cannot be used.
    pub fn new(url: &str, secret_file: Option<&Path>, body: Bytes) -> Result<Self, String> {
        let uri = http::parse(url)?;
        let key = secret_file.map(Key::read).transpose().map_err(|error| error.to_string())?;
        Ok(Self { uri, key, id: new_id(), body })
    }

    /// Where to, as it may be shown.
    pub fn shown(&self) -> String {
        http::shown(&self.uri)
    }

    /// The request, signed with the time of now.
    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let timestamp = since_1970().as_secs();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header("content-type", "application/json")
            .header("user-agent", USER_AGENT)
            .header(ID_HEADER, &self.id)
            .header(TIMESTAMP_HEADER, timestamp);
        if let Some(key) = &self.key {
            request = request.header(SIGNATURE_HEADER, key.signature(&self.id, timestamp, &self.body));
        }
        request.body(Full::new(self.body.clone())).map_err(|error| error.to_string())
    }

    /// Sends it until somebody answers with something else than 5xx.
    ///
    /// # Errors
    /// Says what became of the last try.
    pub async fn send(&self, patience: Patience<'_>) -> Result<http::Answer, String> {
        http::exchange(|| self.request(), patience, 0).await
    }
}

/// Asks a gate: 2xx passes, other answers fail, no answer is inconclusive.
pub async fn ask(
    url: &str,
    secret_file: Option<&Path>,
    question: &Question<'_>,
    limit: Duration,
) -> GateOutcome {
    let host = host();
    let body = QuestionBody { kind: "gate", gate: question.gate, host: &host, asked: question.asked };
    let post = match json(&body).and_then(|body| Post::new(url, secret_file, body)) {
        Ok(post) => post,
        Err(words) => return GateOutcome::Inconclusive(format!("not asked: {words}")),
    };
    let patience = Patience { total: limit, each: limit, pauses: &PAUSES, tries: u32::MAX };
    match post.send(patience).await {
        Ok(answer) if answer.status.is_success() => GateOutcome::Passed,
        Ok(answer) => GateOutcome::Failed(format!("{} {}", post.shown(), answer.words())),
        Err(words) => GateOutcome::Inconclusive(format!("{}: {words}", post.shown())),
    }
}

/// A body.
pub(super) fn json(body: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| error.to_string())
}

/// This host's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An ID that no other message has, on this host or another.
fn new_id() -> String {
    let random: u64 = rand::make_rng::<StdRng>().random();
    format!("teal_{:x}_{random:016x}", since_1970().as_nanos())
}
