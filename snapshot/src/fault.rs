//! Names the file behind a fault on a mapped page: a read error of the disk, or a file that was cut short under the mapping.
//!
//! Owns the table of mapped ranges and the handler of SIGBUS, which writes one line to standard error and ends the process with
//! [`FAULT_EXIT_CODE`]: there is no way on from a byte that cannot be read. It must never do in the handler what is not
//! async-signal-safe, and never take a fault for its own that lies in no mapped image: that one keeps the action it had before.
//! `tests/fault.rs`, which cuts a mapped file in a process of its own, would catch a mistake.
//!
//! The table is [`SLOTS`] pointers to ranges, each of which is never changed and never freed (some hundred bytes per image that was
//! ever opened): so the handler needs no lock, and whatever a slot points to can be read.

#![allow(unsafe_code, reason = "a signal handler and the mapped ranges that it looks up")]

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A registered range; taken out of the table when it is dropped.
#[derive(Debug)]
pub(crate) struct MappedRange {
    /// `None`: the table was full, and a fault there is named by its address alone.
    slot: Option<&'static AtomicPtr<Range>>,
}

#[derive(Debug)]
struct Range {
    start: usize,
    end: usize,
    name: Box<[u8]>,
}

impl MappedRange {
    /// Registers the bytes of a mapping of this file.
    pub(crate) fn register(map: &[u8], path: &Path) -> MappedRange {
        let start = map.as_ptr().addr();
        let name = path.as_os_str().as_encoded_bytes().into();
        // Rounded up to whole pages, as the mapping is.
        let end = start.saturating_add(map.len()).next_multiple_of(PAGE_BYTES);
        let range = Box::into_raw(Box::new(Range { start, end, name }));
        let free = |slot: &&AtomicPtr<Range>| {
            slot.compare_exchange(ptr::null_mut(), range, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let slot = TABLE.iter().find(free);
        if slot.is_none() {
            // SAFETY: no slot took it, so it is still ours alone.
            drop(unsafe { Box::from_raw(range) });
        }
        MappedRange { slot }
    }
}

impl Drop for MappedRange {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            // The range itself stays: a handler on another thread may be looking at it.
            slot.store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Installs the handler for the whole process. To be called once, at start, before threads read images; later calls do nothing.
///
/// # Errors
/// The system's.
pub fn install() -> std::io::Result<()> {
    static DONE: OnceLock<Result<(), i32>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        let mut former = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all zeros is a valid `sigaction`.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both pointers are to this frame's own structures, and an absent new action changes nothing.
        if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), former.as_mut_ptr()) } != 0 {
            return Err(last_error());
        }
        // SAFETY: the call above has filled it.
        let former = unsafe { former.assume_init() };
        // Before the handler can run, since it reads it.
        let _first = FORMER.set(Former(former));
        // SAFETY: the handler is of the kind that SA_SIGINFO asks for and does only what a handler may.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
            return Err(last_error());
        }
        Ok(())
    });
    done.map_err(std::io::Error::from_raw_os_error)
}

fn last_error() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO, and of SIGBUS it has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    for slot in &TABLE {
        // SAFETY: a slot holds null or a range that is never changed and never freed.
        let Some(range) = (unsafe { slot.load(Ordering::Acquire).as_ref() }) else { continue };
        if (range.start..range.end).contains(&address) {
            die(range, address - range.start);
        }
    }
    // None of ours: as it was before. The instruction runs again when the handler returns, and faults again.
    // SAFETY: a zeroed `sigaction` asks for the default action; the former one came from the kernel.
    unsafe {
        let default = MaybeUninit::<libc::sigaction>::zeroed();
        let action = FORMER.get().map_or(default.as_ptr(), |former| &raw const former.0);
        libc::sigaction(signal, action, ptr::null_mut());
    }
}

/// Writes which file and offset it was, and ends the process. The stack that a handler runs on is small: nothing is copied.
fn die(range: &Range, offset: usize) -> ! {
    let mut digits = [0; DIGITS_MAX];
    let parts = [
        &b"snapshot: a mapped page of "[..],
        &range.name,
        b" cannot be read at offset ",
        decimal(offset, &mut digits),
        b": the disk failed or the file was cut short. The server stops rather than serves what it cannot read. Look at the disk, \
          then restore the file from a backup, or let this server be repaired from its ensemble\n",
    ];
    let parts = parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    // SAFETY: both are system calls and nothing more, so a handler may make them; the parts outlive the call, which only reads them.
    unsafe {
        libc::writev(libc::STDERR_FILENO, parts.as_ptr(), PARTS);
        libc::_exit(FAULT_EXIT_CODE)
    }
}

/// Writes the line to standard error and ends the process with [`FAULT_EXIT_CODE`], at once: no other code of the process runs any more.
pub fn end_process(line: &[u8]) -> ! {
    use std::io::Write as _;
    // Who started the server may have closed it.
    let _unread = std::io::stderr().write_all(line);
    // SAFETY: it ends the process, and touches no memory of ours.
    unsafe { libc::_exit(FAULT_EXIT_CODE) }
}

/// The number's digits, without allocating.
fn decimal(mut number: usize, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut first = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        first = at;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}

/// What SIGBUS did before.
struct Former(libc::sigaction);

/// The exit code of a process that met a fault on a mapped image (`EX_IOERR`).
pub const FAULT_EXIT_CODE: i32 = 74;
/// Images that can be mapped at a time and named: a few generations of eight files.
const SLOTS: usize = 128;
/// Parts of the line.
const PARTS: libc::c_int = 5;
/// Of the largest offset.
const DIGITS_MAX: usize = 20;
const PAGE_BYTES: usize = 4096;

static TABLE: [AtomicPtr<Range>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];
static FORMER: OnceLock<Former> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 4096, usize::MAX] {
            assert_eq!(decimal(number, &mut [0; DIGITS_MAX]), number.to_string().as_bytes());
        }
    }
}
