use std::time::Duration;

use crate::store::shared::memory::MemoryStore;
use crate::store::{DataFolder, KeptLogins, LoginName, Records};

use super::*;

const LIFETIME: Duration = Duration::from_secs(3600);

/// One coordinator's part, running.
struct Coordinator {
    sharing: Arc<Sharing>,
    bindings: Arc<Bindings>,
    records: Arc<Records>,
    told: Told,
}

impl Coordinator {
    async fn over(store: &Arc<MemoryStore>) -> Self {
        let this = Self::idle(store);
        tokio::spawn(Arc::clone(&this.sharing).run(LIFETIME));
        this.until(|this| this.sharing.standing().is_fresh()).await;
        this
    }

    /// That has lost its connection, or has none yet.
    fn idle(store: &Arc<MemoryStore>) -> Self {
        let bindings = Arc::<Bindings>::default();
        let records = Arc::new(Records::open(DataFolder::memory(), Arc::clone(&bindings), 1 << 20));
        let store: Arc<dyn SharedStore> = store.clone();
        let secrets = vec![("secret".to_owned(), b"one secret".to_vec())];
        let name = SessionId::mint().to_string();
        let keys = (KeyRing::new(&[b"one secret"]), secrets, name);
        let (sharing, told) =
            Sharing::new(store, Arc::clone(&bindings), Arc::clone(&records), keys);
        Self { sharing, bindings, records, told }
    }

    async fn claim(&self, session: SessionId, previous: Option<&str>, node: &str) -> NodeId {
        let (previous, node, server) = (previous.map(self::node), self::node(node), server());
        match self.sharing.claim(session, &server, (previous.as_ref(), None), &node, false).await {
            Holder::Node(node) => node,
            Holder::Ended => panic!("it has ended"),
        }
    }

    fn holder(&self, session: SessionId) -> Option<NodeId> {
        self.bindings.look(session, &server())
    }

    async fn until(&self, is: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it comes to be");
    }
}

fn node(id: &str) -> NodeId {
    NodeId::parse(id).unwrap()
}

fn server() -> ServerName {
    ServerName::parse("s").unwrap()
}

#[tokio::test]
async fn two_coordinators_agree_on_the_first_claim() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    for _ in 0..50 {
        let session = SessionId::mint();
        let (a, b) = tokio::join!(one.claim(session, None, "a"), other.claim(session, None, "b"));
        assert_eq!(a, b);
        assert_eq!(one.holder(session), Some(a.clone()));
        assert_eq!(other.holder(session), Some(a));
    }
}

#[tokio::test]
async fn a_move_is_known_to_the_other_and_an_old_claim_does_not_undo_it() {
    let store = Arc::<MemoryStore>::default();
    let (one, mut other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    assert_eq!(one.claim(session, None, "a").await, node("a"));
    assert!(other.sharing.learn(session).await);
    assert_eq!(other.holder(session), Some(node("a")));
    assert_eq!(one.claim(session, Some("a"), "b").await, node("b"));
    other.until(|other| other.holder(session) == Some(node("b"))).await;
    let left = other.told.left.recv().await.unwrap();
    assert_eq!((left.0, left.2.node), (session, node("a")));
    // It thinks that the session is at `a`, which is gone by now.
    let late = Coordinator::over(&store).await;
    late.sharing.learn(session).await;
    assert_eq!(late.claim(session, Some("b"), "c").await, node("c"));
    assert_eq!(one.claim(session, Some("b"), "d").await, node("c"));
}

#[tokio::test]
async fn what_a_client_has_set_goes_along() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    one.claim(session, None, "a").await;
    let level = crate::protocol::log_level::LogLevel::parse("error").unwrap();
    one.bindings.set_log_level(session, level);
    one.bindings.subscribe(session, &server(), "file:///x");
    one.bindings.note_unreported_loss(session, &server());
    let is_written = async {
        loop {
            let known = store.sessions(&[session]).await.unwrap().remove(0);
            if known.settings.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_written).await.unwrap();
    other.sharing.learn(session).await;
    let record = other.bindings.record(session).unwrap();
    assert_eq!(record.log_level, Some(level));
    assert_eq!(record.subscriptions, [(server(), "file:///x".into())]);
    assert_eq!(other.bindings.take_unreported_losses(session), [server()]);
    // The one that has told the client says so to the others.
    one.until(|_| !other.sharing.changes.has(session)).await;
    one.sharing.refresh(session).await;
    assert!(one.bindings.take_unreported_losses(session).is_empty());
}

#[tokio::test]
async fn losses_are_told_in_order_and_their_teller_hears_nothing_of_them() {
    let store = Arc::<MemoryStore>::default();
    let (mut one, mut other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    one.sharing.tell_loss(session, &server(), Some(b"more"));
    one.sharing.tell_told(session);
    let of_one = one.sharing.teller;
    let Some(SharedEvent::Lost(loss)) = other.told.sessions.recv().await else { panic!("no loss") };
    assert_eq!((loss.session, loss.teller, &loss.server), (session, of_one, &server()));
    assert_eq!(other.sharing.text_of_loss(&loss).as_deref(), Some(&b"more"[..]));
    assert!(!loss.sealed.contains("more"));
    assert_eq!(other.told.sessions.recv().await, Some(SharedEvent::Told(session, of_one)));
    // The first that it hears is of the other.
    other.sharing.tell_told(session);
    let of_other = SharedEvent::Told(session, other.sharing.teller);
    assert_eq!(one.told.sessions.recv().await, Some(of_other));
}

#[tokio::test]
async fn a_loss_that_was_heard_of_is_written_by_its_finder_alone() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    one.claim(session, None, "a").await;
    assert!(other.sharing.learn(session).await);
    other.bindings.learn_loss(session, &server());
    assert!(!other.sharing.changes.has(session));
    assert_eq!(other.bindings.take_unreported_losses(session), [server()]);
}

#[tokio::test]
async fn a_loss_that_was_told_here_does_not_come_back_from_the_store() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    one.claim(session, None, "a").await;
    assert!(other.sharing.learn(session).await);
    one.bindings.note_unreported_loss(session, &server());
    let is_written = async {
        while store.sessions(&[session]).await.unwrap().remove(0).settings.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_written).await.unwrap();
    // The other has told it, and reads what was written before.
    assert!(other.sharing.refresh(session).await);
    assert!(other.bindings.take_unreported_losses(session).is_empty());
}

