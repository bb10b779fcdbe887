//! One try of a connection: what `decide` gives and `establish` carries out.

use crate::model::{ColorName, ProxyProtocol, Weight};
use crate::state::{ColorPlace, ColorState, EndpointPlace, InColor, SuccessAt, Why};

/// One try.
#[derive(Debug)]
pub struct Attempt {
    /// The endpoint to connect to, with a place there.
    pub endpoint: EndpointPlace,
    /// The color it belongs to.
    pub color: ColorName,
    /// That color's facts, with a place in it.
    pub live: ColorPlace,
    /// That color's weight, in the snapshot that allowed the try.
    pub weight: Weight,
    /// Whether the endpoint is told who the client is.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What makes it a success.
    pub success: SuccessAt,
    /// Why this color.
    pub why: Why,
    /// Whether it is the connection's first try, a retry or the first one in a further color.
    pub order: Order,
}

impl Attempt {
    /// A try at an endpoint of `color`, with the places that it has there.
    pub fn at(
        color: &ColorState,
        (endpoint, live): (EndpointPlace, ColorPlace),
        (why, order): (Why, Order),
    ) -> Self {
        Self {
            endpoint,
            color: color.name.clone(),
            live,
            weight: color.weight,
            proxy_protocol: color.proxy_protocol,
            success: color.success,
            why,
            order,
        }
    }

    /// What the color counts it as.
    pub fn sort(&self) -> (Why, InColor) {
        let in_color = match self.order {
            Order::First | Order::NextColor => InColor::First,
            Order::Retry | Order::Again => InColor::Further,
        };
        (self.why, in_color)
    }
}

/// Where a try stands among those of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first one.
    First,
    /// Another endpoint of the color whose endpoint failed just before: costs a retry.
    Retry,
    /// An endpoint that did not answer in time, once more: costs a retry too.
    Again,
    /// The first one in a further color, which costs none.
    NextColor,
}
