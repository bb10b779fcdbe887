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
    /// RST instead of the first byte of the answer
    ResetFirst,
    /// FIN instead of the first byte of the answer
    Empty,
    /// Answers after ten times as long
    Late,
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
    /// Of so many connections the last one is at fault.
    every: u32,
    accepted: u32,
    switch: watch::Receiver<bool>,
}

impl Listener {
    /// Listens; a free port is taken for port 0, and kept.
    pub fn bind(
        address: SocketAddr,
        backlog: u32,
        (fault, every): (Option<Fault>, u32),
        switch: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let listener = listen(address, backlog)?;
        let address = listener.local_addr()?;
        Ok(Self { address, backlog, open: Some(listener), fault, every, accepted: 0, switch })
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
                accepted = accepted => {
                    self.accepted = self.accepted.wrapping_add(1);
                    let fault = fault.filter(|_| self.accepted.is_multiple_of(self.every));
                    return accepted.map(|(stream, _)| (stream, fault));
                }
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

/// RST once the client has said something.
pub async fn reset_first(mut stream: TcpStream) -> io::Result<()> {
    stream.read_u8().await?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// FIN once the client has said all, without a byte.
pub async fn say_nothing(mut stream: TcpStream, octets: usize) -> io::Result<()> {
    let mut request = vec![0; octets];
    stream.read_exact(&mut request).await?;
    stream.shutdown().await
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
