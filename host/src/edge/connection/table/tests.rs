use std::future::poll_fn;
use std::task::Poll;

use crate::edge::connection::activity::ConnectionOrder;

use super::*;

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn bounds() -> ConnectionBounds {
    ConnectionBounds {
        all: 100,
        per_address: 100,
        head: Duration::from_secs(10),
        body: Duration::from_secs(30),
        body_rate: 1024,
        unread: Duration::from_secs(120),
    }
}

fn table(bounds: ConnectionBounds) -> Arc<Connections> {
    Connections::new(bounds, Box::new(|_| false), BodyBudget::new(1 << 20, 1 << 10))
}

/// A table whose connections are looked at.
fn connections() -> Arc<Connections> {
    let table = table(bounds());
    let looked_at = Arc::clone(&table);
    tokio::spawn(async move { looked_at.look().await });
    table
}

async fn ordered(connected: &Connected) -> ConnectionOrder {
    poll_fn(|cx| connected.activity.poll_order(cx)).await
}

/// The order that the connection has now.
async fn order(connected: &Connected) -> Option<ConnectionOrder> {
    poll_fn(|cx| match connected.activity.poll_order(cx) {
        Poll::Ready(order) => Poll::Ready(Some(order)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Looks so often, each a second after the other.
fn look(table: &Connections, times: u32) {
    let last = table.all.lock().looked;
    let last = last.unwrap_or_else(Instant::now);
    for n in 1..=times {
        table.look_once(last + LOOK * n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_silent_after_a_while() {
    let connections = connections();
    tokio::time::sleep(LOOK / 3).await;
    let connected = connections.enter(HOME);
    let began = Instant::now();
    assert_eq!(ordered(&connected).await, ConnectionOrder::End);
    let lasted = began.elapsed();
    assert!(lasted >= LOOK * SILENCE && lasted < LOOK * (SILENCE + 2), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_waited_for_however_long_it_takes() {
    let connected = connections().enter(HOME);
    let began = Instant::now();
    let call = connected.activity.begin();
    let hour = Duration::from_secs(3600);
    tokio::spawn(async move {
        tokio::time::sleep(hour).await;
        drop(call);
    });
    assert_eq!(ordered(&connected).await, ConnectionOrder::End);
    assert!(began.elapsed() >= hour + LOOK * (SILENCE - 1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_request_begins_the_time_anew() {
    let connected = connections().enter(HOME);
    let began = Instant::now();
    let activity = Arc::clone(&connected.activity);
    let calls = tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(80)).await;
            drop(activity.begin());
        }
    });
    assert_eq!(ordered(&connected).await, ConnectionOrder::End);
    assert!(calls.is_finished());
    assert!(began.elapsed() < Duration::from_secs(800 + 121), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_the_look_is_served() {
    let table = table(bounds());
    let connected = table.enter(HOME);
    look(&table, SILENCE + 1);
    drop(connected.activity.begin());
    assert_eq!(order(&connected).await, None);
    look(&table, SILENCE);
    assert_eq!(order(&connected).await, None);
    look(&table, 1);
    assert_eq!(order(&connected).await, Some(ConnectionOrder::End));
    connected.activity.sent(1);
    assert_eq!(order(&connected).await, None, "the client takes what it was sent");
}

#[tokio::test(start_paused = true)]
async fn a_head_is_late_after_its_time_from_its_first_byte_on() {
    let table = table(bounds());
    let connected = table.enter(HOME);
    look(&table, 60);
    connected.activity.received(1);
    look(&table, 10);
    assert_eq!(order(&connected).await, None);
    connected.activity.received(1);
    look(&table, 1);
    assert_eq!(order(&connected).await, Some(ConnectionOrder::Late));
    assert_eq!(table.counts.numbers().late_heads, 1);
    // It is complete after all, and the next one has its own time.
    drop(connected.activity.begin());
    assert_eq!(order(&connected).await, None);
    look(&table, 60);
    connected.activity.received(1);
    look(&table, 10);
    assert_eq!(order(&connected).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off_and_sooner_when_memory_is_short() {
    for (unread, looks) in [(0, 120), (2 << 20, 5)] {
        let table = table(bounds());
        let connected = table.enter(HOME);
        let _answer = table.unread.counted(vec![0; unread].into());
        let _call = connected.activity.begin();
        connected.activity.blocked();
        // The first look takes what was written before for news.
        look(&table, looks - 1);
        assert_eq!(order(&connected).await, None, "{unread}");
        look(&table, 1);
        assert_eq!(order(&connected).await, Some(ConnectionOrder::End), "{unread}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_silent_one_makes_room() {
    let table = table(ConnectionBounds { all: 4, ..bounds() });
    let seats: Vec<_> = (0..4).map(|_| table.enter(HOME)).collect();
    look(&table, 2);
    drop(seats[0].activity.begin());
    let busy = seats[1].activity.begin();
    look(&table, 2);
    let _new = table.enter(HOME);
    assert_eq!(order(&seats[2]).await, Some(ConnectionOrder::End));
    let _newer = table.enter(HOME);
    assert_eq!(order(&seats[3]).await, Some(ConnectionOrder::End));
    assert_eq!((order(&seats[0]).await, order(&seats[1]).await), (None, None));
    assert_eq!(table.counts.numbers().evicted, 2);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn an_address_makes_room_for_itself_and_ipv6_by_64() {
    let table = table(ConnectionBounds { per_address: 2, ..bounds() });
    let other = table.enter(HOME);
    look(&table, 9);
    let at = |text: &str| table.enter(text.parse().unwrap());
    let (one, _two) = (at("2001:db8::1"), at("2001:db8::2"));
    let _three = at("2001:db8::3");
    assert_eq!(order(&one).await, Some(ConnectionOrder::End));
    assert_eq!(order(&other).await, None, "it is silent for longer, and somebody else's");
    // One that has ended frees its place.
    drop(_two);
    let four = at("2001:db8::4");
    assert!(!four.activity.is_reserved);
}

#[tokio::test(start_paused = true)]
async fn without_a_silent_one_the_new_one_is_reserved_and_the_oldest_of_these_goes() {
    let table = table(ConnectionBounds { all: 1, ..bounds() });
    let seat = table.enter(HOME);
    let _call = seat.activity.begin();
    look(&table, 30);
    let reserved: Vec<_> = (0..=RESERVED).map(|_| table.enter(HOME)).collect();
    assert!(reserved.iter().all(|connected| connected.activity.is_reserved));
    assert_eq!(order(&seat).await, None);
    assert_eq!(order(&reserved[0]).await, Some(ConnectionOrder::End));
    assert_eq!(order(&reserved[1]).await, None);
    drop(reserved);
    assert_eq!(table.counts.numbers().open, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_owes_its_part_of_a_request_makes_room_too() {
    let table = table(ConnectionBounds { all: 1, ..bounds() });
    let seat = table.enter(HOME);
    let _call = seat.activity.begin();
    seat.activity.blocked();
    look(&table, 4);
    assert!(table.enter(HOME).activity.is_reserved);
    look(&table, 2);
    assert!(!table.enter(HOME).activity.is_reserved);
    assert_eq!(order(&seat).await, Some(ConnectionOrder::End));
}

#[tokio::test(start_paused = true)]
async fn one_that_had_a_request_instead_of_leaving_counts_again() {
    let table = table(ConnectionBounds { all: 1, ..bounds() });
    let seat = table.enter(HOME);
    drop(table.enter(HOME));
    let _call = seat.activity.begin();
    assert_eq!(order(&seat).await, None);
    look(&table, 5);
    assert!(table.enter(HOME).activity.is_reserved);
}

#[tokio::test(start_paused = true)]
async fn proxies_and_the_cluster_count_for_no_address() {
    let bounds = ConnectionBounds { per_address: 1, ..bounds() };
    let budget = BodyBudget::new(1 << 20, 1 << 10);
    let table = Connections::new(bounds, Box::new(|address| address == HOME), budget);
    let proxied: Vec<_> = (0..3).map(|_| table.enter(HOME)).collect();
    assert_eq!(order(&proxied[0]).await, None);
    let node: IpAddr = [10, 0, 0, 1].into();
    let first = table.enter(node);
    let _call = first.activity.begin();
    assert!(table.enter(node).activity.is_reserved);
    first.is_of_cluster();
    assert!(!table.enter(node).activity.is_reserved);
    drop((first, proxied));
    assert!(table.all.lock().by_address.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_has_proved_gives_way_to_nobody() {
    let table = table(ConnectionBounds { all: 1, ..bounds() });
    let node = table.enter(HOME);
    node.is_of_cluster();
    look(&table, 30);
    let other = table.enter(HOME);
    assert!(other.activity.is_reserved);
    // So does one that came as a reserved one.
    other.is_of_cluster();
    look(&table, 30);
    let reserved: Vec<_> = (0..=RESERVED).map(|_| table.enter(HOME)).collect();
    assert_eq!((order(&node).await, order(&other).await), (None, None));
    assert_eq!(order(&reserved[0]).await, Some(ConnectionOrder::End));
    drop((node, other, reserved));
    assert_eq!(table.counts.numbers().open, 0);
}

#[tokio::test(start_paused = true)]
async fn where_none_gives_way_the_next_search_waits_for_the_next_look() {
    let table = table(ConnectionBounds { all: 1, ..bounds() });
    let seat = table.enter(HOME);
    let call = seat.activity.begin();
    assert!(table.enter(HOME).activity.is_reserved);
    drop(call);
    assert!(table.enter(HOME).activity.is_reserved, "nobody has looked since");
    look(&table, 1);
    assert!(!table.enter(HOME).activity.is_reserved);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_many_reaches_all_of_them() {
    let many = LOOKED_AT_ONCE * 2 + 1;
    let table = table(ConnectionBounds { all: many, per_address: many, ..bounds() });
    let seats: Vec<_> = (0..many).map(|_| table.enter(HOME)).collect();
    look(&table, SILENCE + 1);
    for at in [0, LOOKED_AT_ONCE - 1, LOOKED_AT_ONCE, many - 2, many - 1] {
        assert_eq!(order(&seats[at]).await, Some(ConnectionOrder::End), "{at}");
    }
}

#[tokio::test]
async fn a_drain_reaches_who_is_there_and_who_comes() {
    let connections = table(bounds());
    let (early, other) = (connections.enter(HOME), connections.enter(HOME));
    drop(other);
    assert_eq!(connections.all.lock().tracked.len(), 1);
    connections.drain();
    assert_eq!(ordered(&early).await, ConnectionOrder::Drain);
    assert_eq!(ordered(&connections.enter(HOME)).await, ConnectionOrder::Drain);
}
