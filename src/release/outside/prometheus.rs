//! The gate that is a query of a Prometheus server, by its HTTP API (`/api/v1/query`): an instant query, whose
//! values are held against bounds.
//!
//! Three things that look alike are kept apart: no value, a value that is no number (NaN, such as 0 / 0), and no
//! answer. `on_missing` says what the first two mean; the third is always inconclusive.

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::Full;
use hyper::{Request, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::http::{self, Patience};
use super::{AskedMember, GateOutcome, plain};
use crate::model::release::OnMissing;

/// All but the unreserved characters of RFC 3986 §2.3.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Octets of an answer: tens of thousands of values.
const ANSWER_OCTETS_MAX: usize = 4 * 1024 * 1024;
/// Values out of bounds that are told; the others are counted.
const TOLD_MAX: usize = 3;
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The smallest value.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
    /// What no value means.
    pub on_missing: OnMissing,
}

/// Asks the query once for each member, or once in all when it names none of them. The worst outcome counts: failed
/// before inconclusive before passed.
pub async fn ask(
    url: &str,
    query: &str,
    members: &[AskedMember],
    limits: Limits,
    limit: Duration,
) -> GateOutcome {
    let uri = match base(url) {
        Ok(uri) => uri,
        Err(words) => return GateOutcome::Inconclusive(format!("not asked: {words}")),
    };
    let questions = questions(query, members);
    let asked = questions.iter().map(|(query, whom)| async {
        let outcome = match values(&uri, query, limit).await {
            Ok(values) => judge(&values, limits),
            Err(words) => GateOutcome::Inconclusive(format!("{}: {words}", http::shown(&uri))),
        };
        about(whom, outcome)
    });
    worst(futures_util::future::join_all(asked).await)
}

/// Queries to ask, each once, with whom it is about.
pub fn questions(query: &str, members: &[AskedMember]) -> BTreeMap<String, String> {
    let mut questions = BTreeMap::<String, Vec<&str>>::new();
    for member in members {
        let own = query
            .replace("{{color}}", member.to.as_str())
            .replace("{{from}}", member.from.as_str())
            .replace("{{service}}", member.service.as_str());
        questions.entry(own).or_default().push(member.service.as_str());
    }
    let is_about_all = questions.len() == 1;
    let whom = |names: Vec<&str>| if is_about_all { String::new() } else { names.join(", ") };
    questions.into_iter().map(|(query, names)| (query, whom(names))).collect()
}

fn about(whom: &str, outcome: GateOutcome) -> GateOutcome {
    let words = |words| if whom.is_empty() { words } else { format!("{whom}: {words}") };
    match outcome {
        GateOutcome::Passed => GateOutcome::Passed,
        GateOutcome::Failed(why) => GateOutcome::Failed(words(why)),
        GateOutcome::Inconclusive(why) => GateOutcome::Inconclusive(words(why)),
    }
}

fn worst(outcomes: Vec<GateOutcome>) -> GateOutcome {
    let (mut failed, mut unknown) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            GateOutcome::Passed => {}
            GateOutcome::Failed(words) => failed.push(words),
            GateOutcome::Inconclusive(words) => unknown.push(words),
        }
    }
    match (failed.is_empty(), unknown.is_empty()) {
        (true, true) => GateOutcome::Passed,
        (true, false) => GateOutcome::Inconclusive(unknown.join("; ")),
        (false, _) => GateOutcome::Failed(failed.join("; ")),
    }
}

/// The server's address, with a path before `/api` where it has one.
fn base(url: &str) -> Result<Uri, String> {
    let uri = http::parse(url)?;
    match uri.query() {
        Some(_) => {
            Err("the address of a Prometheus server has no `?`: write the query in `query`".to_owned())
        }
        None => Ok(uri),
    }
}

