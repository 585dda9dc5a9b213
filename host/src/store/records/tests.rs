use super::*;

const LIMIT: u64 = 1 << 30;

fn fresh() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("mooring-records-{}", SessionId::mint()))
}

fn open(path: &std::path::Path) -> Arc<Records> {
    let folder = DataFolder::open(path).unwrap();
    Arc::new(Records::open(folder, Arc::default(), LIMIT))
}

fn client() -> QuotaKey {
    QuotaKey::of_address([127, 0, 0, 1].into())
}

fn large() -> Bytes {
    vec![b'x'; 2048].into()
}

#[tokio::test]
async fn a_session_that_was_used_survives_a_restart_and_stays_ended() {
    let path = fresh();
    let (ended, other, old) = (SessionId::mint(), SessionId::mint(), SessionId::mint());
    let records = open(&path);
    for session in [ended, other] {
        records.begin(session, Some(&large()), &client());
        records.use_it(session, true).await;
        records.use_it(session, true).await;
    }
    records.end(ended, UnixMillis::now()).await;
    records.end(old, UnixMillis(1)).await;
    drop(records);
    let records = open(&path);
    assert!(records.is_ended(ended));
    assert!(!records.is_ended(other));
    assert!(!records.is_ended(old), "its id has expired by itself");
    assert_eq!(records.params(other).await, Some(large()));
    assert_eq!(records.params(ended).await, None);
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_session_that_was_not_used_leaves_nothing() {
    let path = fresh();
    let records = open(&path);
    let before = records.counts();
    for _ in 0..100 {
        let session = SessionId::mint();
        records.begin(session, Some(&large()), &client());
        assert_eq!(records.params(session).await, Some(large()));
        records.end(session, UnixMillis::now()).await;
        assert!(records.is_ended(session), "while this process lives");
    }
    let flood: Vec<SessionId> = (0..20_000).map(|_| SessionId::mint()).collect();
    flood.iter().for_each(|session| records.begin(*session, Some(&large()), &client()));
    let counts = records.counts();
    assert_eq!((counts.ended, counts.folder_failures), (before.ended, 0));
    assert!(counts.memory_bytes <= UNUSED && counts.dropped > 0, "{counts:?}");
    assert!(!path.join("sessions").exists());
    assert_eq!(std::fs::metadata(path.join("ended-sessions")).unwrap().len(), 0);
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn what_cannot_be_written_stays_in_memory_until_it_can() {
    let path = fresh();
    let records = open(&path);
    std::fs::write(path.join("sessions"), "in the way").unwrap();
    let session = SessionId::mint();
    records.begin(session, Some(&large()), &client());
    records.use_it(session, true).await;
    assert_eq!(records.params(session).await, Some(large()));
    assert_eq!(records.folder().0, FolderState::Unwritable);
    std::fs::remove_file(path.join("sessions")).unwrap();
    records.tend_folder().await;
    assert_eq!(records.folder().0, FolderState::Fine);
    drop(records);
    assert_eq!(open(&path).params(session).await, Some(large()));
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn another_folder_gets_all_that_memory_has() {
    let (path, aside) = (fresh(), fresh());
    let records = open(&path);
    let [kept, ended] = [(); 2].map(|()| SessionId::mint());
    for session in [kept, ended] {
        records.begin(session, Some(&large()), &client());
        records.use_it(session, true).await;
    }
    records.end(ended, UnixMillis::now()).await;
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    records.tend_folder().await;
    drop(records);
    let next = open(&path);
    assert_eq!(next.params(kept).await, Some(large()));
    assert!(next.is_ended(ended) && next.params(ended).await.is_none());
    std::fs::remove_dir_all(path).unwrap();
    std::fs::remove_dir_all(aside).unwrap();
}

#[test]
fn of_too_many_fresh_sessions_the_oldest_count_as_used() {
    let mut fresh = Fresh::default();
    let sessions: Vec<SessionId> = (0..=MAX_FRESH).map(|_| SessionId::mint()).collect();
    sessions.iter().for_each(|session| fresh.insert(*session));
    assert!(!fresh.remove(sessions[0]) && fresh.remove(sessions[1]));
    for session in sessions {
        fresh.insert(session);
        fresh.remove(session);
    }
    assert!(fresh.sessions.is_empty() && fresh.order.len() <= 65, "{}", fresh.order.len());
}
