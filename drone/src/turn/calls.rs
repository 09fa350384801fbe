//! Runs the calls of one answer: side by side where they do not clash, each journaled before it takes effect and when
//! it has ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use protocol::event::TurnEvent;
use protocol::ids::CallId;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::TurnError;
use super::agent::{Agent, Batch};
use super::schedule::{Needs, Schedule};
use super::state::{OpenCall, Stage};
use super::stop::Wish;
use super::subagent::{self, ChildEnd, Task};
use crate::journal::record::Body;
use crate::outbox::Outbox;
use crate::outbox::coalesce::Coalescer;
use crate::tool::{Intent, Outcome, Tool, ToolContext, ToolError, Verdict};

/// How long calls may take to end before an aborted turn is reported without waiting for them.
const ABORT_PATIENCE: Duration = Duration::from_millis(220);
/// How long they may take when the process ends.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// What has happened to a call.
enum Step {
    Planned(Result<Intent, ToolError>),
    Done(Outcome),
    ChildDone(Option<Box<ChildEnd>>),
    Failed(TurnError),
}

type Finished = Result<(Id, Step), JoinError>;

/// The calls that run.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Step>,
    /// Which call a task is for.
    numbers: HashMap<Id, usize>,
    /// Calls whose plan is being made.
    planning: BTreeSet<usize>,
    /// Plans that were made sooner than that of a call before them: calls begin in the order of the model's.
    early: BTreeMap<usize, Result<Step, JoinError>>,
}

impl Running {
    fn spawn(&mut self, number: usize, work: impl Future<Output = Step> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.numbers.insert(id, number);
    }

    fn plan(&mut self, number: usize, work: impl Future<Output = Step> + Send + 'static) {
        self.planning.insert(number);
        self.spawn(number, work);
    }

    /// Waits for one, and takes all that have ended with it.
    async fn next(&mut self) -> Vec<(usize, Result<Step, JoinError>)> {
        let mut ended: Vec<Finished> = self.tasks.join_next_with_id().await.into_iter().collect();
        while let Some(more) = self.tasks.try_join_next_with_id() {
            ended.push(more);
        }
        let mut due = Vec::new();
        for finished in ended {
            let (id, step) = match finished {
                Ok((id, step)) => (id, Ok(step)),
                Err(error) => (error.id(), Err(error)),
            };
            let Some(number) = self.numbers.remove(&id) else { continue };
            if self.planning.remove(&number) {
                self.early.insert(number, step);
            } else {
                due.push((number, step));
            }
        }
        while let Some(first) = self.early.first_entry()
            && self.planning.first().is_none_or(|planning| first.key() < planning)
        {
            due.push(first.remove_entry());
        }
        due
    }
}

impl Agent {
    pub(super) async fn run_calls(&mut self) -> Result<(), TurnError> {
        let mut running = Running::default();
        let result = self.drive(&mut running).await;
        if result.is_err() {
            // Nothing may run on without a journal.
            self.cancel().cancel();
        }
        if !running.tasks.is_empty() {
            let mut rest = JoinSet::new();
            rest.spawn(async move { while running.tasks.join_next().await.is_some() {} });
            self.shared.stragglers.lock().push(rest);
        }
        result
    }

    async fn drive(&mut self, running: &mut Running) -> Result<(), TurnError> {
        let calls: Vec<OpenCall> = self.state.unfinished().cloned().collect();
        let mut schedule = Schedule::new(calls.iter().map(|call| (call.number, self.needs(call))).collect());
        let stop = self.shared.setup.stop.clone();
        let mut deadline: Option<Instant> = None;
        loop {
            if stop.wish().is_none() {
                for number in schedule.start() {
                    self.start(number, running).await?;
                }
            }
            if running.tasks.is_empty() {
                return Ok(());
            }
            let ended = tokio::select! {
                biased;
                ended = running.next() => ended,
                () = stop.wished(), if deadline.is_none() => {
                    let patience = match stop.wish() {
                        Some(Wish::Abort) => {
                            self.append(vec![Body::Cancel]).await?;
                            ABORT_PATIENCE
                        }
                        _ => LEAVE_PATIENCE,
                    };
                    deadline = Some(Instant::now() + patience);
                    continue;
                }
                () = sleep_until(deadline) => return Ok(()),
            };
            self.take(ended, running, &mut schedule).await?;
        }
    }

    fn needs(&self, open: &OpenCall) -> Needs {
        if open.call.name == subagent::NAME && self.offers(subagent::NAME) {
            return Needs::SubAgent;
        }
        let resources = match (self.tool(&open.call.name), arguments(&open.call.arguments)) {
            (Some(tool), Ok(arguments)) => tool.resources(&arguments, &self.context),
            // It will be answered by an error.
            _ => Vec::new(),
        };
        Needs::Resources(resources)
    }

    fn tool(&self, name: &str) -> Option<Arc<dyn Tool>> {
        self.tools.iter().find(|tool| tool.spec().name == name).cloned()
    }

