//! Ensembles of real processes: 8 clients of ours and 4 of kazoo ask all servers all the time while servers are killed, stand still, are restarted and cut off, and at the end the
//! whole of what they saw must be explained by what the servers' logs say, on the real ZooKeeper as on RingKeeper.
//!
//! The history goes through the simulator's checkers (`ringkeeper_sim::check`): writes linearizable, none lost, sessions in order, watch events before what
//! shows them, ephemerals with their sessions; and the logs of all servers the same, without gaps.
//!
//! - [`load`]: writers that count what was acknowledged, where the whole history would be too long.
//! - [`lag`]: learners that are far behind, and what they cost their leader.
//! - [`memory`]: how much memory servers take meanwhile.
//! - [`place`]: the harness itself: addresses, forms of the configuration, who leads.
//! - [`faults`]: kill -9, SIGSTOP, rolling restarts.
//! - [`partitions`]: servers that do not reach each other.
//! - [`sync`]: how a server that was away is brought into step.
//! - [`disks`]: a disk that stalls, or is full.
//! - [`slow_disks`]: a disk that is many times slower.
//! - [`clocks`]: wall clocks that are wrong.
//! - [`sessions`]: who expires, and who does not.
//! - [`local`]: sessions that only their server knows.
//! - [`addresses`]: names whose addresses change or come late, IPv6.
//! - [`groups`]: quorums by groups and weights.
//! - [`page`]: the blocks of `docs/ensemble.md`.
//! - [`words`]: what each says of itself, and of who the members are.
//! - [`bite`]: the checkers reject a copy of a right history in which one thing was changed.
//! - [`mixed`]: Java's servers and RingKeeper's in one ensemble.
//! - [`matrix`]: all faults, again and again, on 3 and 5 servers, for `cargo xtask long ensemble`; `RK_ENSEMBLE_ROUNDS` says how often.
//!
//! `RK_ENSEMBLE` (`java`, `ringkeeper`, or both with a comma) says whose servers; `Implementation::USUAL` in `tests/src/cluster` what goes without.

mod addresses;
mod bite;
mod clocks;
mod crowd;
mod disks;
mod faults;
mod groups;
mod kazoo;
mod lag;
mod load;
mod local;
mod logs;
mod matrix;
mod memory;
mod mixed;
mod page;
mod partitions;
mod place;
mod sessions;
mod slow_disks;
mod sync;
mod trial;
mod words;
