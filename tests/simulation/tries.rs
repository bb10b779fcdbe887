//! Promises 2, 5, 6 and 8 for one connection: judges whom it tries, and when it gives up.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use teal::model::{ColorName, LaneMode, OnAllDown, OnColorDown};
use teal::proxy::attempt::Order;
use teal::state::Why;

use crate::oracle::{Busy, ServiceOracle, Standing, Trust};

/// A try, as the proxy decided it.
#[derive(Debug)]
pub struct Tried {
    pub color: ColorName,
    pub address: SocketAddr,
    pub why: Why,
    pub order: Order,
}

/// What a connection has met.
#[derive(Debug)]
pub struct TripOracle {
    port: u16,
    preview: bool,
    /// What the app says of lanes, while the connection is in one.
    pub lane: Option<LaneMode>,
    chosen: ColorName,
    /// The color that is being tried, and whether it is the fallback.
    current: ColorName,
    is_fallback: bool,
    retries_left: u32,
    tried: Vec<(ColorName, SocketAddr)>,
    /// Whether it left its lane while all weights were 0, so that nobody could be chosen.
    is_refused: bool,
    /// Colors that it was at as fallbacks only; a reload may have changed which one is the fallback.
    fallbacks: BTreeSet<ColorName>,
    /// How many of them were in a lane that the connection has left for another color.
    in_lane: usize,
    unanswered: Vec<(ColorName, SocketAddr)>,
    /// Colors that had nobody to try when others were tried.
    passed: BTreeSet<ColorName>,
    trust: Trust,
}

type Now<'a> = (&'a ServiceOracle, &'a Busy);

impl TripOracle {
    pub fn new((port, chosen): (u16, &ColorName), why: Why, mode: LaneMode, retries: u32) -> Self {
        Self {
            port,
            preview: why == Why::Preview,
            lane: (why == Why::Lane).then_some(mode),
            chosen: chosen.clone(),
            current: chosen.clone(),
            is_fallback: false,
            retries_left: retries,
            tried: Vec::new(),
            is_refused: false,
            fallbacks: BTreeSet::new(),
            in_lane: 0,
            unanswered: Vec::new(),
            passed: BTreeSet::new(),
            trust: Trust::Checks,
        }
    }

    /// The last try got no answer in time.
    pub fn unanswered(&mut self) {
        self.unanswered.extend(self.tried.last().cloned());
    }

    /// The retry budget is used up: the last try was none, and no other costs one.
    pub fn refuse_retry(&mut self) {
        self.retries_left = 0;
        self.tried.pop();
    }

    /// Tries are bounded, so a connection that nobody serves ends.
    pub fn tries(&self) -> usize {
        self.tried.len()
    }

    fn has_tried(&self, color: &ColorName) -> bool {
        self.tried.iter().any(|(tried, _)| tried == color)
    }

    fn candidates(&self, (service, busy): Now<'_>, color: &ColorName, trust: Trust) -> Vec<SocketAddr> {
        let is_tried = |address| self.tried.iter().any(|tried| *tried == (color.clone(), address));
        service.candidates((self.port, color), (busy, trust), is_tried)
    }

    /// Whether the connection has one color and no other.
    fn is_alone(&self) -> bool {
        self.preview || self.lane.is_some()
    }

    /// The connection left its lane, which leads to `lane` now, and was split to `chosen`.
    pub fn leave_lane(&mut self, now: Now<'_>, lane: Option<&ColorName>, chosen: &ColorName) {
        if lane == Some(&self.chosen) {
            let own = self.own(now);
            assert_eq!(self.lane, Some(LaneMode::Prefer), "it has its lane, and was split");
            assert!(own.is_empty(), "it was split while {own:?} are left at the end of its lane");
        }
        self.is_refused = now.0.weighted().is_empty();
        self.in_lane = if *chosen == self.chosen { 0 } else { self.tried.len() };
        (self.lane, self.trust) = (None, Trust::Checks);
        (self.chosen, self.current) = (chosen.clone(), chosen.clone());
        self.unanswered.clear();
        self.passed.clear();
    }

    /// The connection is still in its lane, which leads to `lane` now.
    pub fn stay_in_lane(&self, lane: Option<&ColorName>, is_tried: bool) {
        assert_eq!(lane, Some(&self.chosen), "promise 2: it stays in a lane that it has no more");
        let is_required = self.lane == Some(LaneMode::Require);
        assert!(is_tried || is_required, "promise 6: refused, and the split was not asked");
    }