    fn offers(&self, name: &str) -> bool {
        self.specs.iter().any(|spec| spec.name == name)
    }

    async fn start(&mut self, number: usize, running: &mut Running) -> Result<(), TurnError> {
        let Some(OpenCall { number: _, call, stage }) = self.state.open_call(number).cloned() else {
            return Ok(());
        };
        self.shared.setup.metrics.tool_calls.inc();
        if let Stage::Child { kind, prompt } = stage {
            self.run_child(number, Task { kind, prompt }, running);
            return Ok(());
        }
        let refuse = |running: &mut Running, error: ToolError| {
            running.plan(number, async { Step::Planned(Err(error)) });
        };
        let arguments = match arguments(&call.arguments) {
            Ok(arguments) => arguments,
            Err(error) => {
                refuse(running, error);
                return Ok(());
            }
        };
        if call.name == subagent::NAME && self.offers(subagent::NAME) {
            match subagent::parse(&arguments, self.state.children) {
                Ok(task) => self.open_child(number, task, running).await?,
                Err(error) => refuse(running, error),
            }
            return Ok(());
        }
        let Some(tool) = self.tool(&call.name) else {
            refuse(running, self.unknown(&call.name));
            return Ok(());
        };
        let call_id = self.voice.call_id(number, &call);
        match stage {
            Stage::Fresh => {
                let context = self.context.clone();
                running.plan(number, async move {
                    Step::Planned(tool.plan(&call_id, &arguments, &context).await)
                });
            }
            Stage::Intended(intent) => {
                let calling = self.calling(tool, call_id, intent);
                running.spawn(number, async move { Step::Done(calling.go_on().await) });
            }
            Stage::Child { .. } | Stage::Done(_) => {}
        }
        Ok(())
    }

    async fn open_child(
        &mut self,
        number: usize,
        task: Task,
        running: &mut Running,
    ) -> Result<(), TurnError> {
        let Some(open) = self.state.open_call(number) else { return Ok(()) };
        let mut batch = Batch::default();
        let started = batch.say(self.voice.started(number, &open.call));
        let Task { kind, prompt } = task.clone();
        batch.note(move |seqs| Body::ChildOpen { call: number, kind, prompt, started: seqs[started] });
        self.commit(batch).await?;
        self.run_child(number, task, running);
        Ok(())
    }

    fn run_child(&self, number: usize, task: Task, running: &mut Running) {
        let Some(open) = self.state.open_call(number) else { return };
        let voice = self.voice.sub_agent(number, &open.call);
        let child = subagent::run(self.shared.clone(), voice, number, task);
        running.spawn(number, async move {
            match child.await {
                Ok(end) => Step::ChildDone(end.map(Box::new)),
                Err(error) => Step::Failed(error),
            }
        });
    }

    /// Journals and tells what has happened, all in one write, and goes on with it.
    async fn take(
        &mut self,
        ended: Vec<(usize, Result<Step, JoinError>)>,
        running: &mut Running,
        schedule: &mut Schedule,
    ) -> Result<(), TurnError> {
        let wish = self.shared.setup.stop.wish();
        let mut batch = Batch::default();
        let mut to_apply = Vec::new();
        for (number, step) in ended {
            let Some(open) = self.state.open_call(number).cloned() else { continue };
            let step = step.unwrap_or_else(|error| crashed(&open, &error));
            match step {
                // A call that is cut short so that the process can end is looked at again by the next one.
                _ if matches!(wish, Some(Wish::Leave | Wish::Drop)) => {}
                Step::Failed(error) => return Err(error),
                Step::Planned(Ok(intent)) => {
                    if wish.is_none() {
                        let started = batch.say(self.voice.started(number, &open.call));
                        let noted = intent.clone();
                        batch.note(move |seqs| Body::Intent {
                            call: number,
                            intent: noted,
                            started: seqs[started],
                        });
                        to_apply.push((open, intent));
                    }
                    continue;
                }
                Step::Planned(Err(error)) => self.end(&mut batch, &open, error.into()),
                Step::Done(outcome) => self.end(&mut batch, &open, outcome),
                Step::ChildDone(None) => {}
                Step::ChildDone(Some(end)) => {
                    let ChildEnd { response, stats, outcome } = *end;
                    let event =
                        self.voice.agent_complete(number, &open.call, response.clone(), stats.clone());
                    let complete = batch.say(event);
                    batch.note(move |seqs| Body::ChildClose {
                        call: number,
                        response,
                        stats,
                        complete: seqs[complete],
                    });
                    self.end(&mut batch, &open, outcome);
                }
            }
            schedule.done(number);
        }
        if !batch.is_empty() {
            self.commit(batch).await?;
        }
        for (open, intent) in to_apply {
            let Some(tool) = self.tool(&open.call.name) else { continue };
            let call_id = self.voice.call_id(open.number, &open.call);
            let calling = self.calling(tool, call_id, intent);
            running.spawn(open.number, async move { Step::Done(calling.apply().await) });
        }
        Ok(())
    }

