//! The client against a real socketioxide server in the same process, and against peers that misbehave.

#[cfg(test)]
mod messages;
#[cfg(test)]
mod reconnect;
#[cfg(test)]
mod support;
