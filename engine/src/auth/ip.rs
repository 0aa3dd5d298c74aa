//! Addresses in ACLs: the scheme `ip`, IPv4 and IPv6, with or without the count of bits that matter (`IPAuthenticationProvider`, 3.9.5).
//!
//! Owns the syntax, which is Java's and not Rust's: what one server takes, the next one of an ensemble must take, and what is stored once must
//! keep its meaning. `which_addresses_are_valid` has the answers of the real server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address with the count of bits that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpRange {
    address: IpAddr,
    bits: u32,
}

impl IpRange {
    /// `address` or `address/bits`.
    pub(super) fn parse(text: &str) -> Option<IpRange> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (parse(address)?, Some(u32::try_from(bits.parse::<i32>().ok()?).ok()?)),
            None => (parse(text)?, None),
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(IpRange { address, bits })
    }

    /// An IPv4 range never holds an IPv6 address, nor the other way round.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(range), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                (u32::from(range) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(range), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                (u128::from(range) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// An address as Java takes it: one with a colon is IPv6.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') { parse_v6(text).map(IpAddr::V6) } else { parse_v4(text).map(IpAddr::V4) }
}

/// Each part is an int to Java, so that leading zeros and a sign are fine.
fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
    }
    parts.next().is_none().then_some(Ipv4Addr::from(octets))
}

/// Eight groups of up to four characters, or fewer on both sides of one `::`. No dotted end, no zone.
fn parse_v6(text: &str) -> Option<Ipv6Addr> {
    const GROUPS: usize = 8;
    let mut groups = [0_u16; GROUPS];
    match text.split_once("::") {
        None => {
            let all = parse_groups(text)?;
            if all.len() != GROUPS {
                return None;
            }
            groups.copy_from_slice(&all);
        }
        Some((head, tail)) => {
            // A second `::` shows as an empty group.
            let (head, tail) = (parse_groups(head)?, parse_groups(tail)?);
            if head.len() + tail.len() >= GROUPS {
                return None;
            }
            groups.get_mut(..head.len())?.copy_from_slice(&head);
            groups.get_mut(GROUPS - tail.len()..)?.copy_from_slice(&tail);
        }
    }
    Some(Ipv6Addr::from(groups))
}

/// The groups of one side; none where it is empty.
fn parse_groups(text: &str) -> Option<Vec<u16>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(':').map(parse_group).collect()
}

/// Java reads a group as an int, sign and all, and keeps its low 16 bits.
fn parse_group(text: &str) -> Option<u16> {
    if text.len() > 4 {
        return None;
    }
    let number = i32::from_str_radix(text, 16).ok()?;
    u16::try_from(number.cast_unsigned() & 0xffff).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_addresses_are_valid() {
        // Answers of ZooKeeper 3.9.5 (tests/reference/auth_script.py).
        let valid = "::1 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:: :: ::/0 +1:: -1:: 1.2.3.4/32 01.2.3.4 +1.2.3.4 1.2.3.4/+8 1.2.3.4/-0 127.0.0.0/8";
        for text in valid.split(' ') {
            assert!(IpRange::parse(text).is_some(), "{text}");
        }
        let invalid = "1::2::3 ::1/129 ::1/-1 ::ffff:1.2.3.4 12345:: g:: :1 1: 1:2 1.2.3.4/33 1.2.3 1.2.3.4. 1.2.3.4/ localhost fe80::1%lo \
                       1:2:3:4::5:6:7:8 1:2:3:4:5:6:7:8:9 ::: 1:::2 10.0.0.256 1.2.3.4.5 10.0.0.0/x";
        for text in invalid.split_ascii_whitespace().chain([""]) {
            assert!(IpRange::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ranges_hold_what_their_bits_say() {
        for (range, ip, expected) in [
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::5", false),
            ("2001:db8:8000::/33", "2001:db8:7fff::1", false),
            ("2001:db8::1", "2001:db8:0:0:0:0:0:1", true),
            ("-1::", "ffff::", true),
            ("::/0", "fe80::1", true),
            ("10.0.0.0/8", "::1", false),
            ("::/0", "10.0.0.1", false),
        ] {
            let contains = IpRange::parse(range).unwrap().contains(parse(ip).unwrap());
            assert_eq!(contains, expected, "{range} {ip}");
        }
    }
}
