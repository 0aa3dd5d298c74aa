//! A proxy that alters one answer: the planted differences, each of which the harness must find.
//!
//! It stands between the driver and a server, passes everything on, and changes exactly one frame, the one after a few that it could have
//! changed as well. It owns its threads, which end with their connections. It is for `tests/bites.rs`, which needs no Java.

use proto::OpCode;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What is altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Nothing.
    Nothing,
    /// A Stat's `cversion` is one too large.
    Cversion,
    /// A Stat's `aversion` is one too large.
    Aversion,
    /// A Stat's `pzxid` is the node's `czxid`.
    Pzxid,
    /// A Stat's `ephemeralOwner` is 0.
    EphemeralOwner,
    /// NoNode has become NoAuth.
    ErrorCode,
    /// Two events have changed places.
    SwappedEvents,
    /// An event is missing.
    MissingEvent,
    /// An event comes twice.
    DoubleEvent,
    /// The first of a node's children is missing.
    Children,
    /// A sequential number is another.
    SequentialNumber,
    /// The zxid in a read's header is one too small.
    HeaderZxid,
    /// The error of a multi stands at another operation.
    MultiErrorPosition,
}

impl Plant {
    /// All that alter something.
    pub const ALL: [Plant; 12] = [
        Plant::Cversion,
        Plant::Aversion,
        Plant::Pzxid,
        Plant::EphemeralOwner,
        Plant::ErrorCode,
        Plant::SwappedEvents,
        Plant::MissingEvent,
        Plant::DoubleEvent,
        Plant::Children,
        Plant::SequentialNumber,
        Plant::HeaderZxid,
        Plant::MultiErrorPosition,
    ];
}

/// Frames that could have been altered and were not, before the one that is.
const SPARED: usize = 3;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    chances: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one in front of `target`.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(target: SocketAddr, plant: Plant) -> io::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let chances = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&chances);
        // It ends with the process: a test's listener costs nothing.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else { continue };
                // Held back, small frames would each take as long as a delayed acknowledgement.
                if server.set_nodelay(true).and(client.set_nodelay(true)).is_err() {
                    continue;
                }
                let asked = Asked::default();
                let chances = Arc::clone(&seen);
                let (Ok(to_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else { continue };
                let there = Arc::clone(&asked);
                std::thread::spawn(move || requests(client, to_server, &there));
                std::thread::spawn(move || replies(server, to_client, &Altering { plant, chances, asked }));
            }
        });
        Ok(Proxy { address, chances })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it altered its frame?
    #[must_use]
    pub fn has_altered(&self) -> bool {
        self.chances.load(Ordering::SeqCst) > SPARED
    }
}

/// Xids and opcodes of the requests that are not answered.
type Asked = Arc<Mutex<VecDeque<(i32, i32)>>>;

/// Passes requests on and notes what they are.
fn requests(mut client: TcpStream, mut server: TcpStream, asked: &Mutex<VecDeque<(i32, i32)>>) {
    let mut is_first = true;
    while let Some((frame, is_whole)) = read_frame(&mut client) {
        if is_whole && !is_first && frame.len() >= 12 {
            asked.lock().expect("no thread panics").push_back((int(&frame, 4), int(&frame, 8)));
        }
        is_first = false;
        if server.write_all(&frame).is_err() {
            break;
        }
    }
    // Either side may be gone.
    let _gone = server.shutdown(Shutdown::Both);
}

/// Passes replies on, and alters one.
fn replies(mut server: TcpStream, mut client: TcpStream, altering: &Altering) {
    let mut is_first = true;
    let mut held: Option<Vec<u8>> = None;
    while let Some((mut frame, _)) = read_frame(&mut server) {
        let mut out = Vec::new();
        if !is_first {
            altering.alter(&mut frame, &mut held, &mut out);
        }
        is_first = false;
        out.extend_from_slice(&frame);
        if client.write_all(&out).is_err() {
            break;
        }
    }
    let _gone = client.write_all(&held.unwrap_or_default()).and_then(|()| client.shutdown(Shutdown::Both));
}

