//! Owns who may hold a connection: how many there are in all and of one client, and who gives up a
//! place for a newcomer: whoever has been silent longest. So a crowd of slow clients keeps out nobody
//! who speaks.
//!
//! Must not know sockets or HTTP.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::rate::Client;

/// Connections at once.
const PLACES: usize = 512;
/// Further ones when all of those are at work: in the lobby only probes are answered.
const LOBBY: usize = 64;
/// Whoever has been silent for less may just have come, and has his request on the way.
const COURTESY: Duration = Duration::from_millis(500);

/// The places for connections.
pub(super) struct Places {
    guests: Mutex<Guests>,
    per_client: usize,
    /// Told whenever a guest leaves.
    left: Notify,
}

#[derive(Default)]
struct Guests {
    by_id: HashMap<u64, Guest>,
    in_lobby: usize,
    next_id: u64,
}

struct Guest {
    client: Client,
    /// When the guest said or was told something last; `None` while it is being answered.
    silent_since: Option<Instant>,
    in_lobby: bool,
    /// Cancelled when the guest has to leave.
    leave: CancellationToken,
}

/// What a newcomer gets.
pub(super) enum Admitted {
    /// A place.
    Place(Place),
    /// Nothing: its client has all the places that one may have, and they are at work.
    TooMany,
    /// Nothing yet: wait for [`Places::left`], a moment at most.
    Wait,
}

/// A place, given back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    leave: CancellationToken,
}

/// That a guest is being answered, until it is dropped.
pub(super) struct Answering {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    /// Places of which one client may have so many; `None` is any number.
    pub(super) fn new(per_client: Option<NonZeroU32>) -> Arc<Self> {
        let per_client = per_client.map_or(usize::MAX, |most| most.get() as usize);
        Arc::new(Self { guests: Mutex::default(), per_client, left: Notify::new() })
    }

    /// A place for a newcomer, who takes that of a silent guest if there is no other.
    pub(super) fn admit(self: &Arc<Self>, client: &Client) -> Admitted {
        self.admit_at(client, Instant::now())
    }

    fn admit_at(self: &Arc<Self>, client: &Client, now: Instant) -> Admitted {
        let mut guests = self.lock();
        if guests.of(client) >= self.per_client
            && !guests.let_go_longest_silent(now, |guest| guest == client)
        {
            return Admitted::TooMany;
        }
        let in_lobby = guests.settled() >= PLACES && !guests.let_go_of_the_largest(now);
        if in_lobby && guests.in_lobby >= LOBBY {
            return Admitted::Wait;
        }
        let (id, leave) = (guests.next_id, CancellationToken::new());
        guests.next_id += 1;
        guests.in_lobby += usize::from(in_lobby);
        let (client, silent_since) = (client.clone(), Some(now));
        guests.by_id.insert(id, Guest { client, silent_since, in_lobby, leave: leave.clone() });
        Admitted::Place(Place { places: Arc::clone(self), id, leave })
    }

    /// Resolves when a guest has left.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    fn of(&self, client: &Client) -> usize {
        self.by_id.values().filter(|guest| guest.client == *client).count()
    }

    fn settled(&self) -> usize {
        self.by_id.len() - self.in_lobby
    }

    /// Of the client that has most places and somebody silent in one, the one silent for longest.
    fn let_go_of_the_largest(&mut self, now: Instant) -> bool {
        let mut clients: HashMap<&Client, (usize, bool)> = HashMap::new();
        for guest in self.by_id.values() {
            let (places, silent) = clients.entry(&guest.client).or_default();
            *places += 1;
            *silent |= guest.may_be_let_go(now) && !guest.in_lobby;
        }
        let silent = clients.into_iter().filter(|(_, (_, silent))| *silent);
        let largest = silent.max_by_key(|(_, (places, _))| *places);
        let Some(largest) = largest.map(|(client, _)| client.clone()) else { return false };
        self.let_go_longest_silent(now, |client| *client == largest)
    }

    fn let_go_longest_silent(&mut self, now: Instant, whose: impl Fn(&Client) -> bool) -> bool {
        let guests = self.by_id.iter().filter(|(_, guest)| whose(&guest.client));
        let silent = guests.filter(|(_, guest)| guest.may_be_let_go(now));
        // Of those in the lobby nobody takes a place that is none.
        let longest = silent.min_by_key(|(_, guest)| (guest.in_lobby, guest.silent_since));
        let Some(id) = longest.map(|(id, _)| *id) else { return false };
        if let Some(guest) = self.remove(id) {
            guest.leave.cancel();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Guest> {
        let guest = self.by_id.remove(&id)?;
        self.in_lobby -= usize::from(guest.in_lobby);
        Some(guest)
    }
}

impl Guest {
    fn may_be_let_go(&self, now: Instant) -> bool {
        self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= COURTESY)
    }
}

