//! The connections on the quorum port as two byte buffers each: what has come and is not read, what is to be sent and has not left.
//!
//! A host (`server`'s sockets, `sim`'s network) moves bytes in and out and says what became of its connections; the core's turn loop takes events and
//! packets and appends packets. Neither calls the other. Owns the buffers, their bounds, the numbers of the links, and the order in which a link's end is
//! told: after its last packet. Must never decide what a packet means or when a link is of no more use.
//!
//! A link's life, as the loop sees it: [`LinkEvent::Accepted`] or [`LinkEvent::Dialled`], packets, then either [`LinkEvent::Lost`], once, or the loop's own
//! [`LinkTable::close`] or [`LinkTable::abort`], after which nothing more is said of the link. Calls about a link that is gone do nothing.
//!
//! Everything that another machine can make grow has a bound in [`LinkLimits`]. It fails by ending a link: a packet that cannot be one is an error of
//! [`Unread::next_packet`], which the loop answers with [`LinkTable::abort`]; a link whose other side takes nothing is lost as
//! [`LinkLoss::Overflowed`]. The tests below would catch a mistake.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use proto::DecodeError;
use proto::Received;
use proto::quorum::{AUTHINFO_BYTES_MAX, DATA_BYTES_MAX_DEFAULT, QuorumPacket};
use zab::LinkId;

/// What bounds the links.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// The longest data of one packet (`jute.maxbuffer` and `zookeeper.jute.maxbuffer.extrasize`).
    pub data_bytes_max: usize,
    /// How many bytes of a link may wait to be read; with as many, nothing more is received. A packet that is longer is refused.
    pub input_bytes_max: usize,
    /// A link on which more bytes wait to be sent is full, until half of them are left: it gets what must be sent, and no flush.
    pub output_bytes_full: usize,
    /// How many bytes of a link may wait to be sent. One with more is lost when the next packet is to be appended, so that a buffer holds no more than this
    /// and what was appended at once. A flush says all that has come since the last one, whatever that is: this must be more, and room for what must be sent.
    pub output_bytes_max: usize,
    /// How many accepted links there may be at one time. Dialled ones do not count: a server dials one at a time.
    pub links_max: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        LinkLimits {
            data_bytes_max: DATA_BYTES_MAX_DEFAULT,
            input_bytes_max: DATA_BYTES_MAX_DEFAULT + AUTHINFO_BYTES_MAX + PACKET_BYTES_BESIDE,
            output_bytes_full: 8 << 20,
            // A flush is at most what a leader keeps: a window of 64 MiB, as much that is on its way, and the batch with which that came to be too much.
            output_bytes_max: 256 << 20,
            links_max: 1_000,
        }
    }
}

/// More than a packet's other parts take.
const PACKET_BYTES_BESIDE: usize = 64;

/// What happened to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Another server has connected.
    Accepted(LinkId),
    /// The answer to a dial: this link stands.
    Dialled(LinkId),
    /// The answer to a dial: nobody is there.
    NotDialled,
    /// The link has ended, and all packets that came before have been read. It is gone.
    Lost(LinkId, LinkLoss),
    /// The link was full and has room again: at most half of what makes it full is unsent.
    Drained(LinkId),
}

/// Why a link has ended: for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// The other side closed it.
    Ended,
    /// The network or the other machine ended it.
    Failed(std::io::ErrorKind),
    /// The other side does not take what it is sent, and more than the output's bound waits.
    Overflowed,
}

/// All links. See the module.
#[derive(Debug)]
pub struct LinkTable {
    limits: LinkLimits,
    /// In the order of their numbers, so that a simulation repeats itself.
    links: BTreeMap<LinkId, Link>,
    next: u64,
    /// How many of `links` were accepted.
    accepted: usize,
    events: VecDeque<LinkEvent>,
    /// Connections that the host is to close, of links that are gone or lost.
    over: Vec<LinkId>,
}

/// What has come on a link, see [`LinkTable::take_unread`].
#[derive(Debug)]
pub struct Unread {
    input: Bytes,
    needed: usize,
    limits: LinkLimits,
}

