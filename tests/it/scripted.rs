//! A source that does what a test says: it plans, reads and names slices as a script has it. Its rows are
//! JSON objects with `id` and `name`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use kasparro::domain::chain_end::ChainEnd;
use kasparro::domain::hash::ContentHash;
use kasparro::domain::presence::Reads;
use kasparro::domain::raw::RawRef;
use kasparro::domain::shape::Shape;
use kasparro::domain::slice::SliceId;
use kasparro::job_file::Definition;
use kasparro::mapping::{Mapped, Mapping};
use kasparro::sources::rest_api::RestApiSource;
use kasparro::sources::{
    AllowedRoots, Document, Kind, NextSlice, Opened, Plan, PlanRequest, Position, Profile, RawRows,
    RawSlice, SliceContent, SliceNotes, SliceReader, SliceRequest, Source, SourceError,
    SourceErrorKind,
};
use kasparro::tasks::SourcesInUse;
use serde_json::{Value, json};

use crate::app::TestApp;

/// What a source does.
#[derive(Debug, Default)]
pub struct Script {
    /// The slices that are planned.
    pub planned: Vec<(SliceId, &'static str)>,
    /// What is read at each position.
    pub positions: BTreeMap<String, Part>,
    /// The most slices of a batch.
    pub slices_per_batch: i64,
    /// Whether what failed for good is read now.
    pub fixed: AtomicBool,
    /// What it was asked for, and with which state it planned.
    pub seen: Mutex<Seen>,
}

/// What a script was asked for.
#[derive(Debug, Default)]
pub struct Seen {
    /// Positions at which reading began.
    pub opened: Vec<String>,
    /// Positions that were read.
    pub read: Vec<String>,
    /// States that were planned with.
    pub states: Vec<Value>,
    /// Contexts that rows were mapped with.
    pub contexts: Vec<Value>,
}

/// What is read at a position.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Which request it answers.
    pub request: u8,
    /// `(id, name)` of its rows.
    pub rows: Vec<(i64, String)>,
    /// The slices that it names.
    pub next: Vec<(SliceId, String)>,
    /// Where the task goes on.
    pub continues_at: Option<String>,
    /// How its chain ended.
    pub end: Option<ChainEnd>,
    /// How far it has come.
    pub watermark: Option<Value>,
    /// What mapping is told besides.
    pub context: Value,
    /// How often reading it fails before it is read; until the script is fixed below 0.
    pub fails: i64,
    /// Whether reading it never ends.
    pub hangs: bool,
}

static SCRIPTS: Mutex<Option<HashMap<String, Arc<Script>>>> = Mutex::new(None);

static KINDS: [Kind; 1] = [Kind {
    // Job files of this kind are good; it is not the one that they usually get.
    name: "rest_api",
    recordable: true,
    reads_files: false,
    inspect: |_| {},
    look: |_, _, _| {},
    check: |_| Ok(()),
    open,
    schema: || schemars::schema_for!(bool),
}];

/// The job file of scripted sources.
pub const JOB: &str = "kind = 'rest_api'\nprimary_key = ['id']\n[rest_api]\n\
    base_url = 'https://scripted.invalid/'\n[fields]\nname = {}\n";

/// Writes the job file of a source and lets it do this.
pub fn play(app: &TestApp, source: &str, script: Script) -> Arc<Script> {
    app.write(&format!("{source}.toml"), JOB);
    let script = Arc::new(script);
    // Databases are the tests' own, and this is not.
    let key = format!("{}/{source}", app.folder.path().display());
    SCRIPTS.lock().unwrap().get_or_insert_default().insert(key, script.clone());
    script
}

/// Scripted sources for a performer.
pub fn sources() -> SourcesInUse {
    SourcesInUse::of_kinds(&KINDS, AllowedRoots::default())
}