    /// Whether somebody said that this color may have the connection although it has weight 0.
    fn may_have_zero(&self, service: &ServiceOracle, color: &ColorName, why: Why) -> bool {
        let fallback = service.color(&self.chosen).and_then(|chosen| chosen.fallback.as_ref());
        match why {
            Why::Preview => self.preview && *color == self.chosen,
            Why::Fallback => fallback == Some(color),
            Why::Lane => self.lane.is_some() && *color == self.chosen,
            Why::Weight | Why::Affinity | Why::Spill => false,
        }
    }

    /// The same for the color that is being tried.
    fn may_have_current(&self, service: &ServiceOracle) -> bool {
        let why = match (self.is_fallback, self.lane) {
            (true, _) => Why::Fallback,
            (false, Some(_)) => Why::Lane,
            (false, None) => Why::Preview,
        };
        self.may_have_zero(service, &self.current, why)
    }

    /// Judges a try.
    pub fn judge(&mut self, now: Now<'_>, next: &Tried) {
        assert!(!self.is_refused, "promise 2: {next:?} although all weights are 0");
        let (service, busy) = now;
        let zero = service.weight(&next.color) == 0;
        assert!(
            !zero || self.may_have_zero(service, &next.color, next.why),
            "promise 2: {next:?} reaches a color of weight 0"
        );
        assert!(!self.is_alone() || next.color == self.chosen, "a preview name or a lane leads to {next:?}");
        assert_eq!(next.why == Why::Lane, self.lane.is_some(), "{next:?}");
        let key = (self.port, next.color.clone(), next.address);
        assert!(service.facts.contains_key(&key), "promise 6: {next:?} is not in the current snapshot");
        let is_disabled = service.disabled.contains(&(next.color.clone(), next.address));
        assert!(!is_disabled, "{next:?} is disabled");
        let has_room = service.has_room(&next.color, busy) && service.endpoint_has_room(&key, busy);
        assert!(has_room, "promise 15: {next:?} is at its limit");
        let pair = (next.color.clone(), next.address);
        if self.tried.contains(&pair) {
            self.judge_again(now, next);
        } else {
            self.judge_health(now, next);
            self.judge_move(now, next);
        }
        self.judge_order(next);
        self.pass(now);
        if next.why == Why::Fallback {
            self.fallbacks.insert(next.color.clone());
        } else {
            self.fallbacks.remove(&next.color);
        }
        self.tried.push(pair);
    }

    /// Once more at an endpoint that was tried: only where it did not answer and nobody else is left.
    fn judge_again(&mut self, now: Now<'_>, next: &Tried) {
        let left = self.left(now);
        assert!(left.is_empty(), "promise 6: {next:?} twice while {left:?} are left");
        self.passed.extend(now.0.weighted());
        let pair = (next.color.clone(), next.address);
        let place = self.unanswered.iter().position(|unanswered| *unanswered == pair);
        self.unanswered.remove(place.unwrap_or_else(|| panic!("promise 6: {next:?} twice after a refusal")));
    }

    fn judge_health(&mut self, now: Now<'_>, next: &Tried) {
        let best = self.candidates(now, &next.color, Trust::Checks);
        if !best.is_empty() {
            assert!(best.contains(&next.address), "promise 5: {next:?} while {best:?} are better");
            return;
        }
        let standing = now.0.standing(&(self.port, next.color.clone(), next.address));
        assert!(standing >= Standing::Ejected, "{next:?} could be used, and the oracle did not see it");
        if self.trust == Trust::Checks {
            assert!(self.may_try_all(now.0), "promise 5: {next:?} is {standing:?}, and others work");
            self.trust = Trust::Nobody;
            self.current = self.chosen.clone();
            self.is_fallback = false;
            self.passed.clear();
        }
        let best = self.candidates(now, &next.color, Trust::Nobody);
        assert!(best.contains(&next.address), "promise 5: {next:?} while {best:?} are better");
    }

    /// Whether everything that could serve the connection is down, and nothing of it was tried.
    fn may_try_all(&self, service: &ServiceOracle) -> bool {
        let is_first = self.tried[self.in_lane..].iter().all(|(color, _)| self.fallbacks.contains(color));
        let is_all_down = if self.lane == Some(LaneMode::Prefer) {
            false
        } else if self.is_alone() {
            service.config.policy.on_all_down == OnAllDown::Try && service.is_down(self.port, &self.chosen)
        } else {
            service.tries_all(self.port)
        };
        is_first && is_all_down
    }

