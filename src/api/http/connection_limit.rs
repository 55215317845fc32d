//! Owns who may hold a connection: how many there are in all and of one client, and who gives up a
//! place for a newcomer: whoever has been silent longest. So a crowd of slow clients keeps out nobody
//! who speaks.
//!
//! When all places are at work, those of all or those of one client, there is still the lobby, where
//! only probes are answered. It is a place to say something at once: whoever is silent gives way to the
//! next, however short the stay. Whoever has asked for a probe stays until it is answered.
//!
//! Must not know sockets or HTTP.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::rate_limit::Client;

/// Connections at once.
const PLACES: usize = 512;
/// Further ones when those are at work that the client may have: the lobby.
const LOBBY: usize = 256;
/// Of these, of one client: so many that whoever speaks at once has done so before 600 clients that come
/// again and again have displaced it.
const LOBBY_OF_ONE: usize = 192;
/// Whoever has been silent for less may just have come, and has his request on the way.
const COURTESY: Duration = Duration::from_millis(500);

/// The places for connections.
pub(crate) struct ConnectionLimit {
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
pub(crate) enum Admitted {
    /// A place.
    Place(Place),
    /// None but in the lobby: ask there.
    Crowded(Crowd),
    /// Nothing: its client has all the places that one may have in the lobby, too, and is being
    /// answered on all of them.
    TooMany,
    /// Nothing yet: wait for [`ConnectionLimit::left`], a moment at most.
    Wait,
}

/// Whose connections have all the places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crowd {
    /// Those of the client itself.
    ItsClient,
    /// Those of all clients.
    All,
}

/// A place, given back when it is dropped.
pub(crate) struct Place {
    places: Arc<ConnectionLimit>,
    id: u64,
    leave: CancellationToken,
}

/// That a guest is being answered, until it is dropped.
pub(crate) struct Answering {
    places: Arc<ConnectionLimit>,
    id: u64,
}

impl ConnectionLimit {
    /// ConnectionLimit of which one client may have so many; `None` is any number.
    pub(crate) fn new(per_client: Option<NonZeroU32>) -> Arc<Self> {
        let per_client = per_client.map_or(usize::MAX, |most| most.get() as usize);
        Arc::new(Self { guests: Mutex::default(), per_client, left: Notify::new() })
    }

    /// A place for a newcomer, who takes that of a silent guest if there is no other.
    pub(crate) fn admit(self: &Arc<Self>, client: &Client) -> Admitted {
        self.admit_at(client, Instant::now())
    }

    fn admit_at(self: &Arc<Self>, client: &Client, now: Instant) -> Admitted {
        let mut guests = self.lock();
        let of_client = |guest: &Guest| !guest.in_lobby && guest.client == *client;
        if guests.seated_of(client) >= self.per_client
            && !guests.let_go_longest_silent(now, COURTESY, of_client)
        {
            return Admitted::Crowded(Crowd::ItsClient);
        }
        if guests.seated() >= PLACES && !guests.let_go_of_the_largest(now, COURTESY, false) {
            return Admitted::Crowded(Crowd::All);
        }
        Admitted::Place(self.seat(&mut guests, client, Some(now), false))
    }

    /// A place in the lobby, for a newcomer who has asked for a probe already, or may yet.
    pub(crate) fn admit_to_lobby(self: &Arc<Self>, client: &Client, asks: bool) -> Admitted {
        self.admit_to_lobby_at(client, asks, Instant::now())
    }

    fn admit_to_lobby_at(self: &Arc<Self>, client: &Client, asks: bool, now: Instant) -> Admitted {
        let mut guests = self.lock();
        let of_client = |guest: &Guest| guest.in_lobby && guest.client == *client;
        let its_own = guests.by_id.values().filter(|guest| of_client(guest)).count();
        if its_own >= LOBBY_OF_ONE && !guests.let_go_longest_silent(now, Duration::ZERO, of_client)
        {
            return Admitted::TooMany;
        }
        if guests.in_lobby >= LOBBY && !guests.let_go_of_the_largest(now, Duration::ZERO, true) {
            return Admitted::Wait;
        }
        let silent_since = (!asks).then_some(now);
        Admitted::Place(self.seat(&mut guests, client, silent_since, true))
    }

    fn seat(
        self: &Arc<Self>,
        guests: &mut Guests,
        client: &Client,
        silent_since: Option<Instant>,
        in_lobby: bool,
    ) -> Place {
        let (id, leave) = (guests.next_id, CancellationToken::new());
        guests.next_id += 1;
        guests.in_lobby += usize::from(in_lobby);
        let client = client.clone();
        guests.by_id.insert(id, Guest { client, silent_since, in_lobby, leave: leave.clone() });
        Place { places: Arc::clone(self), id, leave }
    }