fn open(definition: &Definition, _: &AllowedRoots) -> Opened {
    let key = format!("{}/{}", definition.base_dir().display(), definition.source);
    let script = SCRIPTS.lock().unwrap().as_ref().and_then(|scripts| scripts.get(&key).cloned());
    let params = definition.params().expect("good parameters");
    let rows = RestApiSource::new(params, definition.base_dir().to_owned(), definition.locators())?;
    Ok(Arc::new(Scripted { script: script.expect("a script"), rows }))
}

struct Scripted {
    script: Arc<Script>,
    rows: RestApiSource,
}

impl Source for Scripted {
    fn profile(&self) -> Profile {
        Profile {
            reads: Reads::Again,
            guards_itself: false,
            rows_by_job_file: true,
            tells_deletions: false,
            may_shift: false,
            pages: false,
            slices_per_batch: self.script.slices_per_batch.max(1),
            bytes_per_batch: 16 << 20,
            rate_limit: None,
            max_attempts: None,
            max_block: None,
            max_wait: None,
            kept_tokens: Vec::new(),
            recording: None,
            parents: None,
            only_by_runs: None,
            must_have_rows: false,
        }
    }

    fn plan(
        self: Arc<Self>,
        request: PlanRequest,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        self.script.seen.lock().unwrap().states.push(request.state);
        let planned = self.script.planned.iter();
        let planned =
            planned.map(|(slice, at)| NextSlice { slice: *slice, position: (*at).into() });
        std::future::ready(Ok(Plan::of_slices(planned.collect()))).boxed()
    }

    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader> {
        let Position::Own(Value::String(at)) = request.position else { panic!("no position") };
        self.script.seen.lock().unwrap().opened.push(at.clone());
        Box::new(Reader { source: self, at: Some(at) })
    }

    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        if let RawRows::Document { context, .. } = rows {
            self.script.seen.lock().unwrap().contexts.push(context.clone());
        }
        self.rows.map(rows, raw, mapping, out)
    }

    fn advance(&self, state: &Value, watermarks: &[Value], complete: bool) -> Value {
        let mut after = json!({ "before": state, "watermarks": watermarks });
        if !complete {
            after["complete"] = false.into();
        }
        after
    }
}

struct Reader {
    source: Arc<Scripted>,
    at: Option<String>,
}

impl SliceReader for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<SliceContent, SourceError>> {
        async move {
            let at = self.at.take().expect("there is more");
            let script = &self.source.script;
            let part = script.positions[&at].clone();
            let reads = {
                let mut seen = script.seen.lock().unwrap();
                seen.read.push(at.clone());
                seen.read.iter().filter(|read| **read == at).count() as i64
            };
            if part.hangs && reads == 1 {
                std::future::pending::<()>().await;
            }
            let broken = part.fails < 0 && !script.fixed.load(Ordering::Relaxed);
            if broken || reads <= part.fails {
                return Err(SourceError::new(
                    SourceErrorKind::FileBusy,
                    format!("{at} cannot be read"),
                ));
            }
            let rows: Vec<_> =
                part.rows.iter().map(|(id, name)| json!({ "id": id, "name": name })).collect();
            let text = Value::Array(rows).to_string();
            self.at = part.continues_at.clone();
            let shape = Shape { rows: part.rows.len() as u64, ..Shape::default() };
            let next = part.next.into_iter();
            Ok(SliceContent {
                bytes: text.len() as u64,
                raw: RawSlice::Document(Document {
                    request: ContentHash::of(&[part.request]),
                    url: format!("https://scripted.invalid/{}", part.request),
                    status: 200,
                    hash: ContentHash::of(text.as_bytes()),
                    text,
                    context: part.context,
                    validators: None,
                    not_modified: false,
                }),
                rows: part.rows.len() as i64,
                shape,
                news: None,
                next: next.map(|(slice, at)| NextSlice { slice, position: at.into() }).collect(),
                continues_at: part.continues_at.map(Value::from),
                end: part.end,
                met: None,
                watermark: part.watermark,
                notes: SliceNotes::default(),
            })
        }
        .boxed()
    }
}