#[tokio::test]
async fn an_end_is_known_to_all() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    one.claim(session, None, "a").await;
    other.sharing.learn(session).await;
    one.sharing.end(session, UnixMillis::now().plus(LIFETIME)).await;
    other.until(|other| other.records.is_ended(session)).await;
    assert_eq!(other.holder(session), None);
    let late = Coordinator::over(&store).await;
    assert!(!late.sharing.learn(session).await);
    assert!(late.records.is_ended(session));
    let claim = late.sharing.claim(session, &server(), (None, None), &node("a"), true).await;
    assert_eq!(claim, Holder::Ended);
}

#[tokio::test]
async fn while_the_store_is_away_each_decides_and_afterwards_one_holder_is_left() {
    let store = Arc::<MemoryStore>::default();
    let (one, mut other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let (before, ended) = (SessionId::mint(), SessionId::mint());
    one.claim(before, None, "a").await;
    store.set_gone(true);
    assert_eq!(one.claim(before, Some("a"), "b").await, node("b"));
    assert!(!one.sharing.standing().is_fresh());
    let fresh: Vec<SessionId> = (0..20).map(|_| SessionId::mint()).collect();
    for session in &fresh {
        one.claim(*session, None, "a").await;
        other.claim(*session, None, "b").await;
    }
    one.records.end(ended, UnixMillis::now()).await;
    one.sharing.end(ended, UnixMillis::now().plus(LIFETIME)).await;
    let stale = one.sharing.standing().stale().unwrap();
    assert_eq!(stale.1, "it is away");
    store.set_gone(false);
    for coordinator in [&one, &other] {
        coordinator.until(|this| this.sharing.standing().is_fresh()).await;
    }
    for session in fresh.iter().chain([&before]) {
        let same = |_: &Coordinator| {
            let holders = (one.holder(*session), other.holder(*session));
            holders.0 == holders.1 || (*session == before && holders.1.is_none())
        };
        one.until(same).await;
    }
    // Each instance that is nobody's any more is closed, once.
    let mut closed = 0;
    let (mut one, end) = (one, Duration::from_millis(200));
    for told in [&mut one.told, &mut other.told] {
        while let Ok(Some(_)) = tokio::time::timeout(end, told.left.recv()).await {
            closed += 1;
        }
    }
    assert_eq!(closed, 20);
    assert!(!other.sharing.learn(ended).await);
    assert!(one.sharing.standing().counts().losses >= 1);
}

#[tokio::test]
async fn an_emptied_store_is_filled_again() {
    let store = Arc::<MemoryStore>::default();
    let one = Coordinator::over(&store).await;
    let sessions: Vec<SessionId> = (0..700).map(|_| SessionId::mint()).collect();
    for session in &sessions {
        one.claim(*session, None, "a").await;
    }
    let ended = SessionId::mint();
    one.records.learn_end(ended, UnixMillis::now().plus(LIFETIME));
    store.empty();
    one.until(|one| one.sharing.standing().counts().emptied == 1).await;
    one.until(|one| one.sharing.standing().is_fresh()).await;
    let filled = async {
        loop {
            let known = store.sessions(&sessions).await.unwrap();
            if known.iter().all(|known| known.bindings.len() == 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), filled).await.unwrap();
    assert!(store.sessions(&[ended]).await.unwrap()[0].is_ended);
    assert_eq!(store.secret("secret", b"another one").await.unwrap(), b"one secret");
}

#[tokio::test]
async fn a_session_that_is_not_there_yet_after_the_store_was_emptied_is_waited_for() {
    let store = Arc::<MemoryStore>::default();
    let one = Coordinator::over(&store).await;
    store.empty();
    one.until(|one| one.sharing.standing().counts().emptied == 1).await;
    one.until(|one| one.sharing.standing().is_fresh()).await;
    let session = SessionId::mint();
    let filling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let epoch = Epoch::nearest(10);
        let binding = SharedBinding { node: node("a"), epoch, opened: None, was_open: true };
        let claim = crate::store::shared::SharedClaim {
            session,
            server: server(),
            seen: Some(epoch),
            binding,
            is_news: false,
        };
        store.claim(&[claim]).await.unwrap();
    };
    let ((), learned) = tokio::join!(filling, one.sharing.learn(session));
    assert!(learned);
    assert_eq!(one.holder(session), Some(node("a")));
}

#[tokio::test]
async fn nobody_waits_for_a_store_that_is_not_there() {
    let store = Arc::<MemoryStore>::default();
    store.set_gone(true);
    let alone = Coordinator::idle(&store);
    let session = SessionId::mint();
    assert!(alone.sharing.learn(session).await);
    assert_eq!(alone.claim(session, None, "a").await, node("a"));
    assert_eq!(alone.sharing.params(session).await, None);
    assert!(alone.sharing.standing().counts().alone >= 3);
}

#[tokio::test]
async fn a_further_server_of_a_session_is_known_where_its_client_listens() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let session = SessionId::mint();
    // It listens there before it has any server open.
    assert!(other.sharing.learn(session).await);
    let holder = one.sharing.claim(session, &server(), (None, None), &node("a"), true).await;
    assert_eq!(holder, Holder::Node(node("a")));
    other.until(|other| other.holder(session) == Some(node("a"))).await;
}

