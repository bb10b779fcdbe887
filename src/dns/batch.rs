//! Datagrams in batches: one system call receives up to [`BATCH`] of them, and one sends their replies.
//!
//! Receiving is nix's `recvmmsg`, which keeps the local address. Sending is rustix's `sendmmsg`; it
//! cannot set the source address, so replies from a wildcard socket leave one by one by nix's
//! `sendmsg` (nix's `sendmmsg` reads memory that it has not written when asked how many it sent).

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmsg,
};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};

use super::reply::UDP_PAYLOAD_OCTETS_MAX;

/// Datagrams received or sent by one system call.
pub(super) const BATCH: usize = 32;
/// A datagram larger than this is dropped: no query has a use for so many octets.
const DATAGRAM_OCTETS_MAX: usize = 4096;
/// What a reply needs while it is written (see [`super::answer()`]).
const REPLY_OCTETS: usize = 2 * UDP_PAYLOAD_OCTETS_MAX as usize;

/// Whether several addresses lead to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// One address: replies leave from it anyway, and no control data needs to be moved.
    No,
    /// All of the host's IPv4 addresses: which one was asked is kept.
    V4,
    /// All of the host's IPv6 addresses: which one was asked is kept.
    V6,
}

/// The address that was asked, on a wildcard socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedAt {
    /// The one that the socket is bound to, or unknown: the kernel chooses.
    Bound,
    /// This one.
    V4(Ipv4Addr),
    /// With the interface, which a link-local address needs.
    V6(Ipv6Addr, u32),
}

/// The kernel's notes about a batch. They hold raw pointers, which must not move between threads
/// while a task waits, so each thread has its own and they are used between two awaits only. They are
/// kept apart by kind of socket, because the kernel writes the sizes that it used into them.
type Headers = MultiHeaders<SockaddrStorage>;

/// Kinds of sockets: by family, and by whether control data is received.
const KINDS: usize = 4;

thread_local! {
    static HEADERS: RefCell<[Option<Headers>; KINDS]> = const { RefCell::new([None, None, None, None]) };
}

/// A batch of datagrams from one socket.
pub(super) struct Received {
    wildcard: Wildcard,
    kind: usize,
    octets: Box<[u8]>,
    facts: Vec<Facts>,
}

/// What is known about a received datagram.
struct Facts {
    octets: usize,
    cut: bool,
    peer: SocketAddr,
    asked_at: AskedAt,
}

/// A received datagram.
pub(super) struct Datagram<'a> {
    /// Absent if it was larger than teal takes.
    pub(super) packet: Option<&'a [u8]>,
    /// As much of it as teal takes.
    pub(super) begin: &'a [u8],
    pub(super) peer: SocketAddr,
    pub(super) asked_at: AskedAt,
}

impl Received {
    pub(super) fn new(bound: SocketAddr, wildcard: Wildcard) -> Self {
        let kind = usize::from(bound.is_ipv6()) + if wildcard == Wildcard::No { 0 } else { KINDS / 2 };
        let octets = vec![0; BATCH * DATAGRAM_OCTETS_MAX].into();
        Self { wildcard, kind, octets, facts: Vec::with_capacity(BATCH) }
    }

    /// Receives what waits, up to [`BATCH`], and says how many it was.
    pub(super) fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.facts.clear();
        HEADERS.with_borrow_mut(|kinds| {
            let headers = kinds[self.kind].get_or_insert_with(|| new_headers(self.wildcard));
            let mut chunks = self.octets.chunks_exact_mut(DATAGRAM_OCTETS_MAX);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
            let flags = MsgFlags::MSG_DONTWAIT;
            let received = recvmmsg(socket.as_fd().as_raw_fd(), headers, slices.iter_mut(), flags, None)?;
            self.facts.extend(received.map(|message| facts_of(&message)));
            let unknown = |facts: &Facts| facts.asked_at == AskedAt::Bound;
            if self.wildcard != Wildcard::No && self.facts.iter().any(unknown) {
                // The sizes in the notes may have shrunk: the next batch gets new ones.
                kinds[self.kind] = None;
            }
            Ok(self.facts.len())
        })
    }

    /// What the last call received.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.facts.iter().zip(self.octets.chunks_exact(DATAGRAM_OCTETS_MAX)).map(|(facts, octets)| {
            let begin = octets.get(..facts.octets).unwrap_or(octets);
            let packet = (!facts.cut).then_some(begin);
            Datagram { packet, begin, peer: facts.peer, asked_at: facts.asked_at }
        })
    }
}

