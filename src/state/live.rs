//! Live facts: counters and open connections that outlive snapshots.
//!
//! They hang on the identity of an endpoint, a color or a port. While somebody still points to one, a
//! snapshot that names the same identity again gets the same one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::color::{ColorLive, Labels, PortLive};
use super::connections::OpenConnections;
use super::drain::DrainCell;
use super::health::HealthCell;
use super::outlier::OutlierCell;
use super::places::{Places, ServiceLive};
use super::ports::PortCell;
use super::slow_start::SlowStartCell;
use crate::model::{ColorName, ServiceName};
use crate::telemetry::Series;

/// The live facts of one endpoint, by (service, port, color, address). Aligned so that who counts references to it does
/// not disturb who reads it.
#[derive(Debug)]
#[repr(align(64))]
pub struct EndpointLive {
    /// Its address.
    pub address: SocketAddr,
    /// Connections that it serves.
    pub open: OpenConnections,
    /// When those are closed, where it gets no more.
    pub drain: DrainCell,
    /// The same with those still connecting, counted for its limit.
    pub places: Places,
    /// Counts whose turn it is of the service's `source_addresses`.
    pub source_turns: AtomicU32,
    /// What checks say of it.
    pub health: HealthCell,
    /// What failed connections say of it.
    pub outlier: OutlierCell,
    /// Source ports that ended connections to it still hold.
    pub ports: PortCell,
    /// How far it is on its way back into use.
    pub slow_start: SlowStartCell,
}

/// (service, listening port)
type PortKey = (ServiceName, u16);
/// (service, listening port, color)
type ColorKey = (ServiceName, u16, ColorName);
/// (service, listening port, color, address)
type EndpointKey = (ServiceName, u16, ColorName, SocketAddr);

/// Finds live facts by identity.
#[derive(Default)]
pub struct Live {
    series: Arc<Series>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    services: HashMap<ServiceName, Weak<ServiceLive>>,
    places: HashMap<(ServiceName, ColorName), Weak<Places>>,
    ports: HashMap<PortKey, Weak<PortLive>>,
    colors: HashMap<ColorKey, Weak<ColorLive>>,
    endpoints: HashMap<EndpointKey, Weak<EndpointLive>>,
}

/// An endpoint that somebody still points to.
pub struct LivingEndpoint {
    /// Its service.
    pub service: ServiceName,
    /// The port it serves, by listening port.
    pub port: u16,
    /// Its color.
    pub color: ColorName,
    /// Its facts.
    pub live: Arc<EndpointLive>,
}

impl Live {
    /// Live facts whose series are kept in `series`.
    pub fn new(series: Arc<Series>) -> Self {
        Self { series, tables: Mutex::default() }
    }

