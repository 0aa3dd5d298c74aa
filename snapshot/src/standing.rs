//! May this server vote with what lies in its directories (law 10)?
//!
//! Owns the decision, as a pure function of what was found ([`Evidence`]): the identity files of `dataDir` and `dataLogDir`, the control file, the log's
//! directory, and ZooKeeper's `initialize` marker with `db.autocreate`. It must never read or write a file, and never take the loss of a directory for a first start
//! of a server that has voted. What it says is made durable by the server's recovery, and the simulator's, before the server says anything to another.
//! The table of tests below would catch a mistake; `FileTxnSnapLog.restore` of 3.9.5 is where the marker comes from.
//!
//! A member whose history may be incomplete says -1 where others say their last zxid: electors do not count it, it joins a leader that others have
//! elected, and it takes that one's whole state. From then on it is whole.
//!
//! A directory that belongs to **another server** ends the start instead. A wrong `myid` is a mistake of a moment, and of several servers at once where volumes
//! are swapped: the refusal changes nothing on disk and is undone by the right number, while a history that is given up is gone, and with those of several
//! servers so is the quorum. Whoever means it removes the `identity` files, and the server takes a whole state.

use std::path::{Path, PathBuf};

use proto::{ServerId, Zxid};

use crate::{Control, Error, Identity, Result};

/// The marker of `zkServer-initialize.sh`, in `dataLogDir`: an empty server may vote.
pub const INITIALIZE: &str = "initialize";

/// What was found, before anything was changed.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Who this server is, by `myid`.
    pub me: Option<ServerId>,
    /// Is it a member of an ensemble?
    pub is_member: bool,
    /// `dataDir`.
    pub data_dir: Place,
    /// `dataLogDir`. The same as `data_dir` where they are one directory.
    pub log_dir: Place,
    /// What the control file says.
    pub control: Option<Control>,
    /// Is there a segment of the log?
    pub has_log: bool,
    /// Are there data of a ZooKeeper server that would be imported at a first start?
    pub has_import: bool,
    /// Is the `initialize` marker there?
    pub has_marker: bool,
    /// `db.autocreate`: an empty server may vote without the marker.
    pub autocreate: bool,
}

/// A directory and its identity file.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Which directory.
    pub path: PathBuf,
    /// Its identity; one that is damaged counts as absent.
    pub identity: Option<Identity>,
}

impl Place {
    /// Looks at a directory, which may be that of another server as well. A damaged identity counts as absent, and is returned to be told.
    ///
    /// # Errors
    /// That it cannot be read, or is a newer version's.
    pub fn look(path: &Path) -> Result<(Place, Option<Error>)> {
        let (identity, damage) = match Identity::load(path) {
            Err(error @ Error::Damaged { .. }) => (None, Some(error)),
            found => (found?, None),
        };
        Ok((Place { path: path.to_owned(), identity }, damage))
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// All that this server ever had is here.
    Whole,
    /// Something may be missing.
    Incomplete(Loss),
}

/// Why a history may be incomplete. The text is the first half of a warning, [`Loss::REMEDY`] the second.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// It was noted before.
    #[error("this server's history was found to be incomplete before, and it has taken no whole state since")]
    Noted,
    /// An empty server that must not vote by itself.
    #[error(
        "this server is empty, and zookeeper.db.autocreate=false: without the file {}, which zkServer-initialize.sh makes, it may be one that has lost its data",
        .0.join(INITIALIZE).display()
    )]
    NotInitialized(PathBuf),
    /// A directory was emptied or replaced.
    #[error("{} is not the directory that this server had: its file `identity` is absent, and the server has voted before", .0.display())]
    Directory(PathBuf),
    /// The control file.
    #[error("{} has no control file, and the server has voted before", .0.display())]
    Control(PathBuf),
    /// All of the log.
    #[error("{} has no log, and the server has voted before", .0.display())]
    Log(PathBuf),
    /// Its end.
    #[error("image and log reach {found}, and {known} was durable once: the newest part of the log is missing")]
    End {
        /// How far they reach.
        found: Zxid,
        /// How far they once reached.
        known: Zxid,
    },
    /// What is there does not read.
    #[error("{error}. What did not read has been moved to {}", set_aside.display())]
    Damage {
        /// File, offset and zxid.
        error: String,
        /// Where it lies now.
        set_aside: PathBuf,
    },
}

