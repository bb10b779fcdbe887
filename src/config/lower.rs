//! From a draft without errors to the catalog.

use std::sync::Arc;

use super::draft::{AppDraft, ColorDraft, Draft, ServiceDraft};
use super::policy::default_policy;
use crate::model::{App, Catalog, Color, LaneMode, Policy, Service, Weight};

/// The catalog that a draft without errors says.
pub(super) fn catalog(draft: Draft, hash: String) -> Catalog {
    let defaults = draft.defaults.over(&default_policy());
    let services = draft.services.into_iter().map(|draft| service(draft, &defaults));
    Catalog {
        settings: draft.settings.settings,
        services: services.map(|service| (service.name.clone(), Arc::new(service))).collect(),
        apps: draft.apps.into_iter().map(|draft| (draft.name.value.clone(), app(draft))).collect(),
        hash,
    }
}

fn service(draft: ServiceDraft, defaults: &Policy) -> Service {
    let mut colors: Vec<Color> = draft.colors.into_iter().map(color).collect();
    colors.sort_by(|a, b| a.name.cmp(&b.name));
    Service {
        name: draft.name.value,
        vip: draft.vip.map(|vip| vip.value),
        ports: draft.ports.into_iter().map(|port| port.port).collect(),
        colors,
        depends_on: draft.depends_on.into_iter().map(|name| name.value).collect(),
        restrict_callers: draft.restrict_callers.is_some_and(|restrict| restrict.value),
        policy: draft.policy.over(defaults),
    }
}

fn color(draft: ColorDraft) -> Color {
    Color {
        name: draft.name.value,
        // A missing weight is an error, so this never decides anything; zero is the safe side.
        weight: draft.weight.unwrap_or(Weight::ZERO),
        endpoints: draft.endpoints.into_iter().map(|endpoint| endpoint.value).collect(),
        fallback: draft.fallback.map(|name| name.value),
        max_connections: draft.max_connections,
        proxy_protocol: draft.proxy_protocol,
    }
}

fn app(draft: AppDraft) -> App {
    App {
        services: draft.services.into_iter().map(|name| name.value).collect(),
        lanes: draft.lanes.map_or(LaneMode::Off, |lanes| lanes.value),
    }
}
