//! Owns following a run: changes are sent as server-sent events, in the order of its progress, whose
//! sequence numbers are the ids.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use poem::web::Data;
use poem::web::sse::{Event, SSE};
use poem::{IntoResponse, Response};
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::json;

use super::run::Run;
use super::task::Task;
use crate::api::http::event_stream::{EventSource, EventStreams, Next, Poll};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::run_tasks::{self, LedgerTask};
use crate::db::{self, runs};
use crate::domain::failure::FailureClass;
use crate::domain::run::RunId;
use crate::domain::string_enum::string_enum;

/// A comment is sent this often, so that neither side considers the other dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The most tasks that one poll reads.
const TASKS_PER_LOOK: i64 = 500;

string_enum! {
    /// What an event is about.
    EventName ("event") {
        /// The run has changed.
        Run = "run",
        /// A task has completed, or an attempt of it has failed.
        Task = "task",
        /// The run has ended.
        End = "end",
    }
}

string_enums! {
    EventName = "RunEventName": "What an event is about, and what its data is.",
}

/// A server-sent event.
#[derive(Debug, Object)]
struct RunEvent {
    /// A number: as `Last-Event-ID` it asks for what came later.
    id: String,
    event: EventName,
    /// JSON: of `run` what `GET /runs/{id}` answers, of `task` an item of its list of tasks, of `end`
    /// an object with the `status` of the run.
    data: String,
}

/// The events, one after the other.
struct RunEvents(BoxStream<'static, RunEvent>);

impl Payload for RunEvents {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    /// Before OpenAPI 3.2 the schema of a stream of events is that of one of them.
    fn schema_ref() -> MetaSchemaRef {
        RunEvent::schema_ref()
    }

    fn register(registry: &mut Registry) {
        RunEvent::register(registry);
    }
}

impl IntoResponse for RunEvents {
    fn into_response(self) -> Response {
        let event = |RunEvent { id, event, data }| {
            Event::message(data).id(id).event_type(EventName::as_str(event))
        };
        SSE::new(self.0.map(event)).keep_alive(HEARTBEAT).into_response()
    }
}

#[derive(ApiResponse)]
enum Following {
    /// The events as they happen.
    #[oai(status = 200)]
    Events(RunEvents),
}

/// `GET /runs/{id}/events`
struct FollowRun;
impl Declares for FollowRun {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownRun, Kind::Busy];
}

/// The operation that follows a run.
pub(crate) struct RunEventsApi;

#[OpenApi(tag = "Tag::Runs")]
impl RunEventsApi {
    /// Follow a run
    ///
    /// Server-sent events: `run` at once and whenever it has changed, with what `GET /runs/{id}`
    /// answers; `task` for each task that has completed, and for each that is to be tried again, as in
    /// the list of tasks; `end` when the run has ended, as the last one. A stream that ends otherwise,
    /// after 10 minutes at the latest, goes on when it is asked for again with the last id. There is
    /// room for 64 streams.
    #[oai(path = "/runs/:id/events", method = "get", operation_id = "follow_run")]
    async fn follow(
        &self,
        state: Data<&ApiState>,
        streams: Data<&EventStreams>,
        /// The run's id.
        id: Path<i64>,
        /// The id of the last event that was seen: what came later is told first, of each task the
        /// last state only. 0 tells every task; without it there is what changes from now on.
        #[oai(name = "Last-Event-ID", validator(minimum(value = "0")))]
        last: Header<Option<i64>>,
    ) -> Result<Following, Refusal<FollowRun>> {
        let permit = streams.permit()?;
        let run = runs::get(&mut *state.connection().await?, RunId(id.0)).await?;
        let run = run.ok_or_else(|| Problem::unknown_run(id.0))?;
        let seen = last.0.map_or(run.sequence, |last| last.min(run.sequence));
        let watch = RunWatch { state: state.clone(), run: run.id, seen, told: None };
        Ok(Following::Events(RunEvents(permit.stream(watch).boxed())))
    }
}

/// A run and what of it was told.
struct RunWatch {
    state: ApiState,
    run: RunId,
    /// The sequence number of the last change that was told.
    seen: i64,
    /// The run as it was told.
    told: Option<String>,
}

impl EventSource for RunWatch {
    type Event = RunEvent;

    async fn poll(&mut self) -> Poll<RunEvent> {
        let error = match self.try_poll().await {
            Ok(poll) => return poll,
            Err(error) => error,
        };
        // A database that comes back is worth waiting for.
        let next = match db::failure_class(&error) {
            FailureClass::Permanent => Next::Never,
            _ => Next::Later,
        };
        tracing::warn!(
            run_id = self.run.0,
            error = &error as &dyn std::error::Error,
            "a run that is followed could not be looked at"
        );
        Poll { events: Vec::new(), next }
    }
}

impl RunWatch {
    async fn try_poll(&mut self) -> Result<Poll<RunEvent>, sqlx::Error> {
        let mut connection = self.state.connection().await?;
        let Some(run) = runs::get(&mut *connection, self.run).await? else {
            return Ok(Poll { events: Vec::new(), next: Next::Never });
        };
        let mut tasks = Vec::new();
        if run.sequence > self.seen {
            let range = (self.seen, run.sequence);
            tasks =
                run_tasks::changed_between(&mut *connection, run.id, range, TASKS_PER_LOOK).await?;
        }
        drop(connection);
        let more = tasks.len() as i64 == TASKS_PER_LOOK;
        let last = tasks.last().and_then(|task| task.last_sequence);
        let mut events: Vec<_> = tasks.into_iter().filter_map(RunEvent::task).collect();
        if more {
            self.seen = last.unwrap_or(run.sequence);
            return Ok(Poll { events, next: Next::Now });
        }
        self.seen = run.sequence;
        let status = run.status;
        events.extend(self.changed(run.into()));
        if status.is_active() {
            return Ok(Poll { events, next: Next::Later });
        }
        let end = json!({ "status": status }).to_string();
        events.push(RunEvent::new(self.seen, EventName::End, end));
        Ok(Poll { events, next: Next::Never })
    }

    /// The run, when it is not as it was told.
    fn changed(&mut self, run: Run) -> Option<RunEvent> {
        let text = run.to_json_string();
        if self.told.as_ref() == Some(&text) {
            return None;
        }
        self.told = Some(text.clone());
        Some(RunEvent::new(self.seen, EventName::Run, text))
    }
}

impl RunEvent {
    fn new(id: i64, event: EventName, data: String) -> Self {
        Self { id: id.to_string(), event, data }
    }

    fn task(task: LedgerTask) -> Option<Self> {
        let id = task.last_sequence?;
        Some(Self::new(id, EventName::Task, Task::from(task).to_json_string()))
    }
}
