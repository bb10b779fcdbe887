//! A UDP socket whose thread is woken for what comes, not for room to send.
//!
//! tokio's own asks for both, and the kernel reports room whenever a datagram that was sent has been read: a wake-up
//! for nothing after each reply. Room is asked for here only by who lacks it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::readiness::register;

/// A socket that does not block, and belongs to the event queue of the thread that made it.
#[derive(Debug)]
pub struct DatagramSocket(AsyncFd<UdpSocket>);

impl DatagramSocket {
    /// Takes a socket that does not block.
    ///
    /// # Errors
    /// It cannot be registered with this thread's event queue.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        register(socket, Interest::READABLE.add(Interest::ERROR)).map(Self)
    }

    /// Waits for a datagram (`READABLE`), or for the news that one could not be delivered (`ERROR`).
    ///
    /// # Errors
    /// Only a runtime that goes down cannot tell.
    pub async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.0.ready(interest).await.map(drop)
    }

    /// Does what needs `interest`; `WouldBlock` tells the event queue that nothing is left.
    ///
    /// # Errors
    /// What `work` says, or `WouldBlock` when it is known that there is nothing.
    pub fn try_io<R>(&self, interest: Interest, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.0.try_io(interest, |_| work())
    }

    /// Waits for room to send.
    ///
    /// # Errors
    /// No descriptor is left to wait with.
    pub async fn writable(&self) -> io::Result<()> {
        let twin = register(self.0.get_ref().try_clone()?, Interest::WRITABLE)?;
        twin.writable().await.map(drop)
    }

    /// Takes the error that waits, if any.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.get_ref().take_error()
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::{AsRawFd, RawFd};
    use std::time::Duration;

    use rustix::net::{RecvFlags, SendFlags, recv, send};
    use tokio::time::timeout;

    use super::*;

    const EITHER: Interest = Interest::READABLE.add(Interest::ERROR);
    const DEADLINE: Duration = Duration::from_secs(10);

    fn pair() -> (DatagramSocket, UdpSocket) {
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        one.connect(other.local_addr().unwrap()).unwrap();
        other.connect(one.local_addr().unwrap()).unwrap();
        one.set_nonblocking(true).unwrap();
        (DatagramSocket::new(one).unwrap(), other)
    }

    #[tokio::test]
    async fn it_waits_for_datagrams_for_news_and_for_room() {
        let (socket, other) = pair();
        timeout(DEADLINE, socket.writable()).await.unwrap().unwrap();
        other.send(b"one").unwrap();
        timeout(DEADLINE, socket.ready(EITHER)).await.unwrap().unwrap();
        let mut octets = [0; 8];
        let mut receive = || {
            socket.try_io(Interest::READABLE, || Ok(recv(&socket, &mut octets[..], RecvFlags::empty())?.1))
        };
        assert_eq!(receive().unwrap(), 3);
        assert_eq!(receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(other);
        send(&socket, b"two", SendFlags::empty()).unwrap();
        timeout(DEADLINE, socket.ready(EITHER)).await.unwrap().unwrap();
        assert_eq!(socket.take_error().unwrap().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    }

    /// What the event queues of this process watch a descriptor for (proc(5), `/proc/pid/fdinfo`); each is there as
    /// often as it has descriptors.
    fn watched_for(descriptor: RawFd) -> Vec<u32> {
        let infos = fs::read_dir("/proc/self/fdinfo").unwrap();
        let texts = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok());
        let events = texts.flat_map(|text| {
            let lines = text.lines().filter_map(|line| {
                let mut words = line.strip_prefix("tfd:")?.split_whitespace();
                let target: RawFd = words.next()?.parse().ok()?;
                let events = words.nth(1)?;
                (target == descriptor).then(|| u32::from_str_radix(events, 16).unwrap())
            });
            lines.collect::<Vec<_>>()
        });
        events.collect()
    }

    #[tokio::test]
    async fn a_datagram_that_was_read_elsewhere_wakes_nobody() {
        const EPOLLIN: u32 = 1;
        const EPOLLOUT: u32 = 4;
        let (socket, _other) = pair();
        let events = watched_for(socket.as_fd().as_raw_fd());
        let for_data = |events: &u32| events & (EPOLLIN | EPOLLOUT) == EPOLLIN;
        assert!(!events.is_empty() && events.iter().all(for_data), "{events:x?}");
        // tokio's own is different, or this file is not needed.
        let tokios = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(watched_for(tokios.as_raw_fd())[0] & EPOLLOUT, EPOLLOUT);
    }
}
