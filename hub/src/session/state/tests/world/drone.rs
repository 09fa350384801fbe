//! The drone of the played world: an outbox that survives connections, a work order on disk that survives the process.

use std::collections::VecDeque;

use protocol::drone::{CrashRecoveryRequest, Hello, HelloLock, HelloPending, HelloTurn, PendingTurn};
use protocol::event::{DroneMeta, TurnEvent};
use protocol::ids::TurnId;
use protocol::value::{ChatTurnStatus, DronePhase};
use serde_json::json;
use tokio::sync::oneshot;

use super::super::super::*;
use super::{DRONE, SESSION, World, now};
use crate::fleet::FleetEvent;
use crate::session::ConnId;

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault that a test switches on by itself")]
pub(in super::super) struct SimDrone {
    pub(in super::super) conn: Option<ConnId>,
    pub(super) generation: u64,
    pub(in super::super) locked: bool,
    pub(in super::super) refuses_lock: bool,
    pub(in super::super) refuses_work: bool,
    /// It still ends something else.
    pub(in super::super) busy: bool,
    /// It says nothing of the work order on its disk.
    pub(in super::super) is_old: bool,
    pub(in super::super) run: Option<Run>,
    /// A work order on disk that no process works on.
    pub(super) crashed: Option<Run>,
    pub(super) outbox: VecDeque<Unacked>,
    pub(in super::super) paused: bool,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Run {
    pub(in super::super) turn: TurnId,
    pub(in super::super) attempt: u32,
    pub(super) next_seq: u64,
    pub(super) progress: u64,
    pub(super) over: bool,
}

pub(super) struct Unacked {
    pub(super) meta: DroneMeta,
    event: TurnEvent,
    pub(super) ack: Option<oneshot::Receiver<Vec<Value>>>,
    /// Not sent again before the next connection.
    refused: bool,
}

impl World {
    pub(in super::super) fn drone_connects(&mut self) {
        if self.drone.conn.is_some() {
            return;
        }
        let conn = self.new_conn();
        self.drone.conn = Some(conn);
        self.drone.generation += 1;
        self.say_hello(true);
        if let Some(run) = self.drone.crashed.clone() {
            let request = CrashRecoveryRequest {
                workspace_id: "w".into(),
                turn_id: run.turn,
                chat_session_id: SESSION.into(),
                resumable: true,
                last_seq: run.next_seq - 1,
                progress: run.progress,
            };
            self.apply(Input::Drone { conn, said: DroneInput::Recovery(request) });
        }
    }

    pub(in super::super) fn say_hello(&mut self, first: bool) {
        let Some(conn) = self.drone.conn else { return };
        let answer = self.ask("hello".to_owned());
        let SimDrone { generation, locked, run, crashed, .. } = &self.drone;
        let hello = Hello {
            workspace_id: "w".into(),
            lock: locked.then(|| HelloLock { chat_session_id: SESSION.into(), project_id: "p".into() }),
            mode: if run.is_some() { WorkspaceMode::Agent } else { WorkspaceMode::Idle },
            turn: run.as_ref().map(|run| HelloTurn {
                turn_id: run.turn.clone(),
                attempt: run.attempt,
                last_seq: run.next_seq - 1,
            }),
            pending: match crashed {
                _ if self.drone.is_old => HelloPending::Untold,
                Some(Run { turn, attempt, .. }) => {
                    HelloPending::Turn(PendingTurn { turn_id: turn.clone(), attempt: *attempt })
                }
                None => HelloPending::Nothing,
            },
            process_restarts: 0,
            last_exit: None,
            hostname: "h".into(),
            version: "1".into(),
        };
        let generation = *generation;
        let said = DroneInput::Hello { drone: DRONE.into(), hello, generation, first, answer };
        self.apply(Input::Drone { conn, said });
    }

    pub(in super::super) fn drone_disconnects(&mut self) {
        if let Some(conn) = self.drone.disconnect() {
            self.apply(Input::Drone { conn, said: DroneInput::Gone });
        }
    }

