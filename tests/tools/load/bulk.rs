//! Random bytes both ways at once, checked at both ends, and the ways in which a connection may end.
//!
//! Both ends make the bytes from a seed in the header, so each knows every byte that must arrive: a
//! stronger check than a checksum.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::tally::{Failure, Tally};

/// Octets made and sent at once.
const BLOCK_OCTETS: usize = 64 << 10;
/// Longest that one connection may take.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(120);
/// One octet that says: everything arrived as it should.
const VERIFIED: u8 = b'v';
/// What the seed of the backend's bytes differs by from that of the client's.
const BACKEND_SEED: u64 = 0x5bd1_e995_9e37_79b9;

/// `load bulk`
#[derive(Debug, Args)]
pub struct Options {
    /// Where to connect to
    target: SocketAddr,
    /// How many connections at once
    #[arg(long, default_value_t = 50)]
    connections: u64,
    /// Octets each way on each connection
    #[arg(long, default_value_t = 64 << 20)]
    octets: u64,
    /// How connections end
    #[arg(long, value_enum, default_value_t = End::ClientFin)]
    end: End,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    /// Both send at once; the client says FIN first and reads on
    ClientFin,
    /// The backend sends and says FIN; only then the client sends
    BackendFin,
    /// The backend resets: the client must see a reset, not an end
    BackendReset,
    /// The client resets: the backend must see a reset, not an end
    ClientReset,
}

/// What the client says at first.
#[derive(Debug, Clone, Copy)]
struct Header {
    end: End,
    seed: u64,
    octets: u64,
}

impl Header {
    const OCTETS: usize = 17;

    fn encode(self) -> [u8; Self::OCTETS] {
        let mut bytes = [0; Self::OCTETS];
        bytes[0] = self.end as u8;
        bytes[1..9].copy_from_slice(&self.seed.to_be_bytes());
        bytes[9..].copy_from_slice(&self.octets.to_be_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::OCTETS]) -> Option<Self> {
        let ends = [End::ClientFin, End::BackendFin, End::BackendReset, End::ClientReset];
        let end = *ends.get(usize::from(bytes[0]))?;
        let seed = u64::from_be_bytes(*bytes[1..].first_chunk()?);
        let octets = u64::from_be_bytes(*bytes[9..].first_chunk()?);
        Some(Self { end, seed, octets })
    }
}