    fn end(&self, batch: &mut Batch, open: &OpenCall, outcome: Outcome) {
        let number = open.number;
        let started = (open.stage == Stage::Fresh).then(|| batch.say(self.voice.started(number, &open.call)));
        let ended = batch.say(self.voice.ended(number, &open.call, &outcome));
        batch.note(move |seqs| Body::Result {
            call: number,
            outcome,
            started: started.map(|started| seqs[started]),
            ended: seqs[ended],
        });
    }

    fn calling(&self, tool: Arc<dyn Tool>, call_id: CallId, intent: Intent) -> Calling {
        let shows = self.voice.is_main().then(|| (self.shared.setup.outbox.clone(), call_id));
        Calling { tool, intent, context: self.context.clone(), shows }
    }

    fn unknown(&self, name: &str) -> ToolError {
        let known: Vec<&str> = self.specs.iter().map(|spec| spec.name).collect();
        ToolError::new("NOT_FOUND", format!("there is no tool called {name:?}"))
            .hint(format!("The tools are: {}.", known.join(", ")))
    }
}

/// A call that is being carried out.
struct Calling {
    tool: Arc<dyn Tool>,
    intent: Intent,
    context: ToolContext,
    /// Where its live output goes; none: nowhere.
    shows: Option<(Outbox, CallId)>,
}

impl Calling {
    /// Of an intent that an earlier process has journaled.
    async fn go_on(self) -> Outcome {
        match self.tool.reconcile(&self.intent, &self.context).await {
            Verdict::Done(outcome) | Verdict::Unsafe(outcome) => outcome,
            Verdict::NotDone | Verdict::Running => self.apply().await,
        }
    }

    async fn apply(self) -> Outcome {
        let Self { tool, intent, mut context, shows } = self;
        let (progress, mut pieces) = mpsc::channel(64);
        context.progress = progress;
        // The context, and with it the sender, ends with the call.
        let call = async move { tool.apply(&intent, &context).await };
        let show = async {
            let mut coalescer = Coalescer::default();
            loop {
                let due = coalescer.due();
                let now = Instant::now();
                let chunks = tokio::select! {
                    piece = pieces.recv() => match piece {
                        Some(piece) => coalescer.push((), &piece, now),
                        None => break,
                    },
                    () = sleep_until(due) => coalescer.take(Instant::now()),
                };
                offer(shows.as_ref(), chunks);
            }
            offer(shows.as_ref(), coalescer.take(Instant::now()));
        };
        let (outcome, ()) = tokio::join!(call, show);
        outcome
    }
}

fn offer(shows: Option<&(Outbox, CallId)>, chunks: Vec<((), String)>) {
    let Some((outbox, call_id)) = shows else { return };
    for ((), chunk) in chunks {
        let event = TurnEvent::ToolCallProgress { call_id: call_id.clone(), chunk };
        if let Err(error) = outbox.offer(&event) {
            tracing::debug!(%error, "a piece of live output was dropped");
        }
    }
}

/// A call's arguments. Models leave them out where there are none.
fn arguments(text: &str) -> Result<Value, ToolError> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(text).map_err(|error| {
        ToolError::new("INVALID_PARAMETER", format!("the arguments are not JSON: {error}"))
            .hint("Make the call again with whole and valid JSON; give less at once if it was cut off.")
    })
}

fn crashed(open: &OpenCall, error: &JoinError) -> Step {
    tracing::error!(%error, tool = open.call.name, "a tool call crashed");
    match open.stage {
        Stage::Fresh => {
            Step::Planned(Err(ToolError::new("INTERNAL", "the tool crashed before it did anything")
                .hint("Try another way.")))
        }
        _ => Step::Done(Outcome {
            text: "The tool crashed while it ran. Find out what is true before you repeat it.".to_owned(),
            is_error: true,
            unknown_outcome: true,
            data: None,
        }),
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn planned() -> Step {
        Step::Planned(Err(ToolError::new("NO", "nothing")))
    }

    #[tokio::test]
    async fn calls_begin_in_the_order_of_the_model_s_whichever_plan_is_made_first() {
        let mut running = Running::default();
        let (slow, made) = oneshot::channel::<()>();
        running.plan(1, async {
            let _told = made.await;
            planned()
        });
        running.plan(2, std::future::ready(planned()));
        running.plan(3, std::future::ready(planned()));
        running.spawn(0, std::future::ready(Step::ChildDone(None)));
        let mut numbers: Vec<usize> = Vec::new();
        while running.tasks.len() > 1 {
            numbers.extend(running.next().await.iter().map(|(number, _)| *number));
        }
        assert_eq!(numbers, [0], "what waits for no plan goes on, what comes after a plan waits");
        slow.send(()).unwrap();
        let rest: Vec<_> = running.next().await.iter().map(|(number, _)| *number).collect();
        assert_eq!(rest, [1, 2, 3]);
    }
}