impl Unread {
    /// The packet at the front; it is consumed. `None`: it is not all there.
    ///
    /// # Errors
    /// [`DecodeError::LengthOutOfBounds`], [`DecodeError::NegativeLength`]: no packet begins like this, or none that may come. Nobody knows where the next
    /// one begins: the link is to be aborted.
    pub fn next_packet(&mut self) -> Result<Option<QuorumPacket<'_>>, DecodeError> {
        let Bytes { all, consumed } = &mut self.input;
        match QuorumPacket::receive(all.get(*consumed..).unwrap_or_default(), self.limits.data_bytes_max)? {
            Received::NeedsBytes(bytes) if bytes > self.limits.input_bytes_max => Err(DecodeError::LengthOutOfBounds),
            Received::NeedsBytes(bytes) => {
                self.needed = bytes;
                Ok(None)
            }
            Received::Whole(packet, len) => {
                self.needed = 1;
                *consumed += len;
                Ok(Some(packet))
            }
        }
    }
}

#[derive(Debug)]
struct Link {
    peer: SocketAddr,
    is_accepted: bool,
    life: Life,
    is_held: bool,
    input: Bytes,
    /// Fewer unread bytes than these hold no whole packet.
    input_needed: usize,
    output: Bytes,
    /// It was full when something was last sent, and [`LinkEvent::Drained`] is not due yet.
    was_full: bool,
    /// [`LinkEvent::Drained`] is among the events.
    drained_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    /// What came is still to be read.
    Lost(LinkLoss),
    /// What is unsent is still to be sent.
    Closing,
}

impl LinkTable {
    /// A table without links.
    #[must_use]
    pub fn new(limits: LinkLimits) -> LinkTable {
        LinkTable { limits, links: BTreeMap::new(), next: 1, accepted: 0, events: VecDeque::new(), over: Vec::new() }
    }

    // For the host.

    /// A connection came from there. `None`: there are as many as there may be, and the connection is to be closed.
    pub fn accept(&mut self, from: SocketAddr) -> Option<LinkId> {
        if self.accepted >= self.limits.links_max {
            return None;
        }
        self.accepted += 1;
        let link = self.add(from, true);
        self.events.push_back(LinkEvent::Accepted(link));
        Some(link)
    }

    /// The answer to a dial: a connection stands.
    pub fn dialled(&mut self, to: SocketAddr) -> LinkId {
        let link = self.add(to, false);
        self.events.push_back(LinkEvent::Dialled(link));
        link
    }

    /// The answer to a dial: there is no connection.
    pub fn not_dialled(&mut self) {
        self.events.push_back(LinkEvent::NotDialled);
    }

    /// Is the connection to be received from?
    #[must_use]
    pub fn wants_input(&self, link: LinkId) -> bool {
        self.input_room(link) > 0
    }

    /// How many bytes may be received now: 0 if the buffer is full, or nobody reads this link any more.
    #[must_use]
    pub fn input_room(&self, link: LinkId) -> usize {
        match self.links.get(&link) {
            Some(link) if link.life == Life::Open => self.limits.input_bytes_max.saturating_sub(link.input.len()),
            _ => 0,
        }
    }

    /// Where to append what was received, at most [`LinkTable::input_room`]; `None` if nothing is to be received. [`LinkTable::came`] is to follow.
    pub fn input(&mut self, link: LinkId) -> Option<&mut Vec<u8>> {
        let bytes_max = self.limits.input_bytes_max;
        let link = self.links.get_mut(&link)?;
        (link.life == Life::Open && link.input.len() < bytes_max).then(|| link.input.end())
    }

    /// Bytes were appended to [`LinkTable::input`].
    ///
    /// # Panics
    /// If they were more than there was room for.
    pub fn came(&mut self, link: LinkId) {
        let len = self.links.get(&link).map_or(0, |link| link.input.len());
        assert!(len <= self.limits.input_bytes_max, "{len} unread bytes on a link are more than were asked for");
    }

    /// The connection has ended and the host has closed it, or is about to. What came before is still read, what is unsent is dropped.
    pub fn lost(&mut self, link: LinkId, why: LinkLoss) {
        match self.links.get_mut(&link) {
            Some(state) if state.life == Life::Open => {
                state.life = Life::Lost(why);
                state.output = Bytes::default();
            }
            // Its other side has gone before it took all.
            Some(state) if state.life == Life::Closing => self.remove(link),
            _ => {}
        }
    }

    /// What is to be sent next; empty if nothing is.
    #[must_use]
    pub fn to_send(&self, link: LinkId) -> &[u8] {
        self.links.get(&link).map_or(&[], |link| link.output.rest())
    }

