//! The whole on one machine: `gadget local` as a real process, its drones, real clients, real git, a scripted model.

#[cfg(test)]
mod credentials;
#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod tabs;
#[cfg(test)]
mod turns;