#[tokio::test]
async fn of_two_bindings_with_one_epoch_that_of_the_store_counts_for_both() {
    let bindings = Bindings::default();
    let session = SessionId::mint();
    let epoch = Epoch::nearest(7);
    let at = |id: &str| SharedBinding { node: node(id), epoch, opened: None, was_open: true };
    assert_eq!(bindings.adopt(session, &server(), &at("a"), true), None);
    assert_eq!(bindings.adopt(session, &server(), &at("a"), false), None);
    let left = bindings.adopt(session, &server(), &at("b"), false).unwrap();
    assert_eq!((left.node, left.epoch), (node("a"), Some(epoch)));
    assert_eq!(bindings.look(session, &server()), Some(node("b")));
}

#[tokio::test]
async fn large_parameters_are_in_the_store_again_after_it_was_away_or_emptied() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let params = Bytes::from(vec![b'x'; 5000]);
    let sessions = [SessionId::mint(), SessionId::mint()];
    one.records.keep_params(sessions[0], &params);
    one.sharing.keep_params(sessions[0], &params, None).await;
    assert_eq!(other.sharing.params(sessions[0]).await.as_ref(), Some(&params));
    store.set_gone(true);
    one.records.keep_params(sessions[1], &params);
    one.sharing.keep_params(sessions[1], &params, None).await;
    store.empty();
    store.set_gone(false);
    for coordinator in [&one, &other] {
        coordinator.until(|this| this.sharing.standing().is_fresh()).await;
    }
    for session in sessions {
        let found = async {
            while other.sharing.params(session).await.as_ref() != Some(&params) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("it is there again");
    }
}

#[tokio::test]
async fn a_turn_that_has_taken_too_long_does_not_end_that_of_another_coordinator() {
    let store = Arc::<MemoryStore>::default();
    let (one, other) = (Coordinator::over(&store).await, Coordinator::over(&store).await);
    let kept = |of: &Coordinator| {
        let sharing = Some(Arc::clone(&of.sharing));
        KeptLogins::new(DataFolder::memory(), sharing, KeyRing::new(&[b"k"]))
    };
    let (short, long) = (Duration::from_millis(20), Duration::from_secs(60));
    let name = LoginName { kind: "turn", parts: &["ann"] };
    let late = kept(&one).turn(name, short).await.expect("nobody has it");
    let next = kept(&other).turn(name, long).await.expect("the first one is over");
    late.end().await;
    assert!(kept(&one).turn(name, short).await.is_none(), "it is still the other one's");
    next.end().await;
    assert!(kept(&one).turn(name, short).await.is_some());
}