    /// Resolves when a guest has left.
    pub(crate) async fn left(&self) {
        self.left.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    fn seated_of(&self, client: &Client) -> usize {
        let its_own = |guest: &&Guest| !guest.in_lobby && guest.client == *client;
        self.by_id.values().filter(its_own).count()
    }

    fn seated(&self) -> usize {
        self.by_id.len() - self.in_lobby
    }

    /// Of the client that has most places and somebody silent in one, the one silent for longest.
    /// Those in the lobby and the others are apart: nobody takes a place that is none.
    fn let_go_of_the_largest(&mut self, now: Instant, courtesy: Duration, in_lobby: bool) -> bool {
        let mut clients: HashMap<&Client, (usize, bool)> = HashMap::new();
        for guest in self.by_id.values().filter(|guest| guest.in_lobby == in_lobby) {
            let (places, silent) = clients.entry(&guest.client).or_default();
            *places += 1;
            *silent |= guest.may_be_let_go(now, courtesy);
        }
        let silent = clients.into_iter().filter(|(_, (_, silent))| *silent);
        let largest = silent.max_by_key(|(_, (places, _))| *places);
        let Some(largest) = largest.map(|(client, _)| client.clone()) else { return false };
        self.let_go_longest_silent(now, courtesy, |guest| {
            guest.in_lobby == in_lobby && guest.client == largest
        })
    }

    fn let_go_longest_silent(
        &mut self,
        now: Instant,
        courtesy: Duration,
        who: impl Fn(&Guest) -> bool,
    ) -> bool {
        let guests = self.by_id.iter().filter(|(_, guest)| who(guest));
        let silent = guests.filter(|(_, guest)| guest.may_be_let_go(now, courtesy));
        let longest = silent.min_by_key(|(id, guest)| (guest.silent_since, **id));
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
    fn may_be_let_go(&self, now: Instant, courtesy: Duration) -> bool {
        self.silent_since.is_some_and(|since| now.saturating_duration_since(since) >= courtesy)
    }
}

impl Place {
    /// Resolves when the place is somebody else's.
    pub(crate) async fn lost(&self) {
        self.leave.cancelled().await;
    }

    /// Notes that the guest has asked something that is about to be read. `false` when the place is
    /// somebody else's already.
    pub(crate) fn keep(&self) -> bool {
        let mut guests = self.places.lock();
        let guest = guests.by_id.get_mut(&self.id);
        guest.map(|guest| guest.silent_since = None).is_some()
    }

    /// Notes that the guest is being answered.
    pub(crate) fn answering(&self) -> Answering {
        if let Some(guest) = self.places.lock().by_id.get_mut(&self.id) {
            guest.silent_since = None;
        }
        Answering { places: Arc::clone(&self.places), id: self.id }
    }

    /// Whether only probes are answered here, since the other places are taken, and by whom.
    pub(crate) fn is_in_lobby(&self) -> Option<Crowd> {
        let mut guests = self.places.lock();
        let Some(guest) = guests.by_id.get(&self.id) else { return Some(Crowd::All) };
        if !guest.in_lobby {
            return None;
        }
        if guests.seated_of(&guest.client) >= self.places.per_client {
            return Some(Crowd::ItsClient);
        }
        if guests.seated() >= PLACES {
            return Some(Crowd::All);
        }
        if let Some(guest) = guests.by_id.get_mut(&self.id) {
            guest.in_lobby = false;
            guests.in_lobby -= 1;
        }
        None
    }

    /// Whether others want the place: then a connection ends with its answer.
    pub(crate) fn is_wanted(&self) -> bool {
        let guests = self.places.lock();
        let Some(guest) = guests.by_id.get(&self.id) else { return true };
        guests.seated() >= PLACES || guests.seated_of(&guest.client) >= self.places.per_client
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
        places: Arc<ConnectionLimit>,
        start: Instant,
    }

    impl House {
        fn new(per_client: u32) -> Self {
            Self {
                places: ConnectionLimit::new(NonZeroU32::new(per_client)),
                start: Instant::now(),
            }
        }

        fn comes(&self, client: u32, after: Duration) -> Admitted {
            let client = Client::at(Some(std::net::IpAddr::V4(client.into())));
            self.places.admit_at(&client, self.start + after)
        }

        fn place(&self, client: u32, after: Duration) -> Place {
            place(self.comes(client, after))
        }

        fn comes_to_lobby(&self, client: u32, asks: bool) -> Admitted {
            let client = Client::at(Some(std::net::IpAddr::V4(client.into())));
            self.places.admit_to_lobby_at(&client, asks, self.start)
        }
    }

    fn place(admitted: Admitted) -> Place {
        match admitted {
            Admitted::Place(place) => place,
            Admitted::Crowded(_) => panic!("crowded"),
            Admitted::TooMany => panic!("too many"),
            Admitted::Wait => panic!("no place"),
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
        assert!(
            matches!(house.comes(1, COURTESY / 2), Admitted::Crowded(Crowd::ItsClient)),
            "they just came"
        );
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
        assert!(matches!(house.comes(1, COURTESY * 9), Admitted::Crowded(_)));
        drop(answering);
        let _next = house.place(1, COURTESY * 99);
        assert!(has_left(&place));
    }

    #[test]
    fn in_a_full_house_the_client_with_most_places_makes_room() {
        let house = House::new(300);
        let _many: Vec<_> = (0..300).map(|_| house.place(1, NOW)).collect();
        let _others: Vec<_> = (2..=213).map(|client| house.place(client, NOW)).collect();
        let places =
            || house.places.lock().seated_of(&Client::at(Some("0.0.0.1".parse().unwrap())));
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
        assert!(matches!(house.comes(1000, NOW), Admitted::Crowded(Crowd::All)));
        let lobby: Vec<_> = (1000..1000 + LOBBY as u32)
            .map(|client| place(house.comes_to_lobby(client, false)))
            .collect();
        assert!(lobby.iter().all(|place| place.is_in_lobby() == Some(Crowd::All)));
        let asking: Vec<_> = lobby.iter().map(Place::answering).collect();
        assert!(matches!(house.comes_to_lobby(2000, true), Admitted::Wait));
        drop(asking);
        let _next = place(house.comes_to_lobby(2000, true));
        assert_eq!(lobby.iter().filter(|place| has_left(place)).count(), 1, "a silent one");
        answering.pop();
        drop(guests.pop());
        let staying: Vec<_> = lobby.iter().filter(|place| !has_left(place)).collect();
        assert_eq!(staying[0].is_in_lobby(), None, "the first to ask takes a place that is free");
        assert_eq!(staying[1].is_in_lobby(), Some(Crowd::All));
        drop((lobby, _next));
        drop((answering, guests));
        assert!(house.places.lock().by_id.is_empty());
        assert_eq!(house.places.lock().in_lobby, 0);
    }

    #[test]
    fn in_the_lobby_a_client_displaces_itself_only_and_nobody_who_has_asked() {
        let house = House::new(1);
        let seated = house.place(1, NOW);
        let _at_work = seated.answering();
        let asked = place(house.comes_to_lobby(1, true));
        let silent: Vec<_> =
            (1..LOBBY_OF_ONE).map(|_| place(house.comes_to_lobby(1, false))).collect();
        let other = place(house.comes_to_lobby(2, false));
        let mut storm: Vec<_> = (0..500).map(|_| place(house.comes_to_lobby(1, false))).collect();
        assert!(silent.iter().all(|place| has_left(place) && !place.keep()));
        assert!(!has_left(&asked) && !has_left(&other) && !has_left(&seated));
        assert_eq!(asked.is_in_lobby(), Some(Crowd::ItsClient));
        assert_eq!(storm.iter().filter(|place| !has_left(place)).count(), LOBBY_OF_ONE - 1);
        // Whoever speaks while it still has its place keeps it.
        assert!(storm[499].keep());
        let _more: Vec<_> = (0..500).map(|_| place(house.comes_to_lobby(1, false))).collect();
        assert!(!has_left(&storm[499]) && has_left(&storm[498]));
        drop(_more);
        // The places of those who were let go are somebody else's.
        drop((silent, storm.drain(..)));
        let probes: Vec<_> =
            (1..LOBBY_OF_ONE).map(|_| place(house.comes_to_lobby(1, true))).collect();
        assert!(matches!(house.comes_to_lobby(1, true), Admitted::TooMany));
        drop(asked.answering());
        let _next = place(house.comes_to_lobby(1, true));
        assert!(has_left(&asked), "whoever was answered makes room");
        assert!(!probes.iter().any(has_left));
        assert!(house.places.lock().in_lobby <= LOBBY_OF_ONE + 1);
    }
}