fn new_headers(wildcard: Wildcard) -> Headers {
    let control = match wildcard {
        Wildcard::No => None,
        Wildcard::V4 => Some(nix::cmsg_space!(in_pktinfo)),
        Wildcard::V6 => Some(nix::cmsg_space!(in6_pktinfo)),
    };
    MultiHeaders::preallocate(BATCH, control)
}

fn facts_of(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Facts {
    let v4 = message.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in);
    let v6 = message.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in6);
    let peer = match (v4, v6) {
        (Some(v4), _) => SocketAddr::V4(SocketAddrV4::from(*v4)),
        (None, Some(v6)) => SocketAddr::V6(SocketAddrV6::from(*v6)),
        // The kernel names the sender of each UDP datagram; sending to this address fails.
        (None, None) => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
    };
    let control = message.cmsgs().into_iter().flatten();
    let asked_at = control.fold(AskedAt::Bound, |known, control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            AskedAt::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            AskedAt::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex)
        }
        _ => known,
    });
    let cut = message.flags.contains(MsgFlags::MSG_TRUNC);
    Facts { octets: message.bytes, cut, peer, asked_at }
}

/// Replies on their way out. Buffers are kept from batch to batch.
#[derive(Default)]
pub(super) struct Replies {
    slots: Vec<Slot>,
    used: usize,
}

struct Slot {
    octets: Vec<u8>,
    peer: SocketAddr,
    from: AskedAt,
}

impl Replies {
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// The buffer of one more reply.
    pub(super) fn next(&mut self, peer: SocketAddr, from: AskedAt) -> &mut Vec<u8> {
        if self.used == self.slots.len() {
            self.slots.push(Slot { octets: Vec::with_capacity(REPLY_OCTETS), peer, from });
        }
        let slot = &mut self.slots[self.used];
        self.used += 1;
        (slot.peer, slot.from) = (peer, from);
        &mut slot.octets
    }

    /// Takes back the last one.
    pub(super) fn take_back(&mut self) {
        self.used -= 1;
    }

    /// Sends replies beginning with the one numbered `first`, and says how many were sent; at least
    /// one. An error is about that first one.
    pub(super) fn send(&self, socket: &impl AsFd, first: usize) -> io::Result<usize> {
        match &self.slots[first..self.used] {
            [] => Ok(0),
            [one @ Slot { from: AskedAt::Bound, .. }] => {
                sendto(socket, &one.octets, SendFlags::DONTWAIT, &one.peer)?;
                Ok(1)
            }
            [Slot { from: AskedAt::Bound, .. }, ..] => self.send_together(socket, first),
            [one, ..] => {
                send_from(socket, one)?;
                Ok(1)
            }
        }
    }

    fn send_together(&self, socket: &impl AsFd, first: usize) -> io::Result<usize> {
        let slots = &self.slots[first..self.used.min(first + BATCH)];
        let slot = |index: usize| slots.get(index).unwrap_or(&slots[0]);
        let peers: [SocketAddrAny; BATCH] = std::array::from_fn(|index| slot(index).peer.as_any());
        let octets: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|index| [IoSlice::new(&slot(index).octets)]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut rest = peers.iter().zip(&octets).zip(&mut controls);
        let mut messages: [MMsgHdr<'_>; BATCH] = std::array::from_fn(|_| {
            let ((peer, octets), control) = rest.next().expect("the arrays are equally long");
            MMsgHdr::new_with_addr(peer, octets, control)
        });
        Ok(sendmmsg(socket, &mut messages[..slots.len()], SendFlags::DONTWAIT)?)
    }
}

/// Sends one reply from the address that was asked.
fn send_from(socket: &impl AsFd, slot: &Slot) -> io::Result<()> {
    let octets = [IoSlice::new(&slot.octets)];
    let peer = SockaddrStorage::from(slot.peer);
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_fd().as_raw_fd(), &octets, control, MsgFlags::MSG_DONTWAIT, Some(&peer))
    };
    match slot.from {
        AskedAt::Bound => send(&[])?,
        AskedAt::V4(address) => {
            let address = in_addr { s_addr: u32::from(address).to_be() };
            let any = in_addr { s_addr: 0 };
            let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: any };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])?
        }
        AskedAt::V6(address, interface) => {
            let address = in6_addr { s6_addr: address.octets() };
            let info = in6_pktinfo { ipi6_addr: address, ipi6_ifindex: interface };
            send(&[ControlMessage::Ipv6PacketInfo(&info)])?
        }
    };
    Ok(())
}
