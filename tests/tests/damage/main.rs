//! Images that are damaged, cut short, on a disk that fails, written by an older version, or replaced while they are read: what the
//! real server does.
//!
//! - [`rot`]: a flipped byte in a file of the image in use is never served; who meets it ends the server with its place, and so does the scrub.
//! - [`start`]: what a start reads of an image is refused there when it is damaged, or newer than this program.
//! - [`fault`]: the file is cut short under the server, and the disk fails under it: named, and no bare crash.
//! - [`former`]: a directory of the version before is opened, with the same tree, and goes on in today's format.
//! - [`replaced`]: images come and go while everybody reads.

mod fault;
mod former;
mod replaced;
mod rot;
mod stand;
mod start;
