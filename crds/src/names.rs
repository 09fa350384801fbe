//! Names and labels of what belongs to a session: functions of the session's own name, so that creating twice is
//! creating once.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

/// Longest name of a session or drone for which all of these fit into 63 characters, the most that a label holds.
pub const LONGEST: usize = 60;

pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const NAME: &str = "app.kubernetes.io/name";
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Values of [`MANAGED_BY`].
pub const OPERATOR: &str = "gadget-operator";
pub const HUB: &str = "gadget-hub";
pub const PRODUCT: &str = "gadget";
pub const DRONE_COMPONENT: &str = "drone";
pub const HUB_COMPONENT: &str = "hub";
pub const WORKSPACE_COMPONENT: &str = "workspace";

/// Name of the session that an object belongs to.
pub const SESSION: &str = "gadgetcode.dev/session";
/// Name of the drone that an object belongs to.
pub const DRONE: &str = "gadgetcode.dev/drone";
/// Whose it is: a hash, because a label is no place for a person's name. See [`user_hash`].
pub const USER_HASH: &str = "gadgetcode.dev/user-hash";
/// The class that a pod was made from.
pub const CLASS: &str = "gadgetcode.dev/class";
/// Annotation of a pod: the revision of its class. See `DroneClassSpec::revision`.
pub const CLASS_REVISION: &str = "gadgetcode.dev/class-revision";

/// Annotation of a suspended session or drone: why the hub suspended it. Without it a person did.
pub const SUSPENDED_FOR: &str = "gadgetcode.dev/suspended-for";
/// Its only value: nobody worked there.
pub const IDLE: &str = "idle";
/// Annotation of a class: what it was made of. See `DroneClassSpec::fingerprint`.
pub const SETTINGS: &str = "gadgetcode.dev/settings";

/// The audience of the token with which a drone proves itself to the hub.
pub const HUB_AUDIENCE: &str = "gadget-hub";

/// The drone of a session.
pub fn drone(session: &str) -> String {
    session.to_owned()
}

/// The pod of a drone: fixed, so that the API server allows one at a time.
pub fn pod(drone: &str) -> String {
    drone.to_owned()
}

/// The volume claim of a drone's workspace, where the session names none.
pub fn claim(drone: &str) -> String {
    format!("ws-{drone}")
}

pub fn user_hash(user: &str) -> String {
    hash(user)
}

/// 16 hexadecimal digits of FNV-1a: short, the same everywhere, and not meant to keep a secret.
pub(crate) fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Whether a claim is a workspace of this user: only such a one may be named in `spec.workspace.claimName`.
pub fn is_workspace_of(claim: &PersistentVolumeClaim, user: &str) -> bool {
    let labels = claim.metadata.labels.as_ref();
    let is =
        |key: &str, value: &str| labels.and_then(|labels| labels.get(key)).is_some_and(|has| has == value);
    is(COMPONENT, WORKSPACE_COMPONENT) && is(USER_HASH, &user_hash(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_fits_a_label() {
        let longest = "x".repeat(LONGEST);
        for name in [drone(&longest), pod(&longest), claim(&longest), user_hash(&longest)] {
            assert!(name.len() <= 63, "{name}");
        }
    }

    #[test]
    fn users_are_told_apart() {
        assert_eq!(user_hash("ada"), user_hash("ada"));
        assert_ne!(user_hash("ada"), user_hash("adb"));
    }
}
