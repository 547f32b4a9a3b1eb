use super::*;

fn entry(tag: u8) -> Entry {
    Entry {
        id: Uuid::from_u128(u128::from(tag) + 1),
        workspace_id: WorkspaceId::DEFAULT,
        connection_id: ConnectionId(Uuid::from_u128(7)),
        kind: Kind::Refresh,
        generation: 3,
        sealed: Sealed(vec![tag; 40]),
    }
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder.join("journal"), Failpoints::default()).expect("it opens")
}

fn files(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("journal")).expect("a folder");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_until_it_is_settled() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let journal = open(dir.path());
    for tag in [2, 1] {
        std::mem::forget(journal.append(entry(tag)).await.expect("it is written"));
    }
    let next = open(dir.path());
    assert_eq!(next.left(), [entry(1), entry(2)], "the oldest first");
    next.take(entry(1).id).expect("free").settled().await;
    assert_eq!(open(dir.path()).left(), [entry(2)]);
    next.take(entry(2).id).expect("free").settled().await;
    assert!(files(dir.path()).is_empty());
}

#[tokio::test]
async fn an_entry_has_one_worker_at_a_time_and_stays_when_that_one_gives_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let journal = open(dir.path());
    let writer = journal.append(entry(1)).await.expect("it is written");
    assert!(journal.left().is_empty());
    assert!(journal.take(entry(1).id).is_none());
    drop(writer);
    assert_eq!(journal.left_of(entry(1).connection_id), [entry(1)]);
    let worker = journal.take(entry(1).id).expect("free");
    assert!(journal.take(entry(1).id).is_none());
    drop(worker);
    assert_eq!(journal.left().len(), 1);
}

#[tokio::test]
async fn what_was_not_finished_is_forgotten_and_what_is_broken_is_put_aside() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let journal = open(dir.path());
    drop(journal.append(entry(1)).await.expect("it is written"));
    let folder = dir.path().join("journal");
    std::fs::write(folder.join("half.tmp"), b"{\"work").expect("a file");
    let torn = Uuid::from_u128(99);
    std::fs::write(folder.join(format!("{torn}.entry")), b"{\"work").expect("a file");
    assert_eq!(open(dir.path()).left(), [entry(1)]);
    assert_eq!(
        files(dir.path()),
        [
            format!("{}.entry", entry(1).id),
            format!("{torn}.unreadable")
        ]
    );
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_broker_reads_its_journal() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let journal = open(dir.path());
    drop(journal.append(entry(1)).await.expect("it is written"));
    let mode = |path: PathBuf| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(dir.path().join("journal")), 0o700);
    assert_eq!(mode(journal.path(entry(1).id, ENTRY)), 0o600);
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_error_and_nothing_worse() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let journal = open(dir.path());
    std::fs::remove_dir_all(dir.path().join("journal")).expect("it goes");
    assert!(journal.append(entry(1)).await.is_err());
    assert!(journal.left().is_empty());
}
