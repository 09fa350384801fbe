//! `gadget drones`.

use protocol::document::DroneRegistration;

use crate::access::HubAccess;
use crate::api::Api;
use crate::args::ListArgs;
use crate::console::Console;
use crate::table::table;

pub(crate) async fn list(args: ListArgs, console: &mut Console) -> anyhow::Result<()> {
    let ListArgs { hub, json } = args;
    let api = Api::new(HubAccess::find(&hub)?)?;
    let drones: Vec<DroneRegistration> = api.list("/drones").await?;
    if json {
        return Ok(drones.iter().try_for_each(|drone| console.json(drone))?);
    }
    let rows: Vec<[String; 5]> = drones
        .into_iter()
        .map(|drone| {
            let DroneRegistration { id, phase, chat_session_id, restarts, reason, .. } = drone;
            let session = chat_session_id.map_or_else(|| "–".to_owned(), |session| session.to_string());
            [id.to_string(), phase.to_string(), session, restarts.to_string(), reason.unwrap_or_default()]
        })
        .collect();
    Ok(console.out(&table(console.style, ["ID", "PHASE", "SESSION", "RESTARTS", "REASON"], &rows))?)
}
