//! An HTTP server on loopback that keeps what it was asked and answers as a test says.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::within;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The request line.
    pub line: String,
    head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What follows a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status with a body.
    Status(u16, String),
    /// A status with one further header.
    With(u16, &'static str, String),
    /// A good status and so many octets of body.
    Huge(usize),
    /// A status and a body that never ends and hardly moves.
    Dripping(u16),
    /// The end of the connection.
    Close,
    /// Nothing, ever.
    Hang,
}

pub fn status(status: u16) -> Reply {
    Reply::Status(status, String::new())
}

type Script = dyn Fn(usize) -> Reply + Send + Sync;

pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    came: Arc<Notify>,
}

impl Server {
    /// Starts a server that answers the n-th request, counted from 0, as `script` says.
    pub async fn start(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, script).await
    }

    /// The same over TLS, with the certificate of `tls/cert.pem`, which is for 127.0.0.1.
    pub async fn start_tls(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/cert.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/key.pem")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config.unwrap()))), script).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http{}://{}", if tls.is_some() { "s" } else { "" }, listener.local_addr().unwrap()),
            requests: Arc::default(),
            came: Arc::default(),
        };
        let (requests, came) = (Arc::clone(&server.requests), Arc::clone(&server.came));
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, came) = (Arc::clone(&requests), Arc::clone(&came));
                let (script, tls) = (Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, &requests, &came, &*script).await };
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &requests, &came, &*script).await;
                    }
                });
            }
        });
        server
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests, once there are so many.
    pub async fn after(&self, count: usize) -> Vec<Request> {
        within(async {
            loop {
                let came = self.came.notified();
                if self.requests.lock().unwrap().len() >= count {
                    return self.requests();
                }
                came.await;
            }
        })
        .await
    }
}

/// A port at which nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/hook", listener.local_addr().unwrap())
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: &Mutex<Vec<Request>>,
    came: &Notify,
    script: &Script,
) {
    let Some(request) = read(&mut stream).await else { return };
    let index = {
        let mut requests = requests.lock().unwrap();
        requests.push(request);
        requests.len() - 1
    };
    came.notify_waiters();
    // A client that is gone has read what it wanted.
    let _ = answer(&mut stream, script(index)).await;
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end);
    let text = String::from_utf8(bytes).ok()?;
    let (line, head) = text.split_once("\r\n")?;
    let mut request = Request { line: line.to_owned(), head: head.to_owned(), body };
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while request.body.len() < length {
        stream.read_buf(&mut request.body).await.ok()?;
    }
    Some(request)
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> std::io::Result<()> {
    let head = |status, more: &str, length| {
        format!("HTTP/1.1 {status} Words\r\ncontent-length: {length}\r\n{more}connection: close\r\n\r\n")
    };
    match reply {
        Reply::Status(status, body) => {
            stream.write_all((head(status, "", body.len()) + &body).as_bytes()).await
        }
        Reply::With(status, name, value) => {
            stream.write_all(head(status, &format!("{name}: {value}\r\n"), 0).as_bytes()).await
        }
        Reply::Huge(octets) => {
            stream.write_all(head(200, "", octets).as_bytes()).await?;
            stream.write_all(&vec![b' '; octets]).await
        }
        Reply::Dripping(status) => {
            stream.write_all(head(status, "", 1_000_000).as_bytes()).await?;
            stream.write_all(b"a word").await?;
            std::future::pending().await
        }
        Reply::Close => Ok(()),
        Reply::Hang => std::future::pending().await,
    }
}
