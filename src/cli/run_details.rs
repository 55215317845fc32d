//! Owns how one run is shown: where it stands, its tasks and who holds them, and what a dry run shows.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use poem_openapi::types::ToJSON;
use serde_json::json;

use super::args::{self, OutputArgs, PartArgs};
use super::database::Database;
use super::facts::Facts;
use super::sample_lines::sample_lines;
use super::table::{Cell, Table, Tone};
use super::{out, run_table, times};
use crate::api::http::pagination::{self, Page};
use crate::api::resources::run::{Chain, MOST_CHAINS, Run};
use crate::api::resources::samples;
use crate::api::resources::task::Task;
use crate::db::run_chains;
use crate::db::run_tasks::{self, LedgerTask};
use crate::db::runs as db_runs;
use crate::domain::chain_end::StopReason;
use crate::domain::run::RunId;
use crate::job_file::JobsFolder;
use crate::queue::{self, Held};
use crate::sources;
use crate::tasks::dry_run;

/// Open and failed tasks that are shown with a run.
const TASKS: i64 = 20;

async fn get(database: &Database, id: RunId) -> anyhow::Result<Run> {
    let run = db_runs::get(&database.pool, id).await?;
    Ok(run.with_context(|| unknown(id))?.into())
}

/// There is no such run, and where to look.
pub(super) fn unknown(id: RunId) -> String {
    format!("there is no run {id}; `kasparro runs` lists those there are")
}

/// `runs show ID`
pub(super) async fn show(
    database: &Database,
    jobs: &JobsFolder,
    id: RunId,
    args: OutputArgs,
) -> anyhow::Result<()> {
    let run = get(database, id).await?;
    let chains = run_chains::list(&database.pool, id, MOST_CHAINS).await?;
    let run = run.with_chains(chains);
    let rows = run_tasks::unfinished(&database.pool, id, TASKS + 1).await?;
    let open = rows.iter().filter(|task| task.state == "open");
    let named: Vec<_> =
        open.filter_map(|task| Some((task.task_key.clone(), task.kind.parse().ok()?))).collect();
    let held = queue::holders(&database.pool, id, &named).await?;
    let more = rows.len() as i64 > TASKS;
    let tasks: Vec<Task> = rows.into_iter().take(TASKS as usize).map(Task::from).collect();
    if args.json {
        let mut document = run.to_json().unwrap_or_default();
        document["unfinished_tasks"] = tasks.iter().filter_map(Task::to_json).collect();
        document["held_tasks"] = held
            .iter()
            .map(|held| json!({ "key": held.task, "worker": held.worker, "since": held.since }))
            .collect();
        return out::json(&document);
    }
    let definition = jobs.get(&run.source, sources::kinds());
    out::facts(&about(&run, definition.is_ok_and(|definition| sources::recordable(&definition))));
    if !tasks.is_empty() {
        out::line("");
        out::table(&task_table(&tasks, &held));
    }
    if more {
        out::line(format!("`kasparro runs tasks {id}` lists all tasks"));
    }
    Ok(())
}

/// What is known of a run, a line each.
fn about(run: &Run, has_pages: bool) -> Facts {
    let head = format!("run {} of {}: ", run.id, run.source);
    let mut facts = Facts::new(&head, Some(run_table::status(run)));
    let time = |at: Option<_>| at.map_or("not yet".to_owned(), times::second);
    let dry = if run.dry_run { ", writes nothing" } else { "" };
    let pages = if has_pages { format!(", pages from: {}", run.access) } else { String::new() };
    facts.say("mode", format!("{}{pages}{dry}", run.mode));
    if let (Some(from), Some(to)) = (run.replay_from, run.replay_to) {
        facts.say("replays", format!("what runs {from} to {to} have read"));
    }
    match (&run.from, &run.to) {
        (Some(from), Some(to)) => facts.say("reads", format!("from {from} to {to}")),
        (Some(from), None) => facts.say("reads", format!("from {from} on")),
        (None, _) => {}
    }
    facts.say("asked for", format!("{} UTC by {}", times::second(run.created_at), run.trigger));
    facts.say("started", time(run.started_at));
    let took = run_table::took(run).map(|took| format!(", took {took}")).unwrap_or_default();
    facts.say("ended", format!("{}{took}", time(run.finished_at)));
    let counters = &run.counters;
    facts.say(
        "rows",
        format!(
            "{} read, {} inserted, {} updated, {} unchanged, {} quarantined",
            counters.rows_read,
            counters.inserted,
            counters.updated,
            counters.unchanged,
            counters.quarantined
        ),
    );
    let failed =
        if run.failed_tasks > 0 { format!(", {} failed", run.failed_tasks) } else { String::new() };
    let open =
        if run.open_tasks > 0 { format!(", {} open", run.open_tasks) } else { String::new() };
    facts.say("tasks", format!("{} of {} completed{open}{failed}", run.completed_tasks, run.tasks));
    if let Some(chains) = run.chains.as_deref().filter(|chains| !chains.is_empty()) {
        facts.say("pages ended", ends_of(chains));
    }
    if run.stalled {
        facts.say(
            "stalled",
            format!("no progress since {} UTC", times::second(run.last_progress_at)),
        );
    }
    if let Some(error) = &run.error {
        facts.say("error", error.clone());
    }
    if let Some(reason) = &run.stop_reason {
        facts.say("note", reason.clone());
    }
    facts
}

