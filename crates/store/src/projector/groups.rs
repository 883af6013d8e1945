//! Which projections may work now, by where they stand.

use std::{collections::BTreeMap, time::Instant};

use super::Projector;
use crate::{log::Position, watermarks::Progression};

/// Which tables of a projection are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    /// Those that are served.
    Served,
    /// Those that are being built beside them.
    Rebuild,
}

/// A projection, by its index, and which of its tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Member {
    pub(super) index: usize,
    pub(super) target: Target,
}

/// Members of one target that stand at one position.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) at: Position,
    pub(super) target: Target,
    pub(super) members: Vec<Member>,
}

/// The groups that may work now.
#[derive(Debug)]
pub(super) struct Groups {
    /// The served projections that are furthest: the served head follows them.
    pub(super) lead: Option<Group>,
    /// The group that is furthest behind the lead.
    pub(super) behind: Option<Group>,
    /// Where the group behind stops, and meets the next one.
    pub(super) meet: Position,
    /// The rebuild that is furthest, and what it lacks until it can be swapped in.
    rebuilt: Option<(Member, i64)>,
}

impl Groups {
    /// The rebuild that can be finished with at most one page of so many envelopes.
    pub(super) fn finishing(&self, stride: i64) -> Option<Member> {
        self.rebuilt.filter(|(_, lacking)| *lacking <= stride).map(|(member, _)| member)
    }
}

impl Projector {
    /// The groups that may work now. A projection whose served tables were built by another version is not written; one
    /// that was held back waits.
    pub(super) fn groups(&self, progression: &Progression) -> Groups {
        let mut places: BTreeMap<(Position, Target), Vec<Member>> = BTreeMap::new();
        for (index, projection) in self.projections.iter().enumerate() {
            let mark = progression.watermarks.iter().find(|mark| mark.name == projection.name());
            let Some(mark) = mark else { continue };
            let lag = progression.head.0.saturating_sub(mark.position.0);
            metrics::gauge!("xmtp_indexer_projection_lag", "projection" => projection.name())
                .set(lag as f64);
            let served = (mark.version == projection.version()).then_some(mark.position);
            let rebuild = mark
                .rebuild
                .filter(|rebuild| rebuild.version == projection.version())
                .map(|rebuild| rebuild.position);
            for (target, at) in [(Target::Served, served), (Target::Rebuild, rebuild)] {
                let Some(at) = at else { continue };
                let member = Member { index, target };
                let held = self.held_back.get(&member);
                if held.is_none_or(|held| held.until <= Instant::now()) {
                    places.entry((at, target)).or_default().push(member);
                }
            }
        }
        let mut groups: Vec<Group> = places
            .into_iter()
            .map(|((at, target), members)| Group { at, target, members })
            .collect();
        // The served head follows the most advanced projections. Without any, rebuilds continue up to the served head.
        let furthest = groups.iter().rposition(|group| group.target == Target::Served);
        let lead = furthest
            .filter(|furthest| {
                groups.get(*furthest).is_some_and(|group| group.at >= progression.served)
            })
            .map(|furthest| groups.remove(furthest));
        let goal = lead.as_ref().map_or(progression.served, |lead| lead.at);
        let rebuilt = groups
            .iter()
            .rfind(|group| group.target == Target::Rebuild)
            .and_then(|group| Some((*group.members.first()?, (goal.0 - group.at.0).max(0))));
        groups.retain(|group| group.at < goal);
        // What readers see comes before what they will see.
        let served = groups.iter().position(|group| group.target == Target::Served);
        let behind = (!groups.is_empty()).then(|| groups.remove(served.unwrap_or_default()));
        let at = behind.as_ref().map_or(goal, |group| group.at);
        let meet = groups
            .iter()
            .filter(|group| {
                group.at > at && behind.as_ref().is_some_and(|b| b.target == group.target)
            })
            .map(|group| group.at)
            .min()
            .unwrap_or(goal);
        Groups { lead, behind, meet, rebuilt }
    }
}