    /// A person stops the drone, or lets it run again.
    pub(in super::super) fn hold(&mut self, held: bool) {
        self.held = held;
        self.apply(Input::Held(held));
    }

    pub(in super::super) fn fleet_event(&self, phase: DronePhase, message: Option<&str>) -> FleetEvent {
        FleetEvent {
            drone: DRONE.into(),
            phase,
            reason: None,
            message: message.map(str::to_owned),
            restarts: 0,
            since: now(self.now).wall,
        }
    }

    pub(in super::super) fn fleet_says(&mut self, phase: DronePhase, message: Option<&str>) {
        let event = self.fleet_event(phase, message);
        self.apply(Input::Fleet(event));
    }

    /// The process dies. What the hub has not stored is told anew by the next attempt.
    pub(in super::super) fn drone_crashes(&mut self) {
        self.drone.locked = false;
        self.drone.outbox.clear();
        if let Some(run) = self.drone.run.take() {
            // A turn that had come to its end stays so: its journal says it.
            self.drone.crashed = Some(run);
        }
        self.drone_disconnects();
    }

    pub(in super::super) fn drone_emits(&mut self, event: TurnEvent) {
        let generation = self.drone.generation;
        let Some(run) = self.drone.run.as_mut().filter(|run| !run.over) else { return };
        let meta = DroneMeta {
            turn_id: run.turn.clone(),
            attempt: run.attempt,
            generation,
            seq: run.next_seq,
            notes: event.notes(),
        };
        run.next_seq += 1;
        run.progress += 1;
        run.over = matches!(event, TurnEvent::WorkOrderComplete { .. });
        self.drone.outbox.push_back(Unacked { meta, event, ack: None, refused: false });
        self.send_outbox();
    }

    pub(in super::super) fn drone_says(&mut self, text: &str) {
        self.drone_emits(TurnEvent::Response { content: text.to_owned() });
    }

    pub(in super::super) fn drone_completes(&mut self, status: ChatTurnStatus) {
        if let Some(run) = &self.drone.run {
            let turn_id = run.turn.clone();
            self.drone_emits(TurnEvent::WorkOrderComplete { turn_id, status, message: None });
        }
    }

    pub(super) fn send_outbox(&mut self) {
        let Some(conn) = self.drone.conn else { return };
        let mut inputs = Vec::new();
        for unacked in
            self.drone.outbox.iter_mut().filter(|unacked| unacked.ack.is_none() && !unacked.refused)
        {
            let (answer, ack) = Responder::channel();
            unacked.ack = Some(ack);
            let event = unacked.event.to_raw().unwrap();
            let said = DroneInput::Event { event, meta: unacked.meta.clone(), answer };
            inputs.push(Input::Drone { conn, said });
        }
        for input in inputs {
            self.apply(input);
        }
    }

    /// Reads the acks that have come.
    pub(super) fn read_acks(&mut self) {
        let mut refused = Vec::new();
        self.drone.outbox.retain_mut(|unacked| match unacked.ack.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(args)) if args[0] == json!(true) => false,
            Some(Ok(args)) => {
                refused.push(format!("{args:?}"));
                unacked.ack = None;
                unacked.refused = true;
                true
            }
            Some(Err(oneshot::error::TryRecvError::Closed)) => panic!("an event's ack was dropped"),
            Some(Err(oneshot::error::TryRecvError::Empty)) | None => true,
        });
        if let Some(why) = refused.iter().find(|why| why.contains("gap") || why.contains("invalid")) {
            panic!("an event in order was refused: {why}");
        }
        if self.drone.run.as_ref().is_some_and(|run| run.over) && self.drone.outbox.is_empty() {
            self.drone.run = None;
        }
    }
}

impl SimDrone {
    pub(super) fn disconnect(&mut self) -> Option<ConnId> {
        self.paused = false;
        self.outbox.iter_mut().for_each(|unacked| {
            unacked.ack = None;
            unacked.refused = false;
        });
        self.conn.take()
    }
}