/// How chains of pages ended: how many for each reason.
fn ends_of(chains: &[Chain]) -> String {
    let mut ends: BTreeMap<(bool, StopReason), usize> = BTreeMap::new();
    for chain in chains {
        *ends.entry((chain.complete, chain.stop_reason)).or_default() += 1;
    }
    let ends = ends.into_iter().map(|((complete, reason), count)| {
        let times = if count > 1 { format!(" ({count} chains)") } else { String::new() };
        let lacks = if complete { "" } else { ", and may lack something" };
        format!("{reason}{times}{lacks}")
    });
    ends.collect::<Vec<_>>().join("; ")
}

fn task_table(tasks: &[Task], held: &[Held]) -> Table {
    let holders: HashMap<&str, &Held> = held.iter().map(|h| (h.task.as_str(), h)).collect();
    let mut table = Table::new("no tasks")
        .name("task")
        .word("state")
        .id("attempt")
        .word("next attempt (UTC)")
        .count("read")
        .text("worker");
    for task in tasks {
        let (state, tone) = match (task.state.as_str(), holders.get(task.key.as_str())) {
            ("open", Some(_)) => ("under way", Tone::Plain),
            ("failed", _) => ("failed", Tone::Bad),
            (state, _) => (state, Tone::Plain),
        };
        let worker = match holders.get(task.key.as_str()) {
            Some(held) => {
                let since = held.since.map(|at| format!(" since {} UTC", times::second(at)));
                format!("held by {}{}", held.worker, since.unwrap_or_default())
            }
            None => task.worker.clone().unwrap_or_default(),
        };
        table.row([
            Cell::from(&task.key),
            Cell::new(state, tone),
            Cell::from(task.attempt),
            Cell::from(task.next_attempt_at.map(times::second).unwrap_or_default()),
            Cell::from(task.counters.rows_read),
            Cell::from(worker),
        ]);
        if let Some(error) = &task.error {
            table.note(&task.key, Cell::new(error, tone));
        }
    }
    table
}

/// `runs tasks ID`
pub(super) async fn tasks(database: &Database, id: RunId, part: &PartArgs) -> anyhow::Result<()> {
    get(database, id).await?;
    let after =
        part.cursor.as_deref().map(|cursor| pagination::decode("tasks", cursor)).transpose()?;
    let after = after.as_ref().map(|[key]: &[String; 1]| key.as_str());
    let rows = run_tasks::list(&database.pool, id, after, part.limit.rows()).await?;
    let page: Page<Task> =
        Page::new(rows, part.limit, "tasks", |task: &LedgerTask| [task.task_key.clone()]);
    if part.output.json {
        return out::json(&page.to_json());
    }
    out::table(&task_table(&page.items, &[]));
    args::say_more(page.next_cursor.as_deref());
    Ok(())
}

/// `runs samples ID`
pub(super) async fn samples(
    database: &Database,
    id: RunId,
    args: OutputArgs,
) -> anyhow::Result<()> {
    let run = get(database, id).await?;
    let found = match run.dry_run {
        true => dry_run::shown(&database.pool, id).await?,
        false => Vec::new(),
    };
    if args.json {
        let items = found.into_iter().map(Into::into).collect();
        return out::json(&samples::Samples { items }.to_json());
    }
    match (run.dry_run, found.is_empty()) {
        (false, _) => out::line(format!("run {id} is no dry run: it shows no samples")),
        (true, true) => out::line(format!("run {id} shows nothing: it would write nothing")),
        (true, false) => out::text(&sample_lines(&run.source, &found)),
    }
    Ok(())
}