    /// Where the series are kept.
    pub fn series(&self) -> &Arc<Series> {
        &self.series
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The facts of a port.
    pub fn port(&self, service: &ServiceName, port: u16) -> Arc<PortLive> {
        reuse(&mut self.tables().ports, (service.clone(), port), || {
            PortLive::new(Labels::new(&self.series, (service, port), "none"))
        })
    }

    /// The facts of a service.
    pub fn service(&self, service: &ServiceName) -> Arc<ServiceLive> {
        reuse(&mut self.tables().services, service.clone(), || ServiceLive::new(Instant::now()))
    }

    /// The facts of a color on a port.
    pub fn color(&self, service: &ServiceName, port: u16, color: &ColorName) -> Arc<ColorLive> {
        let mut tables = self.tables();
        let places = reuse(&mut tables.places, (service.clone(), color.clone()), Places::default);
        reuse(&mut tables.colors, (service.clone(), port, color.clone()), || {
            ColorLive::new(Labels::new(&self.series, (service, port), color.as_str()), places)
        })
    }

    /// The facts of an endpoint.
    pub fn endpoint(&self, color: (&ServiceName, u16, &ColorName), address: SocketAddr) -> Arc<EndpointLive> {
        let key = (color.0.clone(), color.1, color.2.clone(), address);
        reuse(&mut self.tables().endpoints, key, || EndpointLive {
            address,
            open: OpenConnections::default(),
            drain: DrainCell::default(),
            places: Places::default(),
            source_turns: AtomicU32::new(0),
            health: HealthCell::default(),
            outlier: OutlierCell::default(),
            ports: PortCell::default(),
            slow_start: SlowStartCell::default(),
        })
    }

    /// Every endpoint that a snapshot or an open connection still points to.
    pub fn endpoints(&self) -> Vec<LivingEndpoint> {
        let tables = self.tables();
        let living = tables.endpoints.iter().filter_map(|((service, port, color, _), live)| {
            let live = live.upgrade()?;
            Some(LivingEndpoint { service: service.clone(), port: *port, color: color.clone(), live })
        });
        living.collect()
    }

    /// Removes the series of ports and colors that nobody points to any more, and forgets them.
    pub fn sweep(&self) {
        let mut tables = self.tables();
        tables.endpoints.retain(|_, live| live.strong_count() > 0);
        tables.services.retain(|_, live| live.strong_count() > 0);
        tables.places.retain(|_, places| places.strong_count() > 0);
        let mut gone = Vec::new();
        tables.colors.retain(|(service, port, color), live| {
            let lives = live.strong_count() > 0;
            if !lives {
                gone.push((service.clone(), *port, color.clone()));
            }
            lives
        });
        for (service, port, color) in gone {
            let port = port.to_string();
            for label in ["color", "from", "to"] {
                let labels =
                    [("service", service.as_str()), ("port", port.as_str()), (label, color.as_str())];
                self.series.remove(&labels);
            }
            if !tables.colors.keys().any(|(other, _, name)| *other == service && *name == color) {
                self.series.remove(&[("service", service.as_str()), ("color", color.as_str())]);
            }
        }
        tables.ports.retain(|(service, port), live| {
            let port = port.to_string();
            live.strong_count() > 0 || {
                self.series.remove(&[("service", service.as_str()), ("port", &port), ("color", "none")]);
                false
            }
        });
    }
}

fn reuse<K: Eq + std::hash::Hash, V>(
    table: &mut HashMap<K, Weak<V>>,
    key: K,
    make: impl FnOnce() -> V,
) -> Arc<V> {
    let slot = table.entry(key).or_default();
    slot.upgrade().unwrap_or_else(|| {
        let fresh = Arc::new(make());
        *slot = Arc::downgrade(&fresh);
        fresh
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ErrorReason;

    fn rendered(live: &Live) -> String {
        let mut text = String::new();
        live.series().render(&mut text);
        text
    }

    #[test]
    fn series_leave_with_the_last_one_who_points_to_them() {
        let live = Live::default();
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let first = live.color(&service, 80, &color);
        let second = live.color(&service, 81, &color);
        let port = live.port(&service, 80);
        port.errors(ErrorReason::NoWeight);
        live.series().set_gauge(
            crate::telemetry::names::COLOR_WEIGHT,
            &[("service", "a"), ("color", "blue")],
            1.0,
        );
        let kept = Arc::clone(&first);
        drop((first, port));
        live.sweep();
        assert!(rendered(&live).contains(r#"port="80",color="blue""#), "somebody still points to it");
        assert!(!rendered(&live).contains(r#"color="none""#));
        drop(kept);
        live.sweep();
        assert!(!rendered(&live).contains(r#"port="80""#));
        assert!(rendered(&live).contains("teal_color_weight{"), "the color lives on another port");
        drop(second);
        live.sweep();
        assert!(!rendered(&live).contains(r#"service="a""#));
    }

    #[test]
    fn an_identity_that_comes_back_while_somebody_points_to_it_is_the_same() {
        let live = Live::default();
        let (service, color) = (ServiceName::parse("a").unwrap(), ColorName::parse("blue").unwrap());
        let address = "127.0.0.1:80".parse().unwrap();
        let first = live.endpoint((&service, 80, &color), address);
        assert!(Arc::ptr_eq(&first, &live.endpoint((&service, 80, &color), address)));
        assert_eq!(live.endpoints().len(), 1);
        drop(first);
        assert!(live.endpoints().is_empty());
    }
}