async fn values(uri: &Uri, query: &str, limit: Duration) -> Result<Vec<Sample>, String> {
    let path = uri.path().trim_end_matches('/');
    let query = utf8_percent_encode(query, QUERY);
    let target = format!("{}{path}/api/v1/query?query={query}", http::shown(uri));
    let make = || {
        Request::get(target.as_str())
            .header("accept", "application/json")
            .body(Full::default())
            .map_err(|error| error.to_string())
    };
    let patience = Patience { total: limit, each: limit, pauses: &PAUSES, tries: u32::MAX };
    let answer = http::exchange(make, patience, ANSWER_OCTETS_MAX).await?;
    if answer.is_cut {
        return Err(format!("the answer is longer than {ANSWER_OCTETS_MAX} octets: let the query aggregate"));
    }
    if !answer.status.is_success() {
        return Err(parse(&answer.body).err().filter(Error::is_told).map_or_else(|| answer.words(), |e| e.0));
    }
    parse(&answer.body).map_err(|error| error.0)
}

/// One value, with what Prometheus says that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels as people write them; empty for a scalar.
    pub labels: String,
    /// The value, also NaN or infinite.
    pub value: f64,
}

/// Why there are no values, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub String);

impl Error {
    /// Whether it is the server's own word.
    fn is_told(&self) -> bool {
        self.0.starts_with(REFUSED)
    }
}

const REFUSED: &str = "the query is refused";

#[derive(Deserialize)]
struct Report {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType", default)]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((serde_json::Value, String)),
    Vector(Vec<Item>),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// Absent for native histograms.
    value: Option<(serde_json::Value, String)>,
}

/// Reads the values of an answer.
///
/// # Errors
/// It is none, tells of an error, or has another type than scalar or vector.
pub fn parse(body: &[u8]) -> Result<Vec<Sample>, Error> {
    let report: Report = serde_json::from_slice(body)
        .map_err(|error| Error(format!("the answer is none of Prometheus: {}", plain(&error.to_string()))))?;
    if report.status != "success" {
        let (kind, error) = (plain(&report.error_type), plain(&report.error));
        return Err(Error(format!("{REFUSED}: {kind}: {error}")));
    }
    match report.data {
        Some(Data::Scalar((_, value))) => Ok(vec![sample(String::new(), &value)?]),
        Some(Data::Vector(items)) => items.into_iter().map(item).collect(),
        Some(Data::Matrix(_)) => Err(Error(
            "the query gives a range of values: it must give an instant vector or a scalar, such as by `rate()`"
                .to_owned(),
        )),
        Some(Data::String(_)) => Err(Error("the query gives text: it must give numbers".to_owned())),
        None => Err(Error("the answer has no data".to_owned())),
    }
}

fn item(item: Item) -> Result<Sample, Error> {
    let labels = item.metric.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>();
    let Some((_, value)) = item.value else {
        let help = "the query gives histograms: it must give numbers, such as by `histogram_quantile()`";
        return Err(Error(help.to_owned()));
    };
    sample(
        if labels.is_empty() { String::new() } else { plain(&format!("{{{}}}", labels.join(","))) },
        &value,
    )
}

fn sample(labels: String, value: &str) -> Result<Sample, Error> {
    let value = value.parse().map_err(|_| Error(format!("{:?} is no number", plain(value))))?;
    Ok(Sample { labels, value })
}

/// Holds values against bounds.
pub fn judge(samples: &[Sample], limits: Limits) -> GateOutcome {
    let wrong: Vec<_> = samples.iter().filter_map(|sample| out_of_bounds(sample, limits)).collect();
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(TOLD_MAX);
        let told = wrong.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
        return GateOutcome::Failed(if more > 0 { format!("{told} and {more} more") } else { told });
    }
    let missing = if samples.is_empty() {
        "the query gives no value"
    } else if samples.iter().any(|sample| sample.value.is_nan()) {
        "the query gives NaN, as a division by zero does"
    } else {
        return GateOutcome::Passed;
    };
    match limits.on_missing {
        OnMissing::Pass => GateOutcome::Passed,
        OnMissing::Fail => GateOutcome::Failed(missing.to_owned()),
        OnMissing::Inconclusive => GateOutcome::Inconclusive(missing.to_owned()),
    }
}

fn out_of_bounds(sample: &Sample, limits: Limits) -> Option<String> {
    let Sample { labels, value } = sample;
    let space = if labels.is_empty() { "" } else { " " };
    let told = |how, bound| format!("{labels}{space}{value} is {how} {bound}");
    // NaN is on neither side of anything.
    match (limits.min, limits.max) {
        (Some(min), _) if *value < min => Some(told("below", min)),
        (_, Some(max)) if *value > max => Some(told("above", max)),
        _ => None,
    }
}
