//! What every store does: the same tests for the one in memory and for a real server.
//!
//! The real one is `redis-server` or `valkey-server` of this machine, started for each test on a
//! socket of its own. Without one, that half is skipped, and the gate says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::config::RedisUrl;
use crate::model::{Epoch, NodeId, ServerName, SessionId, UnixMillis};

use super::memory::MemoryStore;
use super::redis::RedisStore;
use super::*;

const LIFETIME: Duration = Duration::from_secs(3600);

/// A server of its own, ended with the test.
struct Server {
    program: &'static str,
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// `None` if this machine has neither program.
    fn start() -> Option<Self> {
        let programs = ["redis-server", "valkey-server"];
        let Some(program) = programs.into_iter().find(|program| is_there(program)) else {
            skip();
            return None;
        };
        let folder = std::env::temp_dir().join(format!("mooring-store-{}", SessionId::mint()));
        std::fs::create_dir_all(&folder).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = run(program, port, &folder);
        Some(Self { program, child, port, folder })
    }

    /// Kills it, and starts it again with what it has saved.
    fn start_again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = run(self.program, self.port, &self.folder);
    }

    fn url(&self) -> RedisUrl {
        RedisUrl {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            is_tls: false,
            user: None,
            password: None,
            database: 0,
        }
    }

    fn store(&self) -> RedisStore {
        RedisStore::new(&self.url(), "test:", LIFETIME)
    }

    /// Sends one command as bytes, as a stranger would.
    fn say(&self, command: &str) {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 1];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    }
}

fn run(program: &str, port: u16, folder: &Path) -> Child {
    Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

fn skip() {
    let line =
        "skipped: the store's suite on a real server: neither redis-server nor valkey-server";
    eprintln!("{line}");
    if let Some(file) = std::env::var_os("MOORING_TEST_SKIPS") {
        let file = std::fs::File::options().append(true).open(file);
        file.and_then(|mut file| writeln!(file, "{line}")).unwrap();
    }
}

async fn connected<S: SharedStore>(store: S) -> S {
    let mut tries = 0;
    while let Err(error) = store.connect().await {
        tries += 1;
        assert!(tries < 200, "{error}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    store
}

/// Runs a test on both.
macro_rules! on_both {
    ($($name:ident: $test:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn in_memory() {
                let store = connected(MemoryStore::default()).await;
                $test(&store).await;
            }

            #[tokio::test]
            async fn in_redis() {
                let Some(server) = Server::start() else { return };
                let store = connected(server.store()).await;
                $test(&store).await;
            }
        }
    )*};
}

type Test<'a> = futures_util::future::BoxFuture<'a, ()>;

fn binding(node: &str, epoch: u64) -> SharedBinding {
    let (node, epoch) = (NodeId::parse(node).unwrap(), Epoch::nearest(epoch));
    SharedBinding { node, epoch, opened: None, was_open: false }
}

fn server() -> ServerName {
    ServerName::parse("a server").unwrap()
}

/// Of a coordinator that knows the binding of this epoch; 0 if it knows none.
fn claim(session: SessionId, seen: u64, binding: SharedBinding) -> SharedClaim {
    SharedClaim { session, server: server(), seen: Epoch::new(seen), binding, is_news: false }
}

fn later() -> UnixMillis {
    UnixMillis::now().plus(Duration::from_secs(60))
}

async fn one(store: &dyn SharedStore, claim: SharedClaim) -> Claimed {
    store.claim(&[claim]).await.unwrap().remove(0)
}

async fn look(store: &dyn SharedStore, session: SessionId) -> SharedSession {
    store.sessions(&[session]).await.unwrap().remove(0)
}

fn first_writer_wins(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let session = SessionId::mint();
        assert_eq!(one(store, claim(session, 0, binding("a", 10))).await, Claimed::Kept);
        let lost = one(store, claim(session, 0, binding("b", 11))).await;
        assert_eq!(lost, Claimed::Lost(binding("a", 10)), "though its epoch is higher");
        assert_eq!(one(store, claim(session, 10, binding("a", 10))).await, Claimed::Kept, "again");
        assert_eq!(one(store, claim(session, 10, binding("b", 20))).await, Claimed::Kept, "a move");
        let lost = one(store, claim(session, 10, binding("c", 30))).await;
        assert_eq!(lost, Claimed::Lost(binding("b", 20)), "it has not seen the move");
        let lost = one(store, claim(session, 10, binding("a", 10))).await;
        assert_eq!(lost, Claimed::Lost(binding("b", 20)), "an old one does not come back");
        assert_eq!(look(store, session).await.bindings, [(server(), binding("b", 20))]);
        // As large as they are, and larger than whole numbers of 32 bits.
        let (large, next) = (9_007_199_254_740_990, 9_007_199_254_740_991);
        assert_eq!(one(store, claim(session, 20, binding("c", large))).await, Claimed::Kept);
        assert_eq!(one(store, claim(session, large, binding("d", next))).await, Claimed::Kept);
        let lost = one(store, claim(session, large, binding("e", next))).await;
        assert_eq!(lost, Claimed::Lost(binding("d", next)));
    })
}