impl Loss {
    /// What happens now: the second half of the warning.
    pub const REMEDY: &'static str = "this server does not vote with what it has: it says -1 in elections, joins a leader that the others have elected, and takes its \
         whole state. Nothing needs to be done, as long as a quorum of the others is whole";
}

/// Why a server does not start at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The directory of another server.
    #[error(
        "{} belongs to server {found}, and <dataDir>/myid says that this is server {me}: bring back the right number or the right directory. If this one was \
         given to server {me} on purpose, remove the file `identity` from dataDir and dataLogDir: it then takes a whole state from its leader",
        dir.display(), found = found.0, me = me.0
    )]
    OtherServer {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: ServerId,
        /// Who this is.
        me: ServerId,
    },
    /// Directories of two ensembles.
    #[error("{} and {} belong to two ensembles: bring back the directory that belongs to the other", data_dir.display(), log_dir.display())]
    TwoEnsembles {
        /// `dataDir`.
        data_dir: PathBuf,
        /// `dataLogDir`.
        log_dir: PathBuf,
    },
    /// Standing alone, nobody can make up for a loss.
    #[error(
        "{} has lost history: {loss}. A server that stands alone cannot get it back: restore the directory. If it was moved by hand, copy the file `identity` \
         from the other data directory into it; or remove both directories if you can do without their data",
        dir.display()
    )]
    Alone {
        /// Where something is missing.
        dir: PathBuf,
        /// What.
        loss: AloneLoss,
    },
    /// A member's directory, with a part of a history.
    #[error("{} was a member's whose history is incomplete, and which has taken no whole state since: start it with its ensemble", .0.display())]
    IncompleteAlone(PathBuf),
}

/// What a server that stands alone has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AloneLoss {
    /// There is a log without the rest.
    #[error("there is a log, and neither a control file nor an `identity`")]
    DataDir,
    /// There is the rest without a log.
    #[error("there is a control file, and neither a log nor an `identity` beside it")]
    LogDir,
}

impl Evidence {
    /// Says what may be done with what was found.
    ///
    /// # Errors
    /// [`Refusal`]: the server must not start on it.
    pub fn judge(&self) -> std::result::Result<Standing, Refusal> {
        self.refuse_foreign()?;
        if self.is_member { Ok(self.of_a_member()) } else { self.alone().map(|()| Standing::Whole) }
    }

    /// May others have counted on it?
    #[must_use]
    pub fn has_voted(&self) -> bool {
        let said = |place: &Place| place.identity.is_some_and(|identity| identity.has_voted);
        said(&self.data_dir) || said(&self.log_dir) || self.control.as_ref().is_some_and(|control| control.has_voted)
    }

