//! What goes wrong with a backend, from one SIGUSR1 until the next.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// How long a slow backend leaves the next connection in its queue.
const SLOW: Duration = Duration::from_millis(200);

/// What a backend does while it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Has no listener, so that the kernel refuses
    Refuse,
    /// Sends one byte of the answer, then RST
    Reset,
    /// Accepts and never answers
    Silent,
    /// Accepts five connections a second
    Slow,
}

/// Whether the fault is on; flipped by SIGUSR1.
pub fn switch() -> watch::Receiver<bool> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut flips = signal(SignalKind::user_defined1()).expect("a handler can be set");
    let (switch, state) = watch::channel(false);
    tokio::spawn(async move {
        while flips.recv().await.is_some() {
            switch.send_modify(|is_on| *is_on = !*is_on);
        }
    });
    state
}

/// A listener that may be at fault.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    backlog: u32,
    /// Absent while it refuses.
    open: Option<TcpListener>,
    fault: Option<Fault>,
    switch: watch::Receiver<bool>,
}

impl Listener {
    /// Listens; a free port is taken for port 0, and kept.
    pub fn bind(
        address: SocketAddr,
        backlog: u32,
        (fault, switch): (Option<Fault>, watch::Receiver<bool>),
    ) -> io::Result<Self> {
        let listener = listen(address, backlog)?;
        Ok(Self { address: listener.local_addr()?, backlog, open: Some(listener), fault, switch })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, and what is wrong with it.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, Option<Fault>)> {
        loop {
            let fault = self.fault.filter(|_| *self.switch.borrow_and_update());
            match (fault, &self.open) {
                (Some(Fault::Refuse), Some(_)) => self.open = None,
                (None, None) => self.open = Some(listen(self.address, self.backlog)?),
                _ => {}
            }
            let (listener, switch) = (&self.open, &mut self.switch);
            let accepted = async {
                if fault == Some(Fault::Slow) {
                    tokio::time::sleep(SLOW).await;
                }
                match listener {
                    Some(listener) => listener.accept().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                accepted = accepted => return accepted.map(|(stream, _)| (stream, fault)),
                flipped = switch.changed() => flipped.map_err(io::Error::other)?,
            }
        }
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Sends one byte once the client has said something, then RST.
pub async fn reset(mut stream: TcpStream) -> io::Result<()> {
    stream.read_u8().await?;
    stream.write_all(b"?").await?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// Reads until the client ends, without a word.
pub async fn stay_silent(mut stream: TcpStream) -> io::Result<()> {
    let mut octets = [0; 64];
    while stream.read(&mut octets).await? > 0 {}
    Ok(())
}