/// Two coordinators that were both alone may have given one number to two bindings.
fn of_two_with_one_epoch_the_first_stays(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let session = SessionId::mint();
        assert_eq!(one(store, claim(session, 10, binding("a", 10))).await, Claimed::Kept);
        let lost = one(store, claim(session, 10, binding("b", 10))).await;
        assert_eq!(lost, Claimed::Lost(binding("a", 10)));
        assert_eq!(one(store, claim(session, 10, binding("a", 10))).await, Claimed::Kept);
        let lost = one(store, claim(session, 11, binding("b", 9))).await;
        assert_eq!(lost, Claimed::Lost(binding("a", 10)), "whatever it has seen");
    })
}

fn a_server_that_was_open_stays_known_as_such(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let session = SessionId::mint();
        let opened = Epoch::new(10);
        let open = SharedBinding { was_open: true, opened, ..binding("a", 10) };
        one(store, claim(session, 0, open)).await;
        one(store, claim(session, 10, binding("b", 20))).await;
        let known = look(store, session).await.bindings;
        let expect = SharedBinding { was_open: true, opened, ..binding("b", 20) };
        assert_eq!(known, [(server(), expect)]);
    })
}

fn many_claims_are_answered_in_their_order(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let sessions: Vec<SessionId> = (0..300).map(|_| SessionId::mint()).collect();
        one(store, claim(sessions[7], 0, binding("x", 9))).await;
        let claims: Vec<SharedClaim> =
            sessions.iter().map(|session| claim(*session, 0, binding("a", 1))).collect();
        let claimed = store.claim(&claims).await.unwrap();
        for (index, claimed) in claimed.iter().enumerate() {
            let lost = Claimed::Lost(binding("x", 9));
            assert_eq!(*claimed, if index == 7 { lost } else { Claimed::Kept }, "{index}");
        }
        let known = store.sessions(&sessions).await.unwrap();
        assert_eq!(known.len(), 300);
        assert_eq!(known[7].bindings, [(server(), binding("x", 9))]);
        assert_eq!(known[8].bindings, [(server(), binding("a", 1))]);
        assert!(store.claim(&[]).await.unwrap().is_empty());
    })
}

fn an_ended_session_is_gone_and_stays_so(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let session = SessionId::mint();
        one(store, claim(session, 0, binding("a", 1))).await;
        store.set(session, b"set").await.unwrap();
        store.keep_params(session, b"params", later()).await.unwrap();
        store.end(&[(session, later())]).await.unwrap();
        assert_eq!(one(store, claim(session, 1, binding("a", 2))).await, Claimed::Ended);
        let known = look(store, session).await;
        assert_eq!(known, SharedSession { is_ended: true, ..SharedSession::default() });
        assert_eq!(store.params(session).await.unwrap(), None);
        let other = look(store, SessionId::mint()).await;
        assert_eq!(other, SharedSession::default());
    })
}

fn what_is_set_comes_back(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let session = SessionId::mint();
        store.set(session, b"one").await.unwrap();
        store.set(session, b"\0\xfftwo").await.unwrap();
        assert_eq!(look(store, session).await.settings.unwrap(), b"\0\xfftwo");
        let large = vec![7; 64 << 10];
        store.keep_params(session, &large, later()).await.unwrap();
        assert_eq!(store.params(session).await.unwrap().unwrap(), large);
        assert_eq!(store.params(SessionId::mint()).await.unwrap(), None);
    })
}

fn those_who_keep_something_of_a_session_are_counted(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let (session, other) = (SessionId::mint(), SessionId::mint());
        let join = |session, name| async move {
            let mut names = store.join_keepers(session, name).await.unwrap();
            names.sort();
            names
        };
        assert!(join(session, "").await.is_empty(), "who asks alone keeps nothing");
        for (name, all) in [("a", &["a"][..]), ("a", &["a"]), ("b", &["a", "b"]), ("", &["a", "b"])]
        {
            assert_eq!(join(session, name).await, all, "{name}");
        }
        assert_eq!(join(other, "b").await, ["b"]);
        store.end(&[(session, later())]).await.unwrap();
        assert_eq!(join(session, "c").await, ["c"], "none is left");
    })
}