    /// The first `bytes` of [`LinkTable::to_send`] have been taken by the connection.
    ///
    /// # Panics
    /// If they are more than were to be sent.
    pub fn sent(&mut self, link: LinkId, bytes: usize) {
        let LinkLimits { output_bytes_full, .. } = self.limits;
        let Some(state) = self.links.get_mut(&link) else { return };
        state.was_full |= state.output.len() > output_bytes_full;
        state.output.advance(bytes);
        if state.was_full && state.output.len() <= output_bytes_full / 2 {
            state.was_full = false;
            if !state.drained_told && state.life == Life::Open {
                state.drained_told = true;
                self.events.push_back(LinkEvent::Drained(link));
            }
        }
    }

    /// The links that have something to send.
    pub fn with_output(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(|(_, link)| !link.output.is_empty()).map(|(id, _)| *id)
    }

    /// The links that the loop has closed and whose output is not sent yet, or whose connection [`LinkTable::over`] has not told yet. The host bounds their time, by
    /// [`LinkTable::lost`].
    pub fn closing(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(|(_, link)| link.life == Life::Closing).map(|(id, _)| *id)
    }

    /// The links whose connection is to be closed now, each told once: closed and all sent, aborted, or overflowed.
    pub fn over(&mut self) -> Vec<LinkId> {
        let flushed: Vec<LinkId> =
            self.closing().filter(|link| self.links.get(link).is_some_and(|link| link.output.is_empty())).collect();
        for link in &flushed {
            self.remove(*link);
        }
        self.over.extend(flushed);
        std::mem::take(&mut self.over)
    }

    // For the loop.

    /// What has happened, in order. A loop takes all events before it reads packets, and once more afterwards: a link's end is told when its last
    /// packet has been read.
    pub fn next_event(&mut self) -> Option<LinkEvent> {
        while let Some(event) = self.events.pop_front() {
            if let LinkEvent::Drained(link) = event {
                // It may have been closed, or filled again.
                let Some(state) = self.links.get_mut(&link) else { continue };
                state.drained_told = false;
                if state.life != Life::Open || self.is_full(link) {
                    continue;
                }
            }
            return Some(event);
        }
        let (link, why) = self.links.iter().find_map(|(id, link)| match link.life {
            Life::Lost(why) if !link.may_have_packet() => Some((*id, why)),
            _ => None,
        })?;
        self.remove(link);
        Some(LinkEvent::Lost(link, why))
    }

    /// The dial that the loop asked for is of no more use, or another takes its place: an answer that is among the events is void.
    pub fn forget_dial(&mut self) {
        let mut stands = None;
        self.events.retain(|event| match event {
            LinkEvent::Dialled(link) => {
                stands = Some(*link);
                false
            }
            LinkEvent::NotDialled => false,
            _ => true,
        });
        // There is one dial at a time.
        if let Some(link) = stands {
            self.abort(link);
        }
    }

    /// Takes what has come on a link, to read its packets while others are answered; [`LinkTable::put_back`] is to follow. `None`: there is nothing to read, or
    /// the link is held, closed or gone.
    pub fn take_unread(&mut self, link: LinkId) -> Option<Unread> {
        let limits = self.limits;
        let link = self.links.get_mut(&link).filter(|link| !link.is_held && link.may_have_packet())?;
        Some(Unread { input: std::mem::take(&mut link.input), needed: 1, limits })
    }

    /// What was not read of it. It is dropped if the link was closed meanwhile.
    ///
    /// # Panics
    /// If something was received meanwhile.
    pub fn put_back(&mut self, link: LinkId, unread: Unread) {
        let Some(link) = self.links.get_mut(&link).filter(|link| link.life != Life::Closing) else { return };
        assert!(link.input.is_empty(), "nothing is received while a link is read");
        link.input = unread.input;
        link.input_needed = unread.needed;
    }

    /// The links that may have a packet to read, and are not held.
    pub fn with_input(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(|(_, link)| !link.is_held && link.may_have_packet()).map(|(id, _)| *id)
    }

    /// Holds a link's packets back, or gives them out again: while a log is cut, or what comes is a state.
    pub fn hold(&mut self, link: LinkId, is_held: bool) {
        if let Some(link) = self.links.get_mut(&link) {
            link.is_held = is_held;
        }
    }

    /// Is nothing more to be read from this link now?
    #[must_use]
    pub fn is_closed_or_held(&self, link: LinkId) -> bool {
        self.links.get(&link).is_none_or(|link| link.is_held || link.life == Life::Closing)
    }

