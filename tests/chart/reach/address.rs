//! Blocks of addresses.

use std::net::IpAddr;

#[expect(clippy::unwrap_used, reason = "the tests write addresses as text, all over")]
pub(super) fn of(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether `address` is in `block`, such as `10.0.0.0/8`. Neither version of IP holds addresses of the other.
pub(super) fn contains(block: &str, address: IpAddr) -> bool {
    let Some((network, length)) = block.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            same(network.to_bits().into(), address.to_bits().into(), 32, length)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128, length),
        _ => false,
    }
}

fn same(one: u128, other: u128, width: u32, length: u32) -> bool {
    let rest = width.saturating_sub(length);
    one.checked_shr(rest).unwrap_or_default() == other.checked_shr(rest).unwrap_or_default()
}

#[test]
fn a_block_holds_its_first_and_last_address_and_not_their_neighbours() {
    for (block, address, expected) in [
        ("10.0.0.0/8", "10.0.0.0", true),
        ("10.0.0.0/8", "10.255.255.255", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("172.16.0.0/12", "172.31.255.255", true),
        ("172.16.0.0/12", "172.32.0.0", false),
        ("0.0.0.0/0", "1.2.3.4", true),
        ("::/0", "1.2.3.4", false),
        ("::/0", "fe80::1", true),
        ("fc00::/7", "fdff::1", true),
        ("fc00::/7", "fe00::1", false),
        ("1.2.3.4/32", "1.2.3.4", true),
        ("1.2.3.4/32", "1.2.3.5", false),
    ] {
        assert_eq!(contains(block, address.parse().unwrap()), expected, "{address} in {block}");
    }
}
