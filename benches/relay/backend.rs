//! The backend: answers each request of 64 bytes with as many bytes as its first eight say.
//!
//! One protocol for every kind of work, so that all proxies need one port only. Runs on a thread of
//! its own, on the core of the load.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Octets of a request.
pub const REQUEST_OCTETS: usize = 64;
/// Octets handed to the kernel at once.
const BLOCK_OCTETS: usize = 256 << 10;

static BLOCK: [u8; BLOCK_OCTETS] = [b't'; BLOCK_OCTETS];

/// The addresses that the backend listens at: the same port on both.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// The first color's endpoint.
    pub blue: SocketAddr,
    /// The second color's endpoint.
    pub green: SocketAddr,
}

/// A request for `octets` bytes.
pub fn request(octets: u64) -> [u8; REQUEST_OCTETS] {
    let mut request = [b'.'; REQUEST_OCTETS];
    request[..8].copy_from_slice(&octets.to_be_bytes());
    request
}

/// Starts the backend on a thread that lives as long as the process.
pub fn start() -> io::Result<Backend> {
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new().name("backend".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the kernel gives an epoll descriptor");
        runtime.block_on(async move {
            let bound = bind().await;
            let addresses = bound.as_ref().map(|(_, _, backend)| *backend).map_err(io::Error::kind);
            tell.send(addresses).expect("the starter waits for it");
            if let Ok((blue, green, _)) = bound {
                tokio::join!(accept(blue), accept(green));
            }
        });
    })?;
    told.recv().expect("the thread tells before it ends").map_err(io::Error::from)
}

async fn bind() -> io::Result<(TcpListener, TcpListener, Backend)> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let blue = first.local_addr()?;
    let second = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), blue.port())).await?;
    let green = second.local_addr()?;
    Ok((first, second, Backend { blue, green }))
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
            Err(error) => eprintln!("backend: accept: {error}"),
        }
    }
}

/// Serves until the peer closes; how a connection ends is the load's to judge.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST_OCTETS];
    loop {
        stream.read_exact(&mut request).await?;
        let (head, _) = request.split_first_chunk().expect("64 bytes begin with 8");
        let mut left = u64::from_be_bytes(*head);
        while left > 0 {
            let octets = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_OCTETS);
            stream.write_all(&BLOCK[..octets]).await?;
            left -= octets as u64;
        }
    }
}