    /// The unread bytes, for a state's taker: it takes what it can use from the front, and leaves the rest. `None` if the link is gone or closed.
    pub fn raw_input(&mut self, link: LinkId) -> Option<&mut Vec<u8>> {
        let link = self.links.get_mut(&link).filter(|link| link.life != Life::Closing)?;
        link.input_needed = 1;
        Some(link.input.all())
    }

    /// Will nothing more come on this link? A taker that needs more than [`LinkTable::raw_input`] has then gives up: as long as bytes that nobody takes are
    /// unread, the link's end is not told.
    #[must_use]
    pub fn has_ended(&self, link: LinkId) -> bool {
        self.links.get(&link).is_none_or(|link| link.life != Life::Open)
    }

    /// Where to append whole packets. `None` if nothing more can be sent: the link is closed, lost or gone. A link that has more unsent than its bound is lost
    /// by this call.
    pub fn output(&mut self, link: LinkId) -> Option<&mut Vec<u8>> {
        let state = self.links.get_mut(&link).filter(|link| link.life == Life::Open)?;
        if state.output.len() > self.limits.output_bytes_max {
            state.life = Life::Lost(LinkLoss::Overflowed);
            state.output = Bytes::default();
            state.input = Bytes::default();
            state.input_needed = 1;
            self.over.push(link);
            return None;
        }
        Some(state.output.end())
    }

    /// Has it so much unsent that nothing but what must be sent is to be added? From then on it is full until [`LinkEvent::Drained`] tells.
    #[must_use]
    pub fn is_full(&self, link: LinkId) -> bool {
        let full_above = self.limits.output_bytes_full;
        self.links.get(&link).is_some_and(|link| link.was_full || link.output.len() > full_above)
    }

    /// Closes a link once what is unsent has been sent, within the time that the host allows. What came on it is dropped.
    pub fn close(&mut self, link: LinkId) {
        match self.links.get_mut(&link) {
            Some(state) if state.life == Life::Open => {
                state.life = Life::Closing;
                state.input = Bytes::default();
            }
            Some(Link { life: Life::Lost(_), .. }) => self.remove(link),
            _ => {}
        }
    }

    /// Closes a link at once.
    pub fn abort(&mut self, link: LinkId) {
        let Some(state) = self.links.get(&link) else { return };
        // The connection of a lost link is closed, or told to be.
        if !matches!(state.life, Life::Lost(_)) {
            self.over.push(link);
        }
        self.remove(link);
    }

    /// The other side's address; `None` if the link is gone.
    #[must_use]
    pub fn peer(&self, link: LinkId) -> Option<SocketAddr> {
        self.links.get(&link).map(|link| link.peer)
    }

    fn add(&mut self, peer: SocketAddr, is_accepted: bool) -> LinkId {
        let id = LinkId(self.next);
        self.next += 1;
        let link = Link {
            peer,
            is_accepted,
            life: Life::Open,
            is_held: false,
            input: Bytes::default(),
            input_needed: 1,
            output: Bytes::default(),
            was_full: false,
            drained_told: false,
        };
        self.links.insert(id, link);
        id
    }

    fn remove(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some_and(|link| link.is_accepted) {
            self.accepted -= 1;
        }
    }
}

impl Link {
    /// May the unread bytes begin with a whole packet, or with what cannot be one?
    fn may_have_packet(&self) -> bool {
        self.life != Life::Closing && self.input.len() >= self.input_needed
    }
}

/// Bytes that are appended at the end and consumed at the front, without moving the rest each time.
#[derive(Debug, Default)]
struct Bytes {
    all: Vec<u8>,
    /// How many of `all` have been consumed.
    consumed: usize,
}

impl Bytes {
    fn len(&self) -> usize {
        self.all.len() - self.consumed
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rest(&self) -> &[u8] {
        self.all.get(self.consumed..).unwrap_or_default()
    }

    fn advance(&mut self, len: usize) {
        self.consumed += len;
        assert!(self.consumed <= self.all.len(), "consumed more than there was");
    }

    /// Where to append. What is consumed goes when it is at least half, so that each byte is moved at most once on average.
    fn end(&mut self) -> &mut Vec<u8> {
        if self.consumed >= self.len() {
            return self.all();
        }
        &mut self.all
    }

    /// The rest alone.
    fn all(&mut self) -> &mut Vec<u8> {
        self.all.drain(..self.consumed);
        self.consumed = 0;
        &mut self.all
    }
}

#[cfg(test)]
mod tests;
