//! Where a request comes from, and how often from there.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use actix_web::HttpRequest;
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use super::exposure::Rate;
use crate::transport::refused::Refused;

/// After so many requests, addresses that were silent are forgotten.
const FORGET: u32 = 4_096;

/// The address that a request is counted for. What a proxy of ours says is believed, what others say is not.
pub(super) fn address(request: &HttpRequest, proxies: &[IpAddr]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let hops = request.headers().get_all("x-forwarded-for");
    let hops: Vec<&str> = hops.filter_map(|hops| hops.to_str().ok()).collect();
    Some(network(origin(peer, &hops, proxies)))
}

fn origin(peer: IpAddr, forwarded: &[&str], proxies: &[IpAddr]) -> IpAddr {
    if !proxies.contains(&peer) {
        return peer;
    }
    // The last hop is what our own proxy saw.
    let hops = forwarded.iter().rev().flat_map(|hops| hops.rsplit(','));
    for hop in hops {
        match hop.trim().parse() {
            Ok(address) if proxies.contains(&address) => {}
            Ok(address) => return address,
            Err(_) => break,
        }
    }
    peer
}

/// One subscriber has a whole network of the newer addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Counts requests by address.
#[derive(Debug)]
pub(super) struct Gate {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl Gate {
    pub(super) fn new(rate: Rate) -> Gate {
        let quota = Quota::per_minute(rate.per_minute).allow_burst(rate.burst);
        Gate {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            asked: AtomicU32::new(0),
        }
    }

    /// Lets a request through, or says when to try again.
    pub(super) fn pass(&self, from: IpAddr) -> Result<(), Refused> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET == FORGET - 1 {
            self.limiter.retain_recent();
        }
        match self.limiter.check_key_n(&from, NonZeroU32::MIN) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => {
                let wait = until.wait_time_from(self.clock.now());
                Err(Refused::busy(wait.as_secs() + 1))
            }
            // More at once than a burst holds: one never is.
            Err(_) => Err(Refused::busy(60)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_proxies_are_believed() {
        let proxies = [ip("10.0.0.1"), ip("10.0.0.2")];
        let from = |peer, forwarded: &[&str]| origin(ip(peer), forwarded, &proxies).to_string();
        assert_eq!(from("9.9.9.9", &["1.1.1.1"]), "9.9.9.9");
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"]), "1.1.1.1");
        assert_eq!(from("10.0.0.1", &["6.6.6.6", "1.1.1.1"]), "1.1.1.1");
        assert_eq!(from("10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(network(ip("2001:db8:1:2:3:4:5:6")).to_string(), "2001:db8:1:2::");
        assert_eq!(network(ip("::ffff:1.2.3.4")).to_string(), "1.2.3.4");
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let one = NonZeroU32::MIN;
        let gate = Gate::new(Rate { per_minute: one, burst: one.saturating_add(1) });
        assert!(gate.pass(ip("1.1.1.1")).is_ok() && gate.pass(ip("1.1.1.1")).is_ok());
        let refused = gate.pass(ip("1.1.1.1")).unwrap_err();
        assert!((50..=61).contains(&refused.retry_after.unwrap()), "{refused:?}");
        assert!(gate.pass(ip("1.1.1.2")).is_ok());
    }
}