fn a_secret_is_made_once(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let first = store.secret("key", &[1; 32]).await.unwrap();
        assert_eq!(first, [1; 32]);
        assert_eq!(store.secret("key", &[2; 32]).await.unwrap(), [1; 32]);
        assert_eq!(store.secret("other", &[3; 32]).await.unwrap(), [3; 32]);
    })
}

fn leased_values_go_away_unless_renewed(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let (short, long) = (Duration::from_millis(300), Duration::from_secs(60));
        store.lease(Leased::Node, "n1", b"one", short).await.unwrap();
        store.lease(Leased::Node, "n2", b"two", short).await.unwrap();
        store.lease(Leased::Coordinator, "n3", b"three", long).await.unwrap();
        assert_eq!(store.all_leased(Leased::Node).await.unwrap(), ["n1", "n2"]);
        assert!(store.renew(Leased::Node, "n1", long).await.unwrap());
        tokio::time::sleep(short + Duration::from_millis(50)).await;
        assert_eq!(store.leased(Leased::Node, "n1").await.unwrap().unwrap(), b"one");
        assert_eq!(store.leased(Leased::Node, "n2").await.unwrap(), None);
        assert!(!store.renew(Leased::Node, "n2", long).await.unwrap());
        assert_eq!(store.all_leased(Leased::Node).await.unwrap(), ["n1"]);
        assert!(store.let_go(Leased::Node, "n1").await.unwrap());
        assert!(!store.let_go(Leased::Node, "n1").await.unwrap());
        assert!(store.all_leased(Leased::Node).await.unwrap().is_empty());
        assert_eq!(store.all_leased(Leased::Coordinator).await.unwrap(), ["n3"]);
        // Of two who want to be the first, one is, until the value has gone.
        assert!(store.lease_first(Leased::Login, "l", b"one", short).await.unwrap());
        assert!(!store.lease_first(Leased::Login, "l", b"two", long).await.unwrap());
        assert_eq!(store.leased(Leased::Login, "l").await.unwrap().unwrap(), b"one");
        tokio::time::sleep(short + Duration::from_millis(50)).await;
        assert!(store.lease_first(Leased::Login, "l", b"two", long).await.unwrap());
        assert!(store.let_go(Leased::Login, "l").await.unwrap());
    })
}

fn events_come_in_order_and_once(store: &dyn SharedStore) -> Test<'_> {
    Box::pin(async move {
        let from = store.connect().await.unwrap().from;
        let (none, still) = store.events(&from).await.unwrap();
        assert!(none.is_empty());
        assert_eq!(still, from);
        let (session, node) = (SessionId::mint(), NodeId::parse("n").unwrap());
        one(store, claim(session, 0, binding("a", 1))).await;
        one(store, claim(session, 1, binding("b", 2))).await;
        store.tell(&SharedEvent::Node(node.clone())).await.unwrap();
        let until = later();
        for _ in 0..2 {
            store.end(&[(session, until)]).await.unwrap();
        }
        let mut all = Vec::new();
        let mut at = from;
        while all.len() < 3 {
            let (events, next) = store.events(&at).await.unwrap();
            assert!(!events.is_empty(), "{all:?}");
            all.extend(events);
            at = next;
        }
        // The first binding of a session is news to nobody, unless its coordinator says so.
        let ended = SharedEvent::Ended(session, until);
        let moved = SharedEvent::Moved(session, server(), binding("b", 2));
        assert_eq!(all, [moved, SharedEvent::Node(node), ended]);
        assert!(store.events(&at).await.unwrap().0.is_empty());
        let session = SessionId::mint();
        let news = SharedClaim { is_news: true, ..claim(session, 0, binding("a", 1)) };
        for seen in [0, 1, 1] {
            let news = SharedClaim { seen: Epoch::new(seen), ..news.clone() };
            assert_eq!(one(store, news).await, Claimed::Kept);
        }
        let (events, at) = store.events(&at).await.unwrap();
        assert_eq!(events, [SharedEvent::Moved(session, server(), binding("a", 1))], "once");
        assert!(store.events(&at).await.unwrap().0.is_empty());
    })
}

on_both! {
    a_first_writer: first_writer_wins;
    one_epoch_for_two: of_two_with_one_epoch_the_first_stays;
    an_open_server: a_server_that_was_open_stays_known_as_such;
    many_claims: many_claims_are_answered_in_their_order;
    an_end: an_ended_session_is_gone_and_stays_so;
    settings_and_params: what_is_set_comes_back;
    keepers: those_who_keep_something_of_a_session_are_counted;
    secrets: a_secret_is_made_once;
    leases: leased_values_go_away_unless_renewed;
    events_of_a_store: events_come_in_order_and_once;
}