/// A frame with its length in front; what is none is passed on as it is, without the claim to be one.
fn read_frame(stream: &mut TcpStream) -> Option<(Vec<u8>, bool)> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let Some(length) = usize::try_from(int(&frame, 0)).ok().filter(|length| *length < 1 << 20) else {
        return Some((frame, false));
    };
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some((frame, true))
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn add(bytes: &mut [u8], at: usize, by: i32) {
    let value = int(bytes, at) + by;
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

struct Altering {
    plant: Plant,
    chances: Arc<AtomicUsize>,
    asked: Asked,
}

// Places in a frame, its length included.
const XID: usize = 4;
const ZXID: usize = 8;
const ERR: usize = 16;
const RECORD: usize = 20;
const STAT_BYTES: usize = 68;
const CVERSION: usize = RECORD + 36;
const AVERSION: usize = RECORD + 40;
const OWNER: usize = RECORD + 44;
const PZXID: usize = RECORD + 60;
/// A failed operation in a multi's reply: type, done, and the code twice.
const FAILED_BYTES: usize = 13;

impl Altering {
    /// Changes `frame`, or puts into `out` what goes before it; an event is held until the next frame shows whether it can change places.
    fn alter(&self, frame: &mut Vec<u8>, held: &mut Option<Vec<u8>>, out: &mut Vec<u8>) {
        let xid = int(frame, XID);
        let is_event = xid == -1;
        if let Some(before) = held.take() {
            let differ = is_event && before[ZXID..ZXID + 8] != frame[ZXID..ZXID + 8];
            if differ && self.is_the_one() {
                frame.extend_from_slice(&before);
                return;
            }
            out.extend_from_slice(&before);
        }
        if is_event {
            match self.plant {
                Plant::MissingEvent if self.is_the_one() => frame.clear(),
                Plant::DoubleEvent if self.is_the_one() => out.extend_from_slice(frame),
                Plant::SwappedEvents => *held = Some(std::mem::take(frame)),
                _ => {}
            }
            return;
        }
        let op = {
            let mut asked = self.asked.lock().expect("no thread panics");
            let place = asked.iter().position(|(known, _)| *known == xid);
            place.and_then(|place| asked.remove(place)).map(|(_, op)| op)
        };
        self.alter_reply(op.and_then(OpCode::from_wire), frame);
    }

    fn alter_reply(&self, op: Option<OpCode>, frame: &mut Vec<u8>) {
        let err = int(frame, ERR);
        let has_stat = op == Some(OpCode::Exists) && frame.len() == RECORD + STAT_BYTES;
        match self.plant {
            Plant::Cversion if has_stat && self.is_the_one() => add(frame, CVERSION, 1),
            Plant::Aversion if has_stat && self.is_the_one() => add(frame, AVERSION, 1),
            Plant::Pzxid if has_stat && frame[PZXID..PZXID + 8] != frame[RECORD..RECORD + 8] && self.is_the_one() => {
                frame.copy_within(RECORD..RECORD + 8, PZXID);
            }
            Plant::EphemeralOwner if has_stat && frame[OWNER..OWNER + 8] != [0; 8] && self.is_the_one() => {
                frame[OWNER..OWNER + 8].fill(0);
            }
            Plant::ErrorCode if err == -101 && self.is_the_one() => add(frame, ERR, -1),
            Plant::HeaderZxid if op == Some(OpCode::GetData) && self.is_the_one() => add(frame, ZXID + 4, -1),
            Plant::Children if op == Some(OpCode::GetChildren) && has_names(frame) && self.is_the_one() => {
                add(frame, RECORD, -1);
                let name = usize::try_from(int(frame, RECORD + 4)).expect("a name's length");
                frame.drain(RECORD + 4..RECORD + 8 + name);
                add(frame, 0, -i32::try_from(4 + name).expect("it is short"));
            }
            Plant::SequentialNumber
                if op == Some(OpCode::Create) && err == 0 && ends_with_number(frame) && self.is_the_one() =>
            {
                let last = frame.last_mut().expect("it ends with digits");
                *last = if *last == b'9' { b'0' } else { *last + 1 };
            }
            Plant::MultiErrorPosition if op == Some(OpCode::Multi) && err == 0 => self.move_error(frame),
            _ => {}
        }
    }

    /// Exchanges the first two operations' errors of a failed multi.
    fn move_error(&self, frame: &mut [u8]) {
        let second = RECORD + FAILED_BYTES;
        if frame.len() < second + FAILED_BYTES || int(frame, RECORD) != -1 || int(frame, second) != -1 {
            return;
        }
        let (first, rest) = frame[RECORD..].split_at_mut(FAILED_BYTES);
        if first != &rest[..FAILED_BYTES] && self.is_the_one() {
            first.swap_with_slice(&mut rest[..FAILED_BYTES]);
        }
    }

    /// Is this the frame that is altered? Ask only where it can be.
    fn is_the_one(&self) -> bool {
        self.chances.fetch_add(1, Ordering::SeqCst) == SPARED
    }
}

fn has_names(frame: &[u8]) -> bool {
    int(frame, ERR) == 0 && int(frame, RECORD) > 0
}

fn ends_with_number(frame: &[u8]) -> bool {
    frame.len() > RECORD + 14 && frame[frame.len() - 10..].iter().all(u8::is_ascii_digit)
}
