//! Questions to the kernel about links, addresses and routes, over rtnetlink(7).
//!
//! Each question has a connection of its own, which lives as long as its answer takes: nothing that
//! one loses or leaves behind touches another.

use std::io;
use std::pin::pin;

use futures_util::TryStreamExt;
use futures_util::future::{Either, select};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, RouteMessageBuilder};

/// The kernel did not answer a question, or refused an order.
#[derive(Debug, thiserror::Error)]
pub enum RtnlError {
    /// No socket: a sandbox forbids the address family, or there are no descriptors.
    #[error("no netlink socket: {0}; a sandbox has to allow AF_NETLINK (systemd: RestrictAddressFamilies=)")]
    Socket(#[source] io::Error),
    /// The kernel's answer.
    #[error("the kernel refused: {0}")]
    Refused(#[source] io::Error),
    /// An answer that makes no sense, or none.
    #[error("netlink failed: {0}")]
    Failed(rtnetlink::Error),
    /// The connection ended before the answer.
    #[error("netlink failed: the connection ended before the answer")]
    Ended,
}

impl From<rtnetlink::Error> for RtnlError {
    fn from(error: rtnetlink::Error) -> Self {
        match error {
            rtnetlink::Error::NetlinkError(message) => Self::Refused(message.to_io()),
            error => Self::Failed(error),
        }
    }
}

impl RtnlError {
    /// The kernel's reason as an error number.
    pub(super) fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Socket(error) | Self::Refused(error) => rustix::io::Errno::from_io_error(error),
            Self::Failed(_) | Self::Ended => None,
        }
    }
}

/// Opens a connection and keeps it going until `question` is answered.
pub(super) async fn ask<T>(
    question: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>,
) -> Result<T, RtnlError> {
    let (connection, handle, _unsolicited) = rtnetlink::new_connection().map_err(RtnlError::Socket)?;
    let answer = pin!(question(handle));
    match select(answer, pin!(connection)).await {
        Either::Left((answer, _)) => Ok(answer?),
        // It ends by itself only after the answer has arrived, or never will.
        Either::Right(((), answer)) => {
            futures_util::FutureExt::now_or_never(answer).ok_or(RtnlError::Ended)?.map_err(RtnlError::from)
        }
    }
}

/// All links.
pub(super) async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, rtnetlink::Error> {
    handle.link().get().execute().try_collect().await
}

/// All addresses of all links.
pub(super) async fn addresses(handle: &Handle) -> Result<Vec<AddressMessage>, rtnetlink::Error> {
    handle.address().get().execute().try_collect().await
}

/// All IPv4 routes of all tables.
pub(super) async fn routes(handle: &Handle) -> Result<Vec<RouteMessage>, rtnetlink::Error> {
    let all = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
    handle.route().get(all).execute().try_collect().await
}
