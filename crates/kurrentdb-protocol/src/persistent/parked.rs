//! A group's parked messages: which stand in their stream, which are being replayed, and from where on they may be kept.

use super::GroupError;
use event_store::Revision;
use tokio::sync::oneshot;

/// Told when what was asked is safe.
type Answer = oneshot::Sender<Result<(), GroupError>>;

/// The state of a group's stream of parked messages.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// Where the next message will stand.
    end: Revision,
    /// Those before were replayed or truncated: they are not counted, and not replayed again.
    floor: Revision,
    /// Those before cannot be read any more.
    gone: Revision,
    /// Those before were given up, settled or not.
    given_up: Revision,
    replay: Option<Revision>,
    truncations: Vec<(Revision, Answer)>,
}

impl Parked {
    /// With these readable: from the first one up to the end.
    pub(crate) fn new(first: Revision, end: Revision) -> Self {
        Self { end, floor: first, gone: first, given_up: first, replay: None, truncations: Vec::new() }
    }

    /// How many are parked.
    pub(crate) const fn count(&self) -> u64 {
        self.end.saturating_sub(self.floor)
    }

    /// So many more were written, the last at this revision. Where nothing was left their stream may have been deleted, and
    /// its revisions gone on.
    pub(crate) fn written(&mut self, last: Revision, several: u64) {
        let end = last.saturating_add(1);
        let first = end.saturating_sub(several).max(self.end);
        if self.floor == self.end && first > self.end {
            if self.gone == self.floor {
                self.gone = first;
            }
            self.floor = first;
        }
        self.end = self.end.max(end);
    }

    /// Begins to replay those that stand there now, before `stop_at`.
    ///
    /// # Errors
    /// [`GroupError::Failed`] if a replay is under way.
    pub(crate) fn replay(&mut self, stop_at: Option<Revision>) -> Result<(), GroupError> {
        self.check_idle()?;
        let end = stop_at.unwrap_or(Revision::MAX).min(self.end);
        self.replay = (end > self.floor).then_some(end);
        Ok(())
    }

    /// Gives up those that stand there now, before `stop_at`, and answers when that is safe.
    pub(crate) fn truncate(&mut self, stop_at: Option<Revision>, answer: Answer) {
        let end = stop_at.unwrap_or(Revision::MAX).min(self.end);
        // Nobody to hear it: it is done all the same.
        if let Err(error) = self.check_idle() {
            let _ = answer.send(Err(error));
        } else if end <= self.gone {
            let _ = answer.send(Ok(()));
        } else {
            self.floor = self.floor.max(end);
            self.given_up = self.given_up.max(end);
            self.truncations.push((end, answer));
        }
    }

    fn check_idle(&self) -> Result<(), GroupError> {
        match self.replay {
            None => Ok(()),
            Some(_) => Err(GroupError::Failed("A replay or truncate is already in progress.".into())),
        }
    }

    /// Whether a replay is under way.
    pub(crate) const fn is_replaying(&self) -> bool {
        self.replay.is_some()
    }

    /// Which ones to read next for a replay: from here, so many.
    pub(crate) fn to_read(&self, room: usize) -> Option<(Revision, usize)> {
        let left = usize::try_from(self.replay?.saturating_sub(self.floor)).unwrap_or(usize::MAX);
        (room > 0).then(|| (self.floor, left.min(room)))
    }

    /// Where the replay ends; messages from there on are not part of it.
    pub(crate) fn replay_end(&self) -> Revision {
        self.replay.unwrap_or(self.floor)
    }

    /// Those before `next` were read for the replay; nothing if there are no more to read.
    pub(crate) fn read(&mut self, next: Option<Revision>) {
        let Some(end) = self.replay else { return };
        self.floor = next.unwrap_or(end).clamp(self.floor, end);
        if self.floor >= end {
            self.replay = None;
        }
    }

    /// Before which revision to truncate now, if before another than last time. A replayed message is kept until it is
    /// settled: `first_replayed` is the first that is not.
    pub(crate) fn to_truncate(&self, first_replayed: Option<Revision>) -> Option<Revision> {
        let kept = first_replayed.unwrap_or(Revision::MAX).min(self.floor).max(self.given_up);
        (kept > self.gone).then_some(kept)
    }

    /// What became of truncating before this revision.
    pub(crate) fn truncated(&mut self, before: Revision, result: Result<(), GroupError>) {
        if result.is_ok() {
            self.gone = self.gone.max(before);
        }
        let told = |(end, _): &mut (Revision, Answer)| *end <= before;
        for (_, answer) in self.truncations.extract_if(.., told) {
            // Whoever asked may be gone.
            let _ = answer.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replayed_message_is_kept_until_it_is_settled() {
        let mut parked = Parked::new(2, 5);
        assert_eq!(parked.count(), 3);
        parked.replay(None).unwrap();
        assert!(parked.replay(None).is_err(), "one is under way");
        parked.written(5, 1);
        assert_eq!(parked.to_read(2), Some((2, 2)));
        assert_eq!(parked.to_read(0), None);
        parked.read(Some(4));
        assert_eq!((parked.count(), parked.is_replaying()), (2, true));
        assert_eq!(parked.to_read(9), Some((4, 1)), "what is parked meanwhile is not replayed");
        parked.read(None);
        assert_eq!((parked.count(), parked.is_replaying()), (1, false));
        assert_eq!(parked.to_truncate(Some(2)), None);
        assert_eq!(parked.to_truncate(Some(4)), Some(4));
        parked.truncated(4, Ok(()));
        assert_eq!(parked.to_truncate(Some(4)), None);
        assert_eq!(parked.to_truncate(None), Some(5));
    }

    #[test]
    fn what_comes_after_a_deleted_stream_is_counted_from_there() {
        let mut parked = Parked::new(0, 0);
        parked.written(6, 2);
        assert_eq!((parked.count(), parked.to_truncate(None)), (2, None));
        parked.replay(None).unwrap();
        assert_eq!(parked.to_read(10), Some((5, 2)));
    }

    #[test]
    fn truncating_is_answered_when_it_is_safe() {
        let mut parked = Parked::new(0, 5);
        let (answer, mut answered) = oneshot::channel();
        parked.truncate(Some(3), answer);
        assert_eq!((parked.count(), parked.to_truncate(Some(1))), (2, Some(3)));
        assert!(answered.try_recv().is_err());
        parked.truncated(3, Ok(()));
        assert_eq!(answered.try_recv(), Ok(Ok(())));
        let (answer, mut answered) = oneshot::channel();
        parked.truncate(Some(3), answer);
        assert_eq!(answered.try_recv(), Ok(Ok(())), "there is nothing to do");
    }
}
