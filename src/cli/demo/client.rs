//! The way that everybody in the demo goes: ask teal's DNS for the name, connect to the VIP, speak HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// Bound of one call, from the query to the last octet.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer to a query may take before it is asked again.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// Queries for one name at most.
const QUERIES_MAX: usize = 3;
/// Octets of an answer's body that are read.
const BODY_OCTETS_MAX: usize = 4096;
/// Octets of a DNS message over UDP without EDNS.
const MESSAGE_OCTETS_MAX: usize = 512;
/// The header by which backends know the demo's own connections from those of people who try commands.
pub const MARK: &str = "x-teal-demo";

/// Whether backends count a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It belongs to a step.
    Counted,
    /// It does not.
    Uncounted,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name was not answered.
    #[error("cannot resolve {name}: {cause}")]
    Resolve {
        /// Which name.
        name: String,
        /// Why.
        cause: String,
    },
    /// The VIP did not take the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// VIP and port.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("{address} broke off: {cause}")]
    Broken {
        /// VIP and port.
        address: SocketAddr,
        /// Why.
        cause: String,
    },
    /// An answer, but not a good one.
    #[error("{address} answered {status}: {text}")]
    Status {
        /// VIP and port.
        address: SocketAddr,
        /// The status code.
        status: u16,
        /// The body.
        text: String,
    },
    /// It took too long.
    #[error("no answer from {name} within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// Which name.
        name: String,
    },
}

/// Where names are resolved, and the port that services listen at.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// teal's DNS.
    pub dns: SocketAddr,
    /// The port on every VIP.
    pub port: u16,
    /// The address to call from; any when absent.
    pub from: Option<Ipv4Addr>,
}

impl Way {
    /// Resolves `name` and gets `/` from it over a connection of its own.
    ///
    /// # Errors
    /// What went wrong on the way.
    pub async fn get(&self, name: &str, mark: Mark) -> Result<String, CallError> {
        let call = async {
            let address = (self.resolve(name).await?, self.port).into();
            exchange(self.from, address, (name, mark)).await
        };
        let timeout = |_| CallError::Timeout { name: name.to_owned() };
        tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(timeout)?
    }

    /// Asks for the address of a name.
    ///
    /// # Errors
    /// There is none, or nobody answers.
    pub async fn resolve(&self, name: &str) -> Result<Ipv4Addr, CallError> {
        let error = |cause: String| CallError::Resolve { name: name.to_owned(), cause };
        let mut query = Message::query();
        let asked = Name::from_ascii(format!("{name}.")).map_err(|odd| error(odd.to_string()))?;
        query.add_query(Query::query(asked, RecordType::A));
        let octets = query.to_vec().map_err(|odd| error(odd.to_string()))?;
        for _ in 0..QUERIES_MAX {
            let answered =
                tokio::time::timeout(QUERY_TIMEOUT, ask(self.dns, &octets, query.metadata.id)).await;
            match answered {
                Ok(Ok(answer)) => return address_in(&answer).map_err(error),
                Ok(Err(failed)) => return Err(error(failed.to_string())),
                Err(_) => {}
            }
        }
        Err(error(format!("{} does not answer", self.dns)))
    }
}

/// Sends a query and waits for the message that answers it.
async fn ask(dns: SocketAddr, query: &[u8], id: u16) -> io::Result<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(dns).await?;
    socket.send(query).await?;
    let mut buffer = [0; MESSAGE_OCTETS_MAX];
    loop {
        let octets = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..octets]) {
            Ok(message) if message.metadata.id == id => return Ok(message),
            _ => {}
        }
    }
}

fn address_in(message: &Message) -> Result<Ipv4Addr, String> {
    let code = message.metadata.response_code;
    if code != ResponseCode::NoError {
        return Err(code.to_string());
    }
    let address = message.answers.iter().find_map(|record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    });
    address.ok_or_else(|| "the answer holds no address".to_owned())
}

async fn connect(from: Option<Ipv4Addr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind((from, 0).into())?;
    }
    socket.connect(address).await
}

async fn exchange(
    from: Option<Ipv4Addr>,
    address: SocketAddr,
    (name, mark): (&str, Mark),
) -> Result<String, CallError> {
    let stream = connect(from, address).await.map_err(|source| CallError::Connect { address, source })?;
    let broken = |cause: String| CallError::Broken { address, cause };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let mut request = Request::get("/").header("host", name).header("connection", "close");
    if mark == Mark::Counted {
        request = request.header(MARK, "counted");
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| broken(error.to_string()))?;
    let receive = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_OCTETS_MAX).collect().await;
        let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            Ok(text)
        } else {
            Err(CallError::Status { address, status: status.as_u16(), text })
        }
    };
    // The connection moves the octets of the exchange; a clean end on both sides is part of the call.
    let (received, ended) = tokio::join!(receive, connection);
    ended.map_err(|error| broken(error.to_string()))?;
    received
}