    /// Does anything say that a server has lived here before? Else files may be anybody's.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.control.is_some() || self.places().into_iter().any(|place| place.identity.is_some())
    }

    /// The identity that belongs into both directories.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let known = || self.places().into_iter().filter_map(|place| place.identity);
        let noted = self.control.as_ref().and_then(|control| control.ensemble_id);
        Identity {
            ensemble: known().find_map(|identity| identity.ensemble).or(noted),
            server: self.me.or_else(|| known().find_map(|identity| identity.server)),
            has_voted: self.has_voted(),
        }
    }

    fn places(&self) -> [&Place; 2] {
        [&self.data_dir, &self.log_dir]
    }

    fn refuse_foreign(&self) -> std::result::Result<(), Refusal> {
        for place in self.places() {
            let Some(Identity { server: Some(found), has_voted: true, .. }) = place.identity else { continue };
            if let Some(me) = self.me.filter(|me| *me != found) {
                return Err(Refusal::OtherServer { dir: place.path.clone(), found, me });
            }
        }
        let ensemble = |place: &Place| place.identity.and_then(|identity| identity.ensemble);
        match (ensemble(&self.data_dir), ensemble(&self.log_dir)) {
            (Some(one), Some(other)) if one != other => {
                Err(Refusal::TwoEnsembles { data_dir: self.data_dir.path.clone(), log_dir: self.log_dir.path.clone() })
            }
            _ => Ok(()),
        }
    }

    fn alone(&self) -> std::result::Result<(), Refusal> {
        let has = |place: &Place| place.identity.is_some();
        let lost = |place: &Place, loss| Err(Refusal::Alone { dir: place.path.clone(), loss });
        match &self.control {
            Some(control) if !control.is_whole => Err(Refusal::IncompleteAlone(self.data_dir.path.clone())),
            Some(_) if has(&self.data_dir) && !has(&self.log_dir) && !self.has_log => {
                lost(&self.log_dir, AloneLoss::LogDir)
            }
            None if !has(&self.data_dir) && has(&self.log_dir) && self.has_log => {
                lost(&self.data_dir, AloneLoss::DataDir)
            }
            _ => Ok(()),
        }
    }

    fn of_a_member(&self) -> Standing {
        if self.is_blank() && self.has_marker {
            return Standing::Whole;
        }
        if self.control.as_ref().is_some_and(|control| !control.is_whole) {
            return Standing::Incomplete(Loss::Noted);
        }
        if let Some(loss) = if self.has_voted() { self.voters_loss() } else { self.others_loss() } {
            return Standing::Incomplete(loss);
        }
        if self.control.is_none() && !self.autocreate && !self.has_import {
            return Standing::Incomplete(Loss::NotInitialized(self.log_dir.path.clone()));
        }
        Standing::Whole
    }

    /// Of a server that has voted everything must be there.
    fn voters_loss(&self) -> Option<Loss> {
        if let Some(place) = self.places().into_iter().find(|place| place.identity.is_none()) {
            return Some(Loss::Directory(place.path.clone()));
        }
        if self.control.is_none() {
            return Some(Loss::Control(self.data_dir.path.clone()));
        }
        (!self.has_log).then(|| Loss::Log(self.log_dir.path.clone()))
    }

    /// A server that has stood alone, or whose first start was cut short. Of one that is older than identities there is none in either place.
    fn others_loss(&self) -> Option<Loss> {
        let [data_dir, log_dir] = self.places().map(|place| place.identity.is_some());
        match &self.control {
            None if self.has_log => Some(Loss::Control(self.data_dir.path.clone())),
            Some(_) if data_dir && !log_dir && !self.has_log => Some(Loss::Log(self.log_dir.path.clone())),
            _ => None,
        }
    }

    /// Has nothing ever been here, as far as can be seen: no image, no promise, and nothing that others count on? Then the marker is the operator's word.
    fn is_blank(&self) -> bool {
        match &self.control {
            None => !self.has_voted() && !self.has_log,
            Some(control) => {
                let epochs = (control.accepted_epoch.0, control.current_epoch.0);
                let is_here = self.places().into_iter().all(|place| place.identity.is_some());
                is_here && control.image.is_none() && epochs == (0, 0) && control.history_zxid == Zxid::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageRef;
    use proto::Epoch;

    const ME: ServerId = ServerId(2);

    fn identity(has_voted: bool) -> Option<Identity> {
        Some(Identity { ensemble: None, server: Some(ME), has_voted })
    }

    /// Of a member with two directories, before its first start.
    fn nothing() -> Evidence {
        Evidence {
            me: Some(ME),
            is_member: true,
            data_dir: Place { path: "/data".into(), identity: None },
            log_dir: Place { path: "/log".into(), identity: None },
            autocreate: true,
            ..Evidence::default()
        }
    }

    /// After its first start: everything is there.
    fn voter() -> Evidence {
        let mut found = nothing();
        found.data_dir.identity = identity(true);
        found.log_dir.identity = identity(true);
        found.control = Some(Control { server_id: ME, has_voted: true, ..Control::default() });
        found.has_log = true;
        found
    }

    /// A voter that was found otherwise.
    fn voter_but(change: impl FnOnce(&mut Evidence)) -> Evidence {
        let mut found = voter();
        change(&mut found);
        found
    }

    /// A server that stands alone, after its first start.
    fn alone() -> Evidence {
        let mut found = voter_but(|found| found.is_member = false);
        found.data_dir.identity = Some(Identity::default());
        found.log_dir.identity = Some(Identity::default());
        found.control = Some(Control::default());
        found
    }

    fn loss(found: &Evidence) -> Loss {
        match found.judge() {
            Ok(Standing::Incomplete(loss)) => loss,
            other => panic!("{found:?}: {other:?}"),
        }
    }

    #[track_caller]
    fn assert_whole(found: &Evidence) {
        assert_eq!(found.judge(), Ok(Standing::Whole), "{found:?}");
    }

    #[test]
    fn at_a_first_start_autocreate_and_the_marker_decide() {
        assert_whole(&nothing());
        let forbidden = Evidence { autocreate: false, ..nothing() };
        assert_eq!(loss(&forbidden), Loss::NotInitialized("/log".into()));
        assert_whole(&Evidence { has_marker: true, ..forbidden.clone() });
        // What is imported is not nothing.
        assert_whole(&Evidence { has_import: true, ..forbidden });
    }

    #[test]
    fn the_marker_may_come_after_the_first_start_and_never_makes_up_for_a_loss() {
        let mut waits = Evidence { autocreate: false, ..voter() };
        waits.control = Some(Control { is_whole: false, has_voted: true, ..Control::default() });
        assert_eq!(loss(&waits), Loss::Noted);
        assert_whole(&Evidence { has_marker: true, ..waits.clone() });
        let promised = Control { is_whole: false, accepted_epoch: Epoch(1), ..Control::default() };
        let with_image = Control { is_whole: false, image: Some(ImageRef::at(Zxid(1))), ..Control::default() };
        let known = Control { is_whole: false, history_zxid: Zxid(1), ..Control::default() };
        for control in [promised, with_image, known] {
            let found = Evidence { has_marker: true, control: Some(control), ..waits.clone() };
            assert_eq!(loss(&found), Loss::Noted);
        }
        let lost = voter_but(|found| {
            found.has_marker = true;
            found.control = None;
        });
        assert_eq!(loss(&lost), Loss::Control("/data".into()));
        let lost = voter_but(|found| {
            found.has_marker = true;
            found.data_dir.identity = None;
            found.control = None;
            found.has_log = false;
        });
        assert_eq!(loss(&lost), Loss::Directory("/data".into()));
    }

    #[test]
    fn a_voter_with_all_that_it_had_is_whole_and_without_a_part_it_is_not() {
        assert_whole(&voter());
        assert_whole(&Evidence { autocreate: false, ..voter() });
        // The whole of a directory, or a file of it.
        let without_data_dir = voter_but(|found| (found.data_dir.identity, found.control) = (None, None));
        assert_eq!(loss(&without_data_dir), Loss::Directory("/data".into()));
        let without_log_dir = voter_but(|found| (found.log_dir.identity, found.has_log) = (None, false));
        assert_eq!(loss(&without_log_dir), Loss::Directory("/log".into()));
        assert_eq!(loss(&voter_but(|found| found.control = None)), Loss::Control("/data".into()));
        assert_eq!(loss(&voter_but(|found| found.has_log = false)), Loss::Log("/log".into()));
        // A log directory out of a backup: it has a log, and no identity, or that of a time before the vote.
        assert_eq!(loss(&voter_but(|found| found.log_dir.identity = None)), Loss::Directory("/log".into()));
        assert_whole(&voter_but(|found| found.log_dir.identity = identity(false)));
        // Both identities were removed on purpose: the control file knows.
        let removed = voter_but(|found| (found.data_dir.identity, found.log_dir.identity) = (None, None));
        assert_eq!(loss(&removed), Loss::Directory("/data".into()));
        // A loss that was noted stays one, however much is there again.
        let noted = voter_but(|found| found.control = Some(Control { is_whole: false, ..Control::default() }));
        assert_eq!(loss(&noted), Loss::Noted);
    }

    #[test]
    fn a_start_that_was_cut_short_is_a_first_start_again() {
        // The control file, the log directory's identity, dataDir's, then the log is begun.
        let mut found = nothing();
        found.control = Some(Control::default());
        assert_whole(&found);
        found.log_dir.identity = identity(false);
        assert_whole(&found);
        found.data_dir.identity = identity(false);
        assert_whole(&found);
        // Or the identities alone, where there is something to import.
        assert_whole(&Evidence { control: None, ..found.clone() });
        found.has_log = true;
        assert_whole(&found);
        // The control file says that it has voted, the identities do not yet: nobody has heard of it.
        found.control = Some(Control { has_voted: true, ..Control::default() });
        assert_whole(&found);
        found.log_dir.identity = identity(true);
        assert_whole(&found);
    }

    #[test]
    fn who_has_stood_alone_becomes_a_member_with_all_that_it_has() {
        assert_whole(&Evidence { is_member: true, ..alone() });
        // Written before there were identities.
        let mut older = Evidence { is_member: true, ..alone() };
        (older.data_dir.identity, older.log_dir.identity) = (None, None);
        assert_whole(&older);
        // And with a part of it, it does not.
        let lost = Evidence { control: None, ..older.clone() };
        assert_eq!(loss(&lost), Loss::Control("/data".into()));
        older.data_dir.identity = identity(false);
        older.has_log = false;
        assert_eq!(loss(&older), Loss::Log("/log".into()));
    }

    #[test]
    fn the_directory_of_another_server_is_refused_and_a_number_that_meant_nothing_is_not() {
        let other = Some(Identity { server: Some(ServerId(3)), has_voted: true, ..Identity::default() });
        for place in 0..2 {
            let found = voter_but(|found| {
                *(if place == 0 { &mut found.data_dir } else { &mut found.log_dir }) =
                    Place { path: "/theirs".into(), identity: other }
            });
            let refusal = Refusal::OtherServer { dir: "/theirs".into(), found: ServerId(3), me: ME };
            assert_eq!(found.judge(), Err(refusal.clone()));
            // Alone under that number, too.
            assert_eq!(Evidence { is_member: false, ..found.clone() }.judge(), Err(refusal));
            // Without a number nobody can tell.
            assert_whole(&Evidence { is_member: false, me: None, ..found });
        }
        let never_voted = Some(Identity { server: Some(ServerId(3)), ..Identity::default() });
        let mut found = Evidence { is_member: true, ..alone() };
        (found.data_dir.identity, found.log_dir.identity) = (never_voted, never_voted);
        assert_whole(&found);
        assert_eq!(found.identity().server, Some(ME));
    }

    #[test]
    fn directories_of_two_ensembles_are_refused_and_an_unknown_one_never_is() {
        let of = |ensemble| Some(Identity { ensemble, server: Some(ME), has_voted: true });
        let with =
            |one, other| voter_but(|found| (found.data_dir.identity, found.log_dir.identity) = (of(one), of(other)));
        assert!(matches!(with(Some(1), Some(2)).judge(), Err(Refusal::TwoEnsembles { .. })));
        for (one, other) in [(Some(1), Some(1)), (Some(1), None), (None, Some(1))] {
            let found = with(one, other);
            assert_whole(&found);
            assert_eq!(found.identity(), Identity { ensemble: one.or(other), server: Some(ME), has_voted: true });
        }
    }

    #[test]
    fn alone_a_lost_directory_ends_the_start() {
        assert_whole(&alone());
        assert_whole(&Evidence { is_member: false, ..nothing() });
        let mut lost = alone();
        (lost.log_dir.identity, lost.has_log) = (None, false);
        assert_eq!(lost.judge(), Err(Refusal::Alone { dir: "/log".into(), loss: AloneLoss::LogDir }));
        // Moved by hand without its identity: the log itself says how far it reaches.
        assert_whole(&Evidence { has_log: true, ..lost });
        let mut lost = alone();
        (lost.data_dir.identity, lost.control) = (None, None);
        assert_eq!(lost.judge(), Err(Refusal::Alone { dir: "/data".into(), loss: AloneLoss::DataDir }));
        // Without identities it is a directory of before, and what is missing shows elsewhere.
        let mut older = alone();
        (older.data_dir.identity, older.log_dir.identity, older.has_log) = (None, None, false);
        assert_whole(&older);
        // Nor does a member's part of a history serve anybody.
        let part = Evidence { control: Some(Control { is_whole: false, ..Control::default() }), ..alone() };
        assert_eq!(part.judge(), Err(Refusal::IncompleteAlone("/data".into())));
    }
}
