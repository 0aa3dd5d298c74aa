//! Connection limits across shards: so many from one address (`maxClientCnxns`), so many in all (`maxCnxns`).
#![forbid(unsafe_code)]

use ahash::AHashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Counts the connections of all shards. Asked once per connection, so a lock is cheap enough.
#[derive(Debug)]
pub struct ConnectionLimits {
    per_address_max: u32,
    total_max: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_address: AHashMap<IpAddr, u32>,
}

/// Which limit a connection would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// `maxClientCnxns`.
    PerAddress(u32),
    /// `maxCnxns`.
    Total(u32),
}

impl ConnectionLimits {
    /// Limits; `None` is without.
    #[must_use]
    pub fn new(per_address_max: Option<u32>, total_max: Option<u32>) -> ConnectionLimits {
        ConnectionLimits {
            per_address_max: per_address_max.unwrap_or(u32::MAX),
            total_max: total_max.unwrap_or(u32::MAX),
            counts: Mutex::default(),
        }
    }

    /// Counts a new connection, unless it is one too many.
    ///
    /// # Errors
    /// The limit that it would break; then it is not counted.
    pub fn enter(&self, address: IpAddr) -> Result<(), OverLimit> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.total_max {
            return Err(OverLimit::Total(self.total_max));
        }
        let here = counts.by_address.entry(address.to_canonical()).or_default();
        if *here >= self.per_address_max {
            return Err(OverLimit::PerAddress(self.per_address_max));
        }
        *here += 1;
        counts.total += 1;
        Ok(())
    }

    /// A counted connection is gone.
    pub fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address.to_canonical();
        if let Some(here) = counts.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&address);
            }
            counts.total -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_room_comes_back() {
        let limits = ConnectionLimits::new(Some(2), Some(3));
        let (a, b) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(limits.enter(a), Ok(()));
        assert_eq!(limits.enter(mapped), Ok(()));
        assert_eq!(limits.enter(a), Err(OverLimit::PerAddress(2)));
        assert_eq!(limits.enter(b), Ok(()));
        assert_eq!(limits.enter(b), Err(OverLimit::Total(3)));
        limits.leave(a);
        assert_eq!(limits.enter(a), Ok(()));
        assert!(limits.counts.lock().unwrap().by_address.len() == 2);
    }
}
