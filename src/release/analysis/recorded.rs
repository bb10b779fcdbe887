//! Recorded looks: one line of JSON each, so that a verdict can be explained and a release replayed later.

use serde::{Deserialize, Serialize};

use super::{MemberFacts, Sample, StageFacts, Verdict, judge};
use crate::model::release::Judgement;
use crate::state::release::ReleaseId;

/// Bytes that a line may have.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Lines that are replayed.
pub const LINES_MAX: usize = 100_000;

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Of which release.
    pub release: ReleaseId,
    /// Index of the stage.
    pub stage: usize,
    /// What was looked for.
    pub judgement: Judgement,
    /// What was seen.
    pub facts: StageFacts,
}

/// A line that cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct DamagedLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

/// A recorded look with its verdict.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// When, in seconds since 1970.
    pub time: u64,
    /// Of which release.
    pub release: ReleaseId,
    /// Index of the stage.
    pub stage: usize,
    /// What follows from it.
    pub verdict: Verdict,
}

impl Recorded {
    /// As a line, with its end.
    ///
    /// # Errors
    /// It would be longer than [`LINE_BYTES_MAX`]: too many members.
    pub fn to_line(&self) -> Result<String, String> {
        let mut line = serde_json::to_string(self).map_err(|error| error.to_string())?;
        line.push('\n');
        match line.len() {
            length if length > LINE_BYTES_MAX => Err(too_long(length)),
            _ => Ok(line),
        }
    }

    /// From a line, with or without its end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_line(line: &str) -> Result<Self, String> {
        if line.len() > LINE_BYTES_MAX {
            return Err(too_long(line.len()));
        }
        let recorded: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let is_sound = |member: &MemberFacts| {
            let before = member.before.as_ref().is_none_or(Sample::is_sound);
            before && member.old.is_sound() && member.new.is_sound()
        };
        if recorded.facts.members.iter().all(is_sound) {
            Ok(recorded)
        } else {
            Err("its times have other buckets than those of this version of teal".to_owned())
        }
    }
}

fn too_long(length: usize) -> String {
    format!("it has {length} bytes, {LINE_BYTES_MAX} at most are allowed")
}

/// Judges recorded looks anew, with their own settings or other ones. Empty lines are passed over; damaged ones
/// are named and the others go on.
pub fn replay<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    settings: Option<&Judgement>,
) -> Vec<Result<Replayed, DamagedLine>> {
    let mut replayed = Vec::new();
    for (number, text) in (1..).zip(lines) {
        if number > LINES_MAX {
            let why = format!("there are more than {LINES_MAX} lines, the rest is left out");
            replayed.push(Err(DamagedLine { line: number, why }));
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let outcome = Recorded::from_line(text).map_err(|why| DamagedLine { line: number, why });
        replayed.push(outcome.map(|recorded| {
            let verdict = judge(settings.unwrap_or(&recorded.judgement), &recorded.facts);
            Replayed { time: recorded.time, release: recorded.release, stage: recorded.stage, verdict }
        }));
    }
    replayed
}

#[cfg(test)]
mod tests {
    use super::super::tests::{judgement, stage, works};
    use super::super::{FirstBytes, VerdictKind};
    use super::*;

    fn recorded(new: Sample) -> Recorded {
        let facts = stage(50, vec![(new, works(1000))]);
        Recorded {
            time: 1_795_000_000,
            release: ReleaseId("shop-1".to_owned()),
            stage: 1,
            judgement: judgement(),
            facts,
        }
    }

    #[test]
    fn a_look_comes_back_from_its_line_and_is_judged_the_same() {
        let good = recorded(works(1000));
        let bad = recorded(Sample { failed: 900, ..works(1000) });
        let text = good.to_line().unwrap() + "\n" + &bad.to_line().unwrap();
        assert_eq!(Recorded::from_line(text.lines().next().unwrap()).unwrap(), good);
        let replayed = replay(text.lines(), None);
        let verdicts: Vec<_> = replayed.iter().map(|line| line.as_ref().unwrap().verdict.clone()).collect();
        assert_eq!(verdicts, [judge(&judgement(), &good.facts), judge(&judgement(), &bad.facts)]);
        assert_eq!((verdicts[0].kind, verdicts[1].kind), (VerdictKind::Pass, VerdictKind::Fail));
        let off = Judgement { enabled: false, ..judgement() };
        assert!(
            replay(text.lines(), Some(&off))
                .iter()
                .all(|l| l.as_ref().unwrap().verdict.kind == VerdictKind::Pass)
        );
    }

    #[test]
    fn damaged_lines_are_named_and_the_others_replayed() {
        let line = recorded(works(1000)).to_line().unwrap();
        let mut other_buckets = recorded(works(1000));
        other_buckets.facts.members[0].new.first_byte = FirstBytes { counts: vec![1, 2] };
        let long = " ".repeat(LINE_BYTES_MAX) + "x";
        let lines = [&line[..line.len() / 2], &line, "{}", &other_buckets.to_line().unwrap(), "", &long];
        let outcomes = replay(lines, None);
        let damaged: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(damaged.iter().map(|damage| damage.line).collect::<Vec<_>>(), [1, 3, 4, 6]);
        assert!(damaged[1].to_string().starts_with("line 3: missing field"), "{}", damaged[1]);
        assert_eq!(outcomes.len(), 5);
    }

    #[test]
    fn no_more_lines_than_the_bound_are_replayed() {
        let outcomes = replay(std::iter::repeat_n("x", LINES_MAX + 5), None);
        assert_eq!(outcomes.len(), LINES_MAX + 1);
        assert!(outcomes[LINES_MAX].as_ref().unwrap_err().why.contains("more than"));
    }
}