impl Place {
    /// Resolves when the place is somebody else's.
    pub(super) async fn lost(&self) {
        self.leave.cancelled().await;
    }

    /// Notes that the guest has asked something.
    pub(super) fn answering(&self) -> Answering {
        if let Some(guest) = self.places.lock().by_id.get_mut(&self.id) {
            guest.silent_since = None;
        }
        Answering { places: Arc::clone(&self.places), id: self.id }
    }

    /// Whether only probes are answered here: all places but those of the lobby are taken.
    pub(super) fn is_in_lobby(&self) -> bool {
        let mut guests = self.places.lock();
        let has_room = guests.settled() < PLACES;
        let Some(guest) = guests.by_id.get_mut(&self.id) else { return true };
        if guest.in_lobby && has_room {
            guest.in_lobby = false;
            guests.in_lobby -= 1;
            return false;
        }
        guest.in_lobby
    }

    /// Whether others want the place: then a connection ends with its answer.
    pub(super) fn is_wanted(&self) -> bool {
        let guests = self.places.lock();
        let Some(guest) = guests.by_id.get(&self.id) else { return true };
        guests.settled() >= PLACES || guests.of(&guest.client) >= self.places.per_client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.id);
        self.places.left.notify_one();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(guest) = self.places.lock().by_id.get_mut(&self.id) {
            guest.silent_since = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct House {
        places: Arc<Places>,
        start: Instant,
    }

    impl House {
        fn new(per_client: u32) -> Self {
            Self { places: Places::new(NonZeroU32::new(per_client)), start: Instant::now() }
        }

        fn comes(&self, client: u32, after: Duration) -> Admitted {
            let client = Client::at(Some(std::net::IpAddr::V4(client.into())));
            self.places.admit_at(&client, self.start + after)
        }

        fn place(&self, client: u32, after: Duration) -> Place {
            match self.comes(client, after) {
                Admitted::Place(place) => place,
                Admitted::TooMany => panic!("too many"),
                Admitted::Wait => panic!("no place"),
            }
        }
    }

    fn has_left(place: &Place) -> bool {
        place.leave.is_cancelled()
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_client_with_all_its_places_gives_up_the_one_that_was_silent_longest() {
        let house = House::new(2);
        let first = house.place(1, NOW);
        let second = house.place(1, COURTESY / 2);
        assert!(matches!(house.comes(1, COURTESY / 2), Admitted::TooMany), "they just came");
        let _other = house.place(2, COURTESY / 2);
        let third = house.place(1, COURTESY);
        assert_eq!((has_left(&first), has_left(&second)), (true, false));
        drop(first);
        assert!(!has_left(&third));
        assert!(house.places.lock().by_id.len() == 3);
    }

    #[test]
    fn whoever_is_being_answered_keeps_the_place() {
        let house = House::new(1);
        let place = house.place(1, NOW);
        let answering = place.answering();
        assert!(matches!(house.comes(1, COURTESY * 9), Admitted::TooMany));
        drop(answering);
        let _next = house.place(1, COURTESY * 99);
        assert!(has_left(&place));
    }

    #[test]
    fn in_a_full_house_the_client_with_most_places_makes_room() {
        let house = House::new(300);
        let _many: Vec<_> = (0..300).map(|_| house.place(1, NOW)).collect();
        let _others: Vec<_> = (2..=213).map(|client| house.place(client, NOW)).collect();
        let places = || house.places.lock().of(&Client::at(Some("0.0.0.1".parse().unwrap())));
        let _new: Vec<_> = (500..600).map(|client| house.place(client, COURTESY)).collect();
        assert_eq!(places(), 200);
        assert!(_others.iter().all(|place| !has_left(place)));
    }

    #[test]
    fn when_all_are_at_work_there_is_a_lobby_for_probes_and_then_others_wait() {
        let house = House::new(1);
        let mut guests: Vec<_> =
            (0..PLACES as u32).map(|client| house.place(client, NOW)).collect();
        let mut answering: Vec<_> = guests.iter().map(Place::answering).collect();
        assert!(guests[0].is_wanted());
        let lobby: Vec<_> =
            (1000..1000 + LOBBY as u32).map(|client| house.place(client, NOW)).collect();
        assert!(lobby.iter().all(Place::is_in_lobby));
        assert!(matches!(house.comes(2000, NOW), Admitted::Wait));
        answering.pop();
        drop(guests.pop());
        assert!(!lobby[0].is_in_lobby(), "the first to ask takes a place that is free");
        assert!(lobby[1].is_in_lobby());
        drop(lobby);
        drop((answering, guests));
        assert!(house.places.lock().by_id.is_empty());
        assert_eq!(house.places.lock().in_lobby, 0);
    }
}
