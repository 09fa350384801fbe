//! Who can reach whom, by the policies that the chart makes.

mod address;
mod policy;

use anyhow::Result;

use crate::rendered::{Rendered, example};
use policy::{Place, Pod, Protocol, World};

/// A cluster with the usual ranges, a hub, two drones, DNS and others.
fn world(arguments: &[&str], class: &str) -> Result<World> {
    let policies = Rendered::gadget(arguments)?.all_typed("NetworkPolicy")?;
    let hub = [
        ("app.kubernetes.io/name", "gadget"),
        ("app.kubernetes.io/instance", "gadget"),
        ("app.kubernetes.io/component", "hub"),
    ];
    let of = |component| hub.map(|(name, value)| (name, if value == "hub" { component } else { value }));
    let (operator, test) = (of("operator"), of("test"));
    let drone = [
        (crds::names::NAME, crds::names::PRODUCT),
        (crds::names::COMPONENT, crds::names::DRONE_COMPONENT),
        (crds::names::CLASS, class),
    ];
    let drones = if policies_are_elsewhere(arguments) { "agents-drones" } else { "tools" };
    let pods = vec![
        Pod::new("hub", "tools", "10.244.0.2", &hub),
        Pod::new("operator", "tools", "10.244.0.3", &operator),
        Pod::new("test", "tools", "10.244.0.11", &test),
        Pod::new("fake-test", "elsewhere", "10.244.0.12", &test),
        Pod::new("drone", drones, "10.244.0.4", &drone),
        Pod::new("neighbour", drones, "10.244.0.5", &drone),
        Pod::new("dns", "kube-system", "10.244.0.6", &[("k8s-app", "kube-dns")]),
        Pod::new("other", "kube-system", "10.244.0.7", &[("k8s-app", "metrics")]),
        Pod::new("fake-dns", "elsewhere", "10.244.0.8", &[("k8s-app", "kube-dns")]),
        Pod::new("fake-hub", "elsewhere", "10.244.0.9", &hub),
        Pod::new("ingress", "ingress-nginx", "10.244.0.10", &[("app", "nginx")]),
    ];
    Ok(World { policies, pods })
}

fn policies_are_elsewhere(arguments: &[&str]) -> bool {
    arguments.iter().any(|argument| argument.contains("everything"))
}

fn tcp(address: &str, port: i32) -> Place {
    Place { address: address::of(address), port, protocol: Protocol::Tcp }
}

fn udp(address: &str, port: i32) -> Place {
    Place { protocol: Protocol::Udp, ..tcp(address, port) }
}

const HUB: &str = "10.244.0.2";
const DRONE: &str = "10.244.0.4";
const NEIGHBOUR: &str = "10.244.0.5";
const DNS: &str = "10.244.0.6";

#[test]
fn a_drone_reaches_names_the_hub_and_public_addresses() -> Result<()> {
    let world = world(&[], "default")?;
    for place in [
        udp(DNS, 53),
        tcp(DNS, 53),
        tcp(HUB, 8420),
        tcp("140.82.121.4", 443),
        tcp("140.82.121.4", 22),
        tcp("1.1.1.1", 443),
        tcp("2606:4700::6810:84e5", 443),
        // Just outside of what is private.
        tcp("9.255.255.255", 443),
        tcp("11.0.0.0", 443),
        tcp("172.15.255.255", 443),
        tcp("172.32.0.0", 443),
        tcp("192.167.255.255", 443),
        tcp("192.169.0.0", 443),
        tcp("100.63.255.255", 443),
        tcp("100.128.0.0", 443),
        tcp("169.253.255.255", 443),
        tcp("169.255.0.0", 443),
        tcp("223.255.255.255", 443),
    ] {
        assert!(world.allows("drone", place), "{place:?}");
    }
    Ok(())
}

#[test]
fn a_drone_reaches_nothing_of_the_cluster_and_its_site() -> Result<()> {
    let world = world(&[], "default")?;
    for (what, place) in [
        ("the API server's service", tcp("10.96.0.1", 443)),
        ("the API server", tcp("192.168.1.10", 6443)),
        ("a cloud's metadata", tcp("169.254.169.254", 80)),
        ("Amazon's metadata by IPv6", tcp("fd00:ec2::254", 80)),
        ("Azure's wire server", tcp("168.63.129.16", 80)),
        ("Alibaba's metadata", tcp("100.100.100.200", 80)),
        ("Oracle's metadata", tcp("192.0.0.192", 80)),
        ("a node's kubelet", tcp("192.168.1.10", 10250)),
        ("a node port", tcp("192.168.1.10", 30_000)),
        ("a node port of the site's second network", tcp("172.16.0.1", 32_767)),
        ("another drone", tcp(NEIGHBOUR, 8421)),
        ("another drone, by the port of DNS", udp(NEIGHBOUR, 53)),
        ("the operator", tcp("10.244.0.3", 8081)),
        ("another pod of kube-system", tcp("10.244.0.7", 53)),
        ("DNS, but not for names", tcp(DNS, 9153)),
        ("a pod elsewhere that calls itself DNS", udp("10.244.0.8", 53)),
        ("a pod elsewhere that calls itself the hub", tcp("10.244.0.9", 8420)),
        ("another port of the hub", tcp(HUB, 22)),
        ("the hub by UDP", udp(HUB, 8420)),
        ("its own node", tcp("127.0.0.1", 80)),
        ("a neighbour on the link", tcp("fe80::1", 80)),
        ("everybody on the link", udp("224.0.0.251", 5353)),
        ("IPv4 behind NAT64", tcp("64:ff9b::a9fe:a9fe", 80)),
        ("the end of the private range", tcp("172.31.255.255", 443)),
        ("the end of the carriers' range", tcp("100.127.255.255", 443)),
    ] {
        assert!(!world.allows("drone", place), "{what}: {place:?}");
    }
    Ok(())
}

