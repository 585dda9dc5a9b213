use std::sync::atomic::AtomicBool;

use super::*;

#[derive(Default)]
struct Receiver(AtomicBool);

impl GivesWay for Receiver {
    fn give_way(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn key(last: u8) -> QuotaKey {
    QuotaKey::of_address([10, 0, 0, last].into())
}

fn claim(budget: &Arc<BodyBudget>, last: u8) -> (Claim, Arc<Receiver>) {
    let receiver = Arc::<Receiver>::default();
    (budget.claim(key(last), Arc::clone(&receiver) as _), receiver)
}

#[test]
fn a_key_takes_half_and_what_it_gives_back_is_there_again() {
    let budget = BodyBudget::new(100, 10);
    let (one, _) = claim(&budget, 1);
    let (two, _) = claim(&budget, 1);
    one.grow_to(30).unwrap();
    two.grow_to(20).unwrap();
    assert_eq!(two.grow_to(21), Err(NoRoom));
    assert_eq!((budget.taken(), budget.refused()), (50, 1));
    drop(one);
    two.grow_to(50).unwrap();
    drop(two);
    assert_eq!(budget.taken(), 0);
    assert!(budget.taken.lock().holders.is_empty());
}

#[test]
fn a_body_of_the_largest_size_fits_into_a_share() {
    let budget = BodyBudget::new(100, 80);
    let (one, _) = claim(&budget, 1);
    one.grow_to(80).unwrap();
    assert_eq!(one.grow_to(81), Err(NoRoom));
}

fn told(receiver: &Receiver) -> bool {
    receiver.0.load(Ordering::Relaxed)
}

#[test]
fn if_all_go_on_the_key_that_holds_most_gives_way_with_its_newest_body() {
    let budget = BodyBudget::with(100, 10, Duration::from_secs(3600));
    let (older, older_told) = claim(&budget, 1);
    let (newer, newer_told) = claim(&budget, 1);
    let (other, other_told) = claim(&budget, 2);
    older.grow_to(30).unwrap();
    newer.grow_to(20).unwrap();
    other.grow_to(25).unwrap();
    assert_eq!(other.grow_to(26), Err(NoRoom), "half of what the other leaves");
    let small: Vec<_> = (3..5).map(|last| claim(&budget, last)).collect();
    small.iter().for_each(|(small, _)| small.grow_to(10).unwrap());
    let (honest, _) = claim(&budget, 5);
    honest.grow_to(6).unwrap();
    assert!(told(&newer_told) && !told(&older_told) && !told(&other_told));
    assert_eq!(budget.taken(), 30 + 25 + 10 + 10 + 6);
    assert_eq!(newer.grow_to(31), Err(NoRoom), "it has given way");
    drop(newer);
    assert!(small.iter().all(|(_, small_told)| !told(small_told)));
}

#[test]
fn however_many_have_whole_bodies_there_is_room_for_the_next() {
    let budget = BodyBudget::new(1 << 20, 1 << 18);
    let mut kept = Vec::new();
    // Each of these takes all that it gets, and keeps it.
    for last in 1..=10 {
        let mut size = 1 << 18;
        while size >= 1 << 10 {
            let (one, receiver) = claim(&budget, last);
            if one.grow_to(size).and_then(|()| one.is_whole()).is_ok() {
                kept.push((one, receiver));
            } else {
                size /= 2;
            }
        }
    }
    assert!(kept.len() > 10);
    let (honest, _) = claim(&budget, 100);
    honest.grow_to(64).unwrap();
    honest.is_whole().unwrap();
}

#[test]
fn bodies_that_become_whole_together_have_the_share_of_whole_ones() {
    let budget = BodyBudget::new(160, 20);
    let (one, _) = claim(&budget, 1);
    let (two, _) = claim(&budget, 1);
    let (three, _) = claim(&budget, 1);
    [&one, &two, &three].iter().for_each(|claim| claim.grow_to(20).unwrap());
    one.is_whole().unwrap();
    two.is_whole().unwrap();
    assert_eq!(three.is_whole(), Err(NoRoom), "20 and an eighth of the rest");
    drop(two);
    three.is_whole().unwrap();
    drop((one, three));
    assert_eq!((budget.taken(), budget.taken.lock().whole), (0, 0));
}

#[test]
fn at_its_share_a_key_gives_way_to_itself_with_what_stands_still() {
    let budget = BodyBudget::with(100, 10, Duration::from_millis(100));
    let stalled: Vec<_> = (0..4).map(|_| claim(&budget, 1)).collect();
    let (whole, whole_told) = claim(&budget, 1);
    whole.grow_to(10).unwrap();
    whole.is_whole().unwrap();
    stalled.iter().for_each(|(stalled, _)| stalled.grow_to(10).unwrap());
    let (other, other_told) = claim(&budget, 1);
    assert_eq!(other.grow_to(10), Err(NoRoom));
    std::thread::sleep(Duration::from_millis(110));
    other.grow_to(10).unwrap();
    assert!(told(&stalled[0].1) && !told(&stalled[1].1));
    assert!(!told(&other_told) && !told(&whole_told));
    assert_eq!(budget.taken(), 50);
}

#[test]
fn where_nothing_gives_way_nobody_looks_again_at_once() {
    let budget = BodyBudget::with(100, 100, Duration::from_millis(10));
    let (one, one_told) = claim(&budget, 1);
    one.grow_to(100).unwrap();
    let mut taken = budget.taken.lock();
    taken.none_found = Some((Instant::now() + Duration::from_secs(3600), 7));
    drop(taken);
    let (other, _) = claim(&budget, 2);
    std::thread::sleep(Duration::from_millis(20));
    // It holds less than the one for which nothing was found.
    other.grow_to(1).unwrap();
    assert!(told(&one_told));
    let (third, _) = claim(&budget, 3);
    third.grow_to(99).unwrap();
    assert_eq!(other.grow_to(50), Ok(()), "the third gives way");
    budget.taken.lock().none_found = Some((Instant::now() + Duration::from_secs(3600), 0));
    let (fourth, _) = claim(&budget, 4);
    fourth.grow_to(50).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(other.grow_to(51), Err(NoRoom));
}

#[test]
fn what_stands_still_gives_way_before_what_goes_on() {
    let budget = BodyBudget::with(100, 10, Duration::from_millis(100));
    let (small, small_told) = claim(&budget, 1);
    let (first, first_told) = claim(&budget, 2);
    let (second, second_told) = claim(&budget, 2);
    small.grow_to(5).unwrap();
    first.grow_to(20).unwrap();
    second.grow_to(20).unwrap();
    let (honest, honest_told) = claim(&budget, 3);
    honest.grow_to(20).unwrap();
    std::thread::sleep(Duration::from_millis(110));
    // It holds most of those that have one, and it is the one that goes on.
    honest.grow_to(27).unwrap();
    let others: Vec<_> = (4..10).map(|last| claim(&budget, last)).collect();
    let grow = |at: usize, bytes| others[at].0.grow_to(bytes).unwrap();
    [(0, 10), (1, 10), (2, 8)].into_iter().for_each(|(at, bytes)| grow(at, bytes));
    assert_eq!(budget.taken(), 100);
    grow(3, 10);
    assert!(told(&first_told) && !told(&second_told) && !told(&honest_told));
    grow(4, 10);
    grow(5, 10);
    assert!(told(&second_told) && !told(&honest_told));
    assert!(!told(&small_told), "it holds little");
}

#[test]
fn a_whole_body_stays() {
    let budget = BodyBudget::new(100, 100);
    let (whole, receiver) = claim(&budget, 1);
    whole.grow_to(100).unwrap();
    whole.is_whole().unwrap();
    let (other, _) = claim(&budget, 2);
    assert_eq!(other.grow_to(1), Err(NoRoom));
    assert!(!told(&receiver));
}
