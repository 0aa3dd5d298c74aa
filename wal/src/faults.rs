//! Faults of the disk on demand, for tests of the built server: one write or sync of the log fails with EIO.
//!
//! Only with the feature `fault-injection`, which no release has; without it a [`Faults`] is nothing and nothing ever fails. Which one does is
//! told by the environment variable `RINGKEEPER_FAULT`: `lost-write:N`, the Nth durable write is not carried out; `write:N`, it is carried
//! out and said to have failed; `sync:N`, the same of the Nth sync of a file or a directory. Writes of a block or less do not count: a seal,
//! which may come at any time, is one. Only that one fails, so that a second try would succeed and be seen.
//! `tests/tests/durability/eio.rs` uses it, and holds the ordinary binary to having no trace of it.

use std::io;

/// The fault that is to come.
#[derive(Debug)]
pub(crate) struct Faults {
    #[cfg(feature = "fault-injection")]
    armed: Option<Armed>,
}

#[cfg(not(feature = "fault-injection"))]
#[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same calls as with the feature")]
impl Faults {
    pub(crate) const fn of_environment() -> io::Result<Faults> {
        Ok(Faults {})
    }

    pub(crate) const fn write_begins(&mut self, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    pub(crate) const fn write_ended(&mut self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) const fn sync_ended(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "fault-injection")]
#[derive(Debug, Clone, Copy)]
struct Armed {
    kind: Kind,
    /// How many more there are until it fails, itself included; 0: the write under way is to fail.
    left: u64,
}

#[cfg(feature = "fault-injection")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    LostWrite,
    Write,
    Sync,
}

#[cfg(feature = "fault-injection")]
impl Faults {
    /// As the environment asks for.
    pub(crate) fn of_environment() -> io::Result<Faults> {
        let asked = std::env::var("RINGKEEPER_FAULT").unwrap_or_default();
        let armed = match asked.as_str() {
            "" => None,
            asked => Some(read(asked).ok_or_else(|| {
                let what = format!("RINGKEEPER_FAULT={asked}: lost-write:N, write:N and sync:N are known");
                io::Error::new(io::ErrorKind::InvalidInput, what)
            })?),
        };
        Ok(Faults { armed })
    }

    /// Before a durable write. An error: do not carry it out.
    pub(crate) fn write_begins(&mut self, bytes: usize) -> io::Result<()> {
        let Some(armed) = self.armed.as_mut().filter(|armed| armed.kind != Kind::Sync && bytes > BLOCK_BYTES) else {
            return Ok(());
        };
        armed.left -= 1;
        if armed.left == 0 && armed.kind == Kind::LostWrite { self.fail() } else { Ok(()) }
    }

    /// After a durable write that has succeeded.
    pub(crate) fn write_ended(&mut self) -> io::Result<()> {
        let is_it = self.armed.is_some_and(|armed| armed.kind == Kind::Write && armed.left == 0);
        if is_it { self.fail() } else { Ok(()) }
    }

    /// After a sync that has succeeded.
    pub(crate) fn sync_ended(&mut self) -> io::Result<()> {
        let Some(armed) = self.armed.as_mut().filter(|armed| armed.kind == Kind::Sync) else { return Ok(()) };
        armed.left -= 1;
        if armed.left == 0 { self.fail() } else { Ok(()) }
    }

    fn fail(&mut self) -> io::Result<()> {
        let fault = self.armed.take();
        tracing::warn!(?fault, "fault-injection: EIO");
        Err(io::Error::from_raw_os_error(libc::EIO))
    }
}

#[cfg(feature = "fault-injection")]
fn read(asked: &str) -> Option<Armed> {
    let (kind, count) = asked.split_once(':')?;
    let kind = match kind {
        "lost-write" => Kind::LostWrite,
        "write" => Kind::Write,
        "sync" => Kind::Sync,
        _ => return None,
    };
    Some(Armed { kind, left: count.parse().ok().filter(|count| *count > 0)? })
}

#[cfg(feature = "fault-injection")]
const BLOCK_BYTES: usize = 4096;