/// Fills `block` with the bytes of the seed's endless stream from `offset` on (splitmix64 of the
/// number of each eight bytes).
fn fill(seed: u64, offset: u64, block: &mut [u8]) {
    let mut filled = 0;
    while filled < block.len() {
        let at = offset + filled as u64;
        let mut word = seed.wrapping_add((at / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bytes = (word ^ (word >> 31)).to_le_bytes();
        let skip = usize::try_from(at % 8).expect("below 8");
        let count = (8 - skip).min(block.len() - filled);
        block[filled..filled + count].copy_from_slice(&bytes[skip..skip + count]);
        filled += count;
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), seed: u64, octets: u64) -> Result<(), Failure> {
    let mut block = vec![0; BLOCK_OCTETS];
    let mut offset = 0;
    while offset < octets {
        let count = usize::try_from(octets - offset).unwrap_or(BLOCK_OCTETS).min(BLOCK_OCTETS);
        fill(seed, offset, &mut block[..count]);
        writer.write_all(&block[..count]).await.map_err(Failure::during("send"))?;
        offset += count as u64;
    }
    Ok(())
}

async fn verify(reader: &mut (impl AsyncRead + Unpin), seed: u64, octets: u64) -> Result<(), Failure> {
    let (mut block, mut expected) = (vec![0; BLOCK_OCTETS], vec![0; BLOCK_OCTETS]);
    let mut offset = 0;
    while offset < octets {
        let count = usize::try_from(octets - offset).unwrap_or(BLOCK_OCTETS).min(BLOCK_OCTETS);
        let read = reader.read(&mut block[..count]).await.map_err(Failure::during("receive"))?;
        if read == 0 {
            return Err(Failure::new("ended before all bytes had arrived"));
        }
        fill(seed, offset, &mut expected[..read]);
        if block[..read] != expected[..read] {
            return Err(Failure::new("bytes arrived that were not sent"));
        }
        offset += read as u64;
    }
    Ok(())
}

async fn expect_octet(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Failure> {
    match reader.read_u8().await.map_err(Failure::during("receive the verdict"))? {
        VERIFIED => Ok(()),
        _ => Err(Failure::new("the verdict is garbled")),
    }
}

async fn say_octet(writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), Failure> {
    writer.write_all(&[VERIFIED]).await.map_err(Failure::during("send the verdict"))
}

async fn expect_end(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Failure> {
    match reader.read(&mut [0; 1]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::new("more bytes than were sent")),
        Err(error) => Err(Failure::during("wait for FIN")(error)),
    }
}

async fn expect_reset(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Failure> {
    match reader.read(&mut [0; 1]).await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(Failure::during("wait for RST")(error)),
        Ok(0) => Err(Failure::new("a reset arrived as a proper end")),
        Ok(_) => Err(Failure::new("more bytes than were sent")),
    }
}

/// Closes with RST.
fn reset(stream: TcpStream) -> Result<(), Failure> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(Failure::during("reset"))?;
    drop(stream);
    Ok(())
}

/// The backend's side of one connection.
pub async fn serve(mut stream: TcpStream) -> Result<(), Failure> {
    let mut header = [0; Header::OCTETS];
    if stream.read_exact(&mut header).await.is_err() {
        // Somebody who only looked whether the port is open.
        return Ok(());
    }
    let header = Header::decode(header).ok_or_else(|| Failure::new("the header is garbled"))?;
    let Header { end, seed, octets } = header;
    let ours = seed ^ BACKEND_SEED;
    let (mut reader, mut writer) = stream.split();
    match end {
        End::ClientFin => {
            tokio::try_join!(send(&mut writer, ours, octets), async {
                verify(&mut reader, seed, octets).await?;
                expect_end(&mut reader).await
            })?;
            say_octet(&mut writer).await
        }
        End::BackendFin => {
            send(&mut writer, ours, octets).await?;
            writer.shutdown().await.map_err(Failure::during("half-close"))?;
            verify(&mut reader, seed, octets).await?;
            expect_end(&mut reader).await
        }
        End::BackendReset => {
            tokio::try_join!(send(&mut writer, ours, octets), verify(&mut reader, seed, octets))?;
            expect_octet(&mut reader).await?;
            reset(stream)
        }
        End::ClientReset => {
            tokio::try_join!(send(&mut writer, ours, octets), verify(&mut reader, seed, octets))?;
            say_octet(&mut writer).await?;
            expect_reset(&mut reader).await
        }
    }
}

/// The client's side of one connection.
async fn call(target: SocketAddr, header: Header) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(target).await.map_err(Failure::during("connect"))?;
    stream.write_all(&header.encode()).await.map_err(Failure::during("send"))?;
    let Header { end, seed, octets } = header;
    let theirs = seed ^ BACKEND_SEED;
    let (mut reader, mut writer) = stream.split();
    match end {
        End::ClientFin => {
            tokio::try_join!(verify(&mut reader, theirs, octets), async {
                send(&mut writer, seed, octets).await?;
                writer.shutdown().await.map_err(Failure::during("half-close"))
            })?;
            expect_octet(&mut reader).await?;
            expect_end(&mut reader).await?;
        }
        End::BackendFin => {
            verify(&mut reader, theirs, octets).await?;
            expect_end(&mut reader).await?;
            send(&mut writer, seed, octets).await?;
            writer.shutdown().await.map_err(Failure::during("half-close"))?;
        }
        End::BackendReset => {
            tokio::try_join!(send(&mut writer, seed, octets), verify(&mut reader, theirs, octets))?;
            say_octet(&mut writer).await?;
            expect_reset(&mut reader).await?;
        }
        End::ClientReset => {
            tokio::try_join!(send(&mut writer, seed, octets), verify(&mut reader, theirs, octets))?;
            expect_octet(&mut reader).await?;
            reset(stream)?;
        }
    }
    Ok("verified".to_owned())
}

/// Runs all connections at once and prints the tally.
pub async fn run(options: Options) -> std::io::Result<ExitCode> {
    let tally = Arc::new(Tally::new());
    let mut tasks = JoinSet::new();
    for seed in 0..options.connections {
        let header = Header { end: options.end, seed: seed << 32, octets: options.octets };
        let (tally, target) = (Arc::clone(&tally), options.target);
        tasks.spawn(async move {
            let outcome = timeout(CONNECTION_DEADLINE, call(target, header)).await;
            tally.add(outcome.unwrap_or(Err(Failure::new("not done in 120 s"))));
        });
    }
    tasks.join_all().await;
    Ok(tally.print())
}
