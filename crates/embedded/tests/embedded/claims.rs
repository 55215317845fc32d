//! A cluster belongs to one project.

use std::path::{Path, PathBuf};

use kasparro_embedded::{EmbeddedError, Options, Project, claim, find_or_start};

use super::{number, options, parent_folder, postmaster};

fn used_by(data_dir: &Path, jobs: &Path) -> Options {
    let project = Some(Project { jobs: jobs.to_owned(), may_claim: true });
    Options { project, ..options(data_dir) }
}

async fn refusal(options: &Options) -> String {
    match find_or_start(options).await {
        Err(error @ EmbeddedError::BelongsToAnother { .. }) => error.to_string(),
        Err(error) => panic!("refused otherwise: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn a_cluster_belongs_to_the_project_that_uses_it_first_until_another_claims_it() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let [shop, farm] = ["shop/jobs", "farm/jobs"].map(|jobs| parent.path().join(jobs));
    std::fs::create_dir_all(&shop).unwrap();
    // A cluster of an earlier version belongs to nobody, and looking at it claims nothing.
    let looking = Project { jobs: farm.clone(), may_claim: false };
    let looking = Options { project: Some(looking), ..options(&data_dir) };
    find_or_start(&looking).await.unwrap().stop().await.unwrap();

    let first = find_or_start(&used_by(&data_dir, &shop)).await.unwrap();
    assert_eq!(number(first.url(), "select 1::int8").await, 1);
    // Also while it runs, and for those who only look.
    for refused in [&used_by(&data_dir, &farm), &looking] {
        let message = refusal(refused).await;
        let own = format!("--data-dir {}-farm", data_dir.canonicalize().unwrap().display());
        for part in [&*shop.to_string_lossy(), &*farm.to_string_lossy(), &own, "kasparro claim"] {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
    }
    first.stop().await.unwrap();
    refusal(&used_by(&data_dir, &farm)).await;
    assert_eq!(postmaster(&data_dir), None, "nothing is started for a project that is refused");
    // Tools that know of no project use what there is.
    find_or_start(&options(&data_dir)).await.unwrap().stop().await.unwrap();

    std::fs::rename(parent.path().join("shop"), parent.path().join("farm")).unwrap();
    let message = refusal(&used_by(&data_dir, &farm)).await;
    assert!(
        message.contains("is not there any more. If it was moved here: kasparro claim"),
        "{message}"
    );
    assert_eq!(claim(&data_dir, &farm).await.unwrap(), Some(shop.clone()));
    find_or_start(&used_by(&data_dir, &farm)).await.unwrap().stop().await.unwrap();
    refusal(&used_by(&data_dir, &shop)).await;
}

#[tokio::test]
async fn of_two_projects_that_come_at_once_one_gets_the_cluster() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let [one, other] = ["/one/jobs", "/other/jobs"].map(|jobs| used_by(&data_dir, Path::new(jobs)));
    let (one, other) = tokio::join!(find_or_start(&one), find_or_start(&other));
    let (server, refused) = match (one, other) {
        (Ok(server), Err(error)) | (Err(error), Ok(server)) => (server, error),
        both => panic!("{both:?}"),
    };
    assert!(matches!(refused, EmbeddedError::BelongsToAnother { .. }), "{refused}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_claimed_by_nobody() {
    let parent = parent_folder();
    let data_dir = parent.path().join("kasparro");
    let error = claim(&data_dir, &PathBuf::from("/shop/jobs")).await.unwrap_err();
    assert!(error.to_string().contains("no private database"), "{error}");
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn another_project_at_the_path_of_the_owner_is_not_taken_for_it() {
    let parent = parent_folder();
    let at = |name: &str| parent.path().join(name);
    let [shop, farm] = ["shop/jobs", "farm/jobs"].map(at);
    std::fs::create_dir_all(&shop).unwrap();
    std::fs::create_dir_all(&farm).unwrap();
    let data_dir = at("kasparro");
    find_or_start(&used_by(&data_dir, &shop)).await.unwrap().stop().await.unwrap();
    std::fs::rename(at("shop"), at("former")).unwrap();
    std::fs::rename(at("farm"), at("shop")).unwrap();
    let message = refusal(&used_by(&data_dir, &shop)).await;
    assert!(message.contains("is another folder now"), "{message}");
    // Nor is it given away when the owner has only been put aside for a moment.
    std::fs::rename(at("shop"), at("farm")).unwrap();
    std::fs::rename(at("former"), at("shop")).unwrap();
    find_or_start(&used_by(&data_dir, &shop)).await.unwrap().stop().await.unwrap();
}

/// Its record names the path alone.
#[tokio::test]
async fn a_cluster_of_an_earlier_version_stays_with_its_project() {
    let parent = parent_folder();
    let [shop, data_dir] = ["shop/jobs", "kasparro"].map(|name| parent.path().join(name));
    std::fs::create_dir_all(&shop).unwrap();
    find_or_start(&used_by(&data_dir, &shop)).await.unwrap().stop().await.unwrap();
    let record = data_dir.join("project");
    let now = std::fs::read(&record).unwrap();
    std::fs::write(&record, shop.to_str().unwrap()).unwrap();
    find_or_start(&used_by(&data_dir, &shop)).await.unwrap().stop().await.unwrap();
    assert_eq!(std::fs::read(&record).unwrap(), now, "it is noted when the folder was made");
}
