//! How Java writes numbers, dates and addresses.

use engine::auth::java_host;
use std::net::SocketAddr;

/// An average as ZooKeeper writes it: at most four digits behind the point, at least one.
pub(super) fn decimal(value: f64) -> String {
    let mut text = format!("{value:.4}");
    while text.ends_with('0') && !text.ends_with(".0") {
        text.pop();
    }
    text
}

/// `part / whole`; 0 where there is nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an average for people")]
    let (part, whole) = (part as f64, whole as f64);
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// `InetSocketAddress.toString`: a slash, and IPv6 in brackets without its short form.
pub(super) fn address(address: SocketAddr) -> String {
    let (host, port) = (java_host(address), address.port());
    if host.contains(':') { format!("/[{host}]:{port}") } else { format!("/{host}:{port}") }
}

/// `Date.toString` in UTC: `Sat Nov 21 08:01:17 UTC 2026`.
pub(super) fn date(wall_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = wall_ms.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The calendar's years begin in March, so that the leap day ends one, and repeat after 400 years of 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 2 } else { march_month - 10 };
    let year = year_of_era + era * 400 + i64::from(month < 2);
    let name = |names: &[&'static str], place: i64| {
        usize::try_from(place).ok().and_then(|place| names.get(place)).copied().unwrap_or("?")
    };
    format!(
        "{} {} {day:02} {:02}:{:02}:{:02} UTC {year}",
        name(&DAYS, days.rem_euclid(7)),
        name(&MONTHS, month),
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_java_writes_them() {
        for (wall_ms, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (1_795_248_077_391, "Sat Nov 21 08:01:17 UTC 2026"),
            (4_107_542_399_999, "Sun Feb 28 23:59:59 UTC 2100"),
            (4_107_542_400_000, "Mon Mar 01 00:00:00 UTC 2100"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(date(wall_ms), text);
        }
    }

    #[test]
    fn averages_and_addresses_are_written_as_java_writes_them() {
        for (value, text) in [(0.0, "0.0"), (3.066_66, "3.0667"), (0.625, "0.625"), (15.0, "15.0"), (100.0, "100.0")] {
            assert_eq!(decimal(value), text);
        }
        assert_eq!(address("127.0.0.1:80".parse().unwrap()), "/127.0.0.1:80");
        assert_eq!(address("[::ffff:10.0.0.1]:80".parse().unwrap()), "/10.0.0.1:80");
        assert_eq!(address("[::1]:80".parse().unwrap()), "/[0:0:0:0:0:0:0:1]:80");
        assert_eq!(address("[fe80::7%3]:80".parse().unwrap()), "/[fe80:0:0:0:0:0:0:7%3]:80");
    }
}
