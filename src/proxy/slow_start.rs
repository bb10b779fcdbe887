//! Slow start in a pick: an endpoint that is back only for a while passes some of its turns on.
//!
//! Shares count relative to the largest one among those that come into question, so somebody keeps every turn,
//! and a color in which all have just come is as if it had no slow start.

use std::net::IpAddr;

use crate::balance::Share;
use crate::model::Balance;
use crate::state::ColorState;

/// Draws by least connections until somebody keeps the turn; after that it goes to one with the largest share.
const DRAWS_MAX: usize = 32;

/// Whether an endpoint keeps all of its turns anyway: then nothing else is looked at.
pub fn has_full_share(color: &ColorState, index: usize) -> bool {
    !color.slow_start || share(color, index).is_full()
}

/// A turn that its endpoint keeps, and that endpoint, for a connection from `client`. `turn` was taken already;
/// `drawn` is whose it is, where that one is `wanted`. `None` for an endpoint when nobody is.
pub fn take_turn(
    (color, client): (&ColorState, IpAddr),
    (mut turn, drawn): (u64, Option<usize>),
    wanted: impl Fn(usize) -> bool,
    open: impl Fn(usize) -> u32,
) -> (u64, Option<usize>) {
    let (pick, places) = (&color.pick, &color.live.picks);
    let shares = Shares::among(color, &wanted);
    match pick.balance() {
        Balance::RoundRobin => {
            if !drawn.is_some_and(|index| shares.keeps_turn(index)) {
                let keeps = |index: usize| wanted(index) && shares.keeps_turn(index);
                turn = pick.take_wanted(places, client, keeps);
            }
            (turn, pick.endpoint(turn, |index| !wanted(index), open))
        }
        Balance::LeastConnections => {
            let draw = |turn| pick.endpoint(turn, |index| !wanted(index), &open);
            let mut index = drawn.or_else(|| draw(turn));
            for _ in 0..DRAWS_MAX {
                if index.is_none_or(|index| shares.keeps_turn(index)) {
                    return (turn, index);
                }
                turn = pick.take(places, client);
                index = draw(turn);
            }
            (turn, pick.endpoint(turn, |index| !wanted(index) || !shares.is_largest(index), &open))
        }
        // What was taken is the client's hash, in every turn.
        Balance::SourceHash => {
            (turn, pick.endpoint(turn, |index| !wanted(index) || !shares.keeps_client(index, turn), open))
        }
    }
}

/// The shares of the endpoints that come into question.
struct Shares<'a> {
    color: &'a ColorState,
    most: Share,
}

impl<'a> Shares<'a> {
    fn among(color: &'a ColorState, wanted: impl Fn(usize) -> bool) -> Self {
        let all = (0..color.endpoints.len()).filter(|index| wanted(*index));
        let most = all.map(|index| share(color, index)).max().unwrap_or(Share::FULL);
        Self { color, most }
    }

    fn relative(&self, index: usize) -> Share {
        share(self.color, index).relative_to(self.most)
    }

    fn is_largest(&self, index: usize) -> bool {
        self.relative(index).is_full()
    }

    /// To be asked once for each turn.
    fn keeps_turn(&self, index: usize) -> bool {
        let share = self.relative(index);
        share.is_full() || self.color.endpoints[index].live.slow_start.share.keeps_turn(share)
    }

    fn keeps_client(&self, index: usize, client: u64) -> bool {
        self.relative(index).keeps_client(client)
    }
}

fn share(color: &ColorState, index: usize) -> Share {
    color.endpoints[index].live.slow_start.share.get()
}

#[cfg(test)]
#[path = "slow_start_tests.rs"]
mod tests;
