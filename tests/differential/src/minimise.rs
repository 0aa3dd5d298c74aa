//! Cuts a diverging sequence down: steps, then operations of bursts, then operations of multis and lists of paths (delta debugging).
//!
//! Each attempt runs on a fresh root with fresh sessions. What is left diverges still, though maybe at another place.

use crate::sequence::{Field, Op, Sequence, Step};
use std::time::{Duration, Instant};

/// Minimising ends after that.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The smallest sequence found for which `diverges` holds; it must hold for `sequence`.
pub fn minimise(sequence: &Sequence, mut diverges: impl FnMut(&Sequence) -> bool) -> Sequence {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut best = sequence.clone();
    loop {
        let before = best.clone();
        best.steps = shrink(&best.steps, deadline, |steps| diverges(&Sequence { steps: steps.to_vec() }));
        for number in 0..best.steps.len() {
            minimise_burst(&mut best, number, deadline, &mut diverges);
        }
        if best == before || Instant::now() > deadline {
            return best;
        }
    }
}

/// Cuts the operations of one step down, if it is a burst.
fn minimise_burst(best: &mut Sequence, number: usize, deadline: Instant, diverges: &mut impl FnMut(&Sequence) -> bool) {
    let Step::Burst { conn, ops } = best.steps[number].clone() else { return };
    let mut holds = |ops: &[Op]| {
        let mut attempt = best.clone();
        attempt.steps[number] = Step::Burst { conn, ops: ops.to_vec() };
        diverges(&attempt)
    };
    let mut ops = shrink(&ops, deadline, |ops| !ops.is_empty() && holds(ops));
    for place in 0..ops.len() {
        let least = minimise_op(&ops[place], deadline, |op| {
            let mut attempt = ops.clone();
            attempt[place] = op.clone();
            holds(&attempt)
        });
        ops[place] = least;
    }
    best.steps[number] = Step::Burst { conn, ops };
}

/// Cuts a multi's operations and lists of paths down.
fn minimise_op(op: &Op, deadline: Instant, mut holds: impl FnMut(&Op) -> bool) -> Op {
    let mut best = op.clone();
    let with = |best: &Op, body: &[Field]| Op { body: body.to_vec(), ..best.clone() };
    if is_multi(&best.body) {
        let body = shrink(&best.body, deadline, |body| is_multi(body) && holds(&with(&best, body)));
        best.body = body;
    }
    for place in 0..best.body.len() {
        let Field::Paths(Some(paths)) = best.body[place].clone() else { continue };
        let with = |best: &Op, paths: &[Option<String>]| {
            let mut op = best.clone();
            op.body[place] = Field::Paths(Some(paths.to_vec()));
            op
        };
        let paths = shrink(&paths, deadline, |paths| holds(&with(&best, paths)));
        best = with(&best, &paths);
    }
    best
}

fn is_multi(body: &[Field]) -> bool {
    body.iter().any(|field| matches!(field, Field::Sub(..))) && body.last() == Some(&Field::End)
}

/// Drops pieces, large ones first, as long as `holds` says yes to what is left.
fn shrink<T: Clone>(items: &[T], deadline: Instant, mut holds: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut best = items.to_vec();
    let mut piece = best.len().div_ceil(2);
    while piece > 0 {
        let mut end = best.len();
        // From the end: what comes after the difference goes at once.
        while end > 0 {
            let start = end.saturating_sub(piece);
            let mut left = best[..start].to_vec();
            left.extend_from_slice(&best[end..]);
            if left.len() < best.len() && Instant::now() < deadline && holds(&left) {
                best = left;
            }
            end = start;
        }
        piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::OpCode;

    #[test]
    fn what_is_not_needed_goes() {
        let op = |path: &str| Op::new(OpCode::Delete, vec![Field::Path(Some(path.to_owned())), Field::Int(-1)]);
        let sub = |path: &str| Field::Sub(2, vec![Field::Path(Some(path.to_owned()))]);
        let multi = Op::new(OpCode::Multi, vec![sub("/x"), sub("/bad"), sub("/y"), Field::End]);
        let mut steps: Vec<Step> = (0..30).map(|conn| Step::Drop { conn }).collect();
        let paths = Field::Paths(Some(["/c", "/needed"].map(|path| Some(path.to_owned())).into()));
        let watches = Op::new(OpCode::SetWatches, vec![paths]);
        steps.insert(11, Step::Burst { conn: 1, ops: vec![op("/a"), multi, op("/b"), watches] });
        let mut runs = 0;
        let least = minimise(&Sequence { steps }, |sequence| {
            runs += 1;
            let text = sequence.to_text();
            text.contains("/bad") && text.contains("/needed") && sequence.steps.contains(&Step::Drop { conn: 20 })
        });
        let multi = Op::new(OpCode::Multi, vec![sub("/bad"), Field::End]);
        let watches = Op::new(OpCode::SetWatches, vec![Field::Paths(Some(vec![Some("/needed".to_owned())]))]);
        let expected = vec![Step::Burst { conn: 1, ops: vec![multi, watches] }, Step::Drop { conn: 20 }];
        assert_eq!(least.steps, expected);
        assert!(runs < 150, "{runs}");
    }
}