    /// Another color than before: only where that one has nobody left.
    fn judge_move(&mut self, now: Now<'_>, next: &Tried) {
        if next.color == self.current {
            return;
        }
        let own = self.own(now);
        assert!(own.is_empty(), "promise 6: {next:?} while {own:?} are left in {}", self.current);
        let weighted = now.0.weighted().into_iter();
        let heavier: Vec<_> = match next.why {
            Why::Fallback => weighted.filter(|color| *color != next.color).collect(),
            Why::Spill => weighted.take_while(|color| *color != next.color).collect(),
            // Its own color once more: there was nobody to try when it came.
            Why::Weight | Why::Affinity | Why::Preview | Why::Lane => Vec::new(),
        };
        let (is_spill, is_fallback) = (next.why == Why::Spill, next.why == Why::Fallback);
        assert_eq!(next.color != self.chosen, is_spill || is_fallback, "promise 6: {next:?}");
        assert!(!is_spill || self.may_spill(now.0), "{next:?} although on_color_down = \"reject\"");
        for color in heavier.iter().filter(|color| !self.passed.contains(*color) && !self.has_tried(color)) {
            // Who may not be spilled to only counts where it works.
            let trust = if self.may_spill(now.0) { self.trust } else { Trust::Checks };
            let better = self.candidates(now, color, trust);
            assert!(better.is_empty(), "promise 6: {next:?} while {color} has {better:?}");
        }
        self.current = next.color.clone();
        self.is_fallback = is_fallback;
    }

    fn judge_order(&mut self, next: &Tried) {
        let order = match self.tried.len() {
            0 => Order::First,
            _ if self.tried.contains(&(next.color.clone(), next.address)) => Order::Again,
            _ if self.has_tried(&next.color) => Order::Retry,
            _ => Order::NextColor,
        };
        assert_eq!(next.order, order, "{next:?}");
        if matches!(order, Order::Retry | Order::Again) {
            assert!(self.retries_left > 0, "more retries than allowed: {next:?}");
            self.retries_left -= 1;
        }
    }

    fn pass(&mut self, now: Now<'_>) {
        let weighted = now.0.weighted().into_iter();
        let without: Vec<_> =
            weighted.filter(|color| self.candidates(now, color, self.trust).is_empty()).collect();
        self.passed.extend(without);
    }

    /// Judges that nobody is tried any more.
    pub fn judge_end(&self, now: Now<'_>) {
        if self.is_refused {
            return;
        }
        let left = self.left(now);
        assert!(left.is_empty(), "promise 6: refused while {left:?} are left");
        let (service, busy) = now;
        let again = self.unanswered.iter().filter(|(color, address)| {
            let key = (self.port, color.clone(), *address);
            let may = service.weight(color) > 0 || *color == self.current && self.may_have_current(service);
            may && service.facts.contains_key(&key)
                && !service.disabled.contains(&(color.clone(), *address))
                && (self.trust == Trust::Nobody || service.standing(&key) < Standing::Down)
                && service.has_room(color, busy)
                && service.endpoint_has_room(&key, busy)
        });
        let again: Vec<_> = again.filter(|_| self.retries_left > 0).collect();
        assert!(again.is_empty(), "promise 6: refused while {again:?} may answer now");
    }

    fn may_spill(&self, service: &ServiceOracle) -> bool {
        service.config.policy.on_color_down == OnColorDown::Spill || service.weight(&self.chosen) == 0
    }

    /// Who is left in the color that is being tried.
    fn own(&self, now: Now<'_>) -> Vec<SocketAddr> {
        let may_enter = now.0.weight(&self.current) > 0 || self.may_have_current(now.0);
        let may_retry = self.retries_left > 0 || !self.has_tried(&self.current);
        if may_enter && may_retry { self.candidates(now, &self.current, self.trust) } else { Vec::new() }
    }

    /// Who is left to try, and would be tried under promise 6.
    fn left(&self, now: Now<'_>) -> Vec<SocketAddr> {
        let own = self.own(now);
        if !own.is_empty() {
            return own;
        }
        let service = now.0;
        let all_down = self.trust == Trust::Checks && self.may_try_all(service);
        if self.is_alone() {
            return if all_down { self.candidates(now, &self.chosen, Trust::Nobody) } else { Vec::new() };
        }
        let untried: Vec<_> = service.weighted().into_iter().filter(|color| !self.has_tried(color)).collect();
        let of = |trust| untried.iter().flat_map(|color| self.candidates(now, color, trust)).collect();
        let others: Vec<_> = of(self.trust);
        if !others.is_empty() {
            return if self.may_spill(service) { others } else { Vec::new() };
        }
        let fallback = service.color(&self.chosen).and_then(|chosen| chosen.fallback.clone());
        let fallback = fallback.filter(|fallback| !self.has_tried(fallback));
        let fallback = fallback.map_or(Vec::new(), |color| self.candidates(now, &color, self.trust));
        match (fallback.is_empty() && all_down, self.may_spill(service)) {
            (false, _) => fallback,
            (true, true) => of(Trust::Nobody),
            (true, false) => self.candidates(now, &self.chosen, Trust::Nobody),
        }
    }
}