#[tokio::test]
async fn a_store_that_is_away_says_so_at_once_and_an_emptied_one_too() {
    let memory = connected(MemoryStore::default()).await;
    memory.set_gone(true);
    assert!(matches!(memory.params(SessionId::mint()).await, Err(StoreError::Gone(_))));
    memory.set_gone(false);
    memory.empty();
    let from = EventCursor::default();
    assert_eq!(memory.events(&from).await, Err(StoreError::Emptied));
    assert!(memory.connect().await.unwrap().was_emptied);
    assert!(memory.events(&from).await.is_ok());

    let Some(mut server) = Server::start() else { return };
    let store = connected(server.store()).await;
    server.say("FLUSHALL");
    assert_eq!(store.events(&from).await, Err(StoreError::Emptied));
    assert!(store.connect().await.unwrap().was_emptied);
    assert!(!store.connect().await.unwrap().was_emptied);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    for _ in 0..3 {
        assert!(matches!(store.params(SessionId::mint()).await, Err(StoreError::Gone(_))));
    }
    assert!(matches!(store.connect().await, Err(StoreError::Gone(_))));
}

/// As a server does that has saved its memory now and then, and was killed in between.
#[tokio::test]
async fn a_store_that_has_forgotten_the_latest_says_so() {
    let Some(mut server) = Server::start() else { return };
    let store = connected(server.store()).await;
    let node = SharedEvent::Node(NodeId::parse("n").unwrap());
    store.tell(&node).await.unwrap();
    let at = store.connect().await.unwrap().from;
    server.say("SAVE");
    store.tell(&node).await.unwrap();
    assert_eq!(store.events(&at).await.unwrap().0.len(), 1);
    assert!(!store.connect().await.unwrap().was_emptied);
    server.start_again();
    let mut tries = 0;
    let Connected { from, was_emptied } = loop {
        match store.connect().await {
            Ok(connected) => break connected,
            Err(error) => assert!(tries < 200, "{error}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    assert_eq!((from, was_emptied), (at, true));
    assert!(!store.connect().await.unwrap().was_emptied);
}

/// What others write below our prefix costs nothing but itself.
#[tokio::test]
async fn foreign_content_is_passed_over() {
    let Some(server) = Server::start() else { return };
    let store = connected(server.store()).await;
    let sessions: Vec<SessionId> = (0..4).map(|_| SessionId::mint()).collect();
    let [text, odd, long, list] = sessions.as_slice() else { unreachable!() };
    server.say(&format!("SET test:b:{text} nonsense"));
    server.say(&format!("HSET test:b:{odd} a 1 b \"9 9 0 open n\" c \"1 7 0 open n\""));
    server.say(&format!("HSET test:b:{long} {} \"1 7 0 open n\"", "x".repeat(600)));
    server.say(&format!("LPUSH test:s:{list} a b"));
    let known = store.sessions(&sessions).await.unwrap();
    let c = ServerName::parse("c").unwrap();
    let found = SharedBinding { was_open: true, ..binding("n", 7) };
    assert_eq!(known[1].bindings, [(c, found)]);
    for at in [0, 2, 3] {
        assert_eq!(known[at], SharedSession::default(), "{at}");
    }
    assert_eq!(one(&store, claim(*text, 0, binding("a", 1))).await, Claimed::Kept);
    server.say("XADD test:events * e nonsense");
    server.say("XADD test:events * other");
    server.say("XADD test:events * e \"1 node n\"");
    let (events, _) = store.events(&EventCursor("0-0".to_owned())).await.unwrap();
    assert_eq!(events, [SharedEvent::Node(NodeId::parse("n").unwrap())]);
    server.say("DEL test:events");
    server.say("SET test:events x");
    store.connect().await.unwrap();
    store.tell(&SharedEvent::Node(NodeId::parse("m").unwrap())).await.unwrap();
    // Behind an event of the last possible time none could be told.
    server.say("XADD test:events 18446744073709551615-18446744073709551615 e x");
    let told = SharedEvent::Node(NodeId::parse("m").unwrap());
    assert!(matches!(store.tell(&told).await, Err(StoreError::Refused(_))));
    let from = store.connect().await.unwrap().from;
    store.tell(&told).await.unwrap();
    assert_eq!(store.events(&from).await.unwrap().0, [told]);
    server.say(&format!("SET test:m:{text} x"));
    assert_eq!(store.join_keepers(*text, "a").await, Ok(vec!["a".to_owned()]));
}