#[test]
fn nobody_reaches_a_drone() -> Result<()> {
    let world = world(&[], "default")?;
    for from in ["hub", "operator", "neighbour", "dns", "other", "ingress"] {
        for port in [22, 80, 8420, 8421] {
            assert!(!world.allows(from, tcp(DRONE, port)), "{from}");
        }
    }
    Ok(())
}

#[test]
fn a_drone_of_another_namespace_reaches_the_hub() -> Result<()> {
    let world = world(&[&example("everything")], "default")?;
    assert!(world.allows("drone", tcp(HUB, 8420)));
    assert!(!world.allows("drone", tcp(NEIGHBOUR, 8421)));
    Ok(())
}

#[test]
fn values_open_what_a_site_needs_and_no_more() -> Result<()> {
    let everything = example("everything");
    let of = |class| world(&[&everything], class);
    let (proxy, database) = (tcp("10.1.2.3", 3128), tcp("10.9.1.1", 5432));
    let (public, odd) = (tcp("140.82.121.4", 443), tcp("140.82.121.4", 8080));
    let local_dns = udp("169.254.20.10", 53);
    for (class, place, expected) in [
        ("default", proxy, true),
        ("default", tcp("10.1.2.3", 22), false),
        ("default", tcp("10.1.2.4", 3128), false),
        ("default", public, true),
        ("default", odd, false),
        ("default", database, false),
        ("default", local_dns, true),
        ("default", tcp("169.254.20.10", 80), false),
        ("data", database, true),
        ("data", tcp("10.9.1.1", 22), false),
        ("data", public, true),
        ("closed", public, false),
        ("closed", proxy, true),
        ("closed", tcp(HUB, 8420), true),
    ] {
        assert_eq!(of(class)?.allows("drone", place), expected, "{class} {place:?}");
    }
    Ok(())
}

#[test]
fn without_the_internet_drones_reach_the_hub_and_what_is_listed() -> Result<()> {
    let world = world(&[&example("restricted-registry")], "default")?;
    assert!(world.allows("drone", tcp(HUB, 8420)));
    assert!(world.allows("drone", tcp("10.20.0.10", 443)));
    for place in [tcp("1.1.1.1", 443), tcp("2606:4700::1", 443), tcp("10.20.0.11", 443)] {
        assert!(!world.allows("drone", place), "{place:?}");
    }
    Ok(())
}

#[test]
fn public_addresses_of_a_site_can_be_closed() -> Result<()> {
    let own = "--set=networkPolicy.drones.privateRanges={10.0.0.0/8,203.0.113.0/24}";
    let world = world(&[own], "default")?;
    assert!(!world.allows("drone", tcp("203.0.113.7", 6443)));
    assert!(world.allows("drone", tcp("203.0.114.1", 443)));
    Ok(())
}

#[test]
fn the_hub_is_reached_by_everybody_or_by_those_who_are_listed() -> Result<()> {
    let open = world(&[], "default")?;
    let listed = world(&[&example("ingress")], "default")?;
    let bare = world(&["--set=networkPolicy.hub.allow=Listed"], "default")?;
    for (from, when_listed, when_bare) in [
        ("drone", true, true),
        ("test", true, true),
        ("ingress", true, false),
        ("other", false, false),
        ("fake-hub", false, false),
        ("fake-test", false, false),
    ] {
        assert!(open.allows(from, tcp(HUB, 8420)), "{from}");
        assert_eq!(listed.allows(from, tcp(HUB, 8420)), when_listed, "{from}");
        assert_eq!(bare.allows(from, tcp(HUB, 8420)), when_bare, "{from}");
    }
    assert!(!open.allows("ingress", tcp(HUB, 22)));
    let untested = world(&["--set=networkPolicy.hub.allow=Listed,test.enabled=false"], "default")?;
    assert!(!untested.allows("test", tcp(HUB, 8420)));
    Ok(())
}

#[test]
fn a_drone_of_the_namespace_that_is_not_gadget_s_is_not_held() -> Result<()> {
    // The policies are about drones: others of the namespace go on as before.
    let mut world = world(&[], "default")?;
    world.pods.push(Pod::new("guest", "tools", "10.244.0.20", &[("app", "guest")]));
    assert!(world.allows("guest", tcp("10.96.0.1", 443)));
    Ok(())
}
