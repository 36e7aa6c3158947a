// SPDX-License-Identifier: GPL-2.0

//! Tables of objects, and the numbers by which the guest names objects.
//!
//! A handle carries the kind of the object and the generation of its place in the table. A handle
//! of another kind or of a freed object therefore finds nothing.

/// The kinds of objects that have handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Eq,
    Cq,
    Qp,
    Mr,
    Smr,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Eq => 0xe1,
            Self::Cq => 0xe2,
            Self::Qp => 0xe3,
            Self::Mr => 0xe4,
            Self::Smr => 0xe5,
        }
    }

    /// Returns the kind of object that a handle claims to name.
    pub(crate) fn of(handle: u64) -> Option<Self> {
        let [code, ..] = handle.to_be_bytes();
        [Self::Eq, Self::Cq, Self::Qp, Self::Mr, Self::Smr]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// Identity of an object: its place in the table, counted from 1, and the generation of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    place: u16,
    generation: u16,
}

impl Id {
    /// Returns the 64-bit handle.
    pub(crate) const fn handle(self, kind: Kind) -> u64 {
        let [a, b] = self.generation.to_be_bytes();
        let [c, d] = self.place.to_be_bytes();
        u64::from_be_bytes([kind.code(), 0, a, b, 0, 0, c, d])
    }

    const fn from_handle(handle: u64) -> Self {
        let [_, _, a, b, _, _, c, d] = handle.to_be_bytes();
        Self {
            place: u16::from_be_bytes([c, d]),
            generation: u16::from_be_bytes([a, b]),
        }
    }

    /// Returns the 24-bit number of a queue. It is unique among live objects of a kind and never 0.
    pub(crate) const fn number(self) -> u32 {
        let [_, b] = self.generation.to_be_bytes();
        let [c, d] = self.place.to_be_bytes();
        u32::from_be_bytes([0, b, c, d])
    }

    /// Returns the 32-bit key of a memory region.
    pub(crate) const fn key(self, kind: Kind) -> u32 {
        let [_, b] = self.generation.to_be_bytes();
        let [c, d] = self.place.to_be_bytes();
        u32::from_be_bytes([kind.code(), b, c, d])
    }

    const fn place_of_number(number: u32) -> u16 {
        let [_, _, c, d] = number.to_be_bytes();
        u16::from_be_bytes([c, d])
    }
}

#[derive(Debug)]
struct Place<T> {
    generation: u16,
    item: Option<T>,
}

/// A table of at most `limit` objects of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    kind: Kind,
    limit: u32,
    live: u32,
    places: Vec<Place<T>>,
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: Kind, limit: u32) -> Self {
        Self {
            kind,
            limit,
            live: 0,
            places: Vec::new(),
        }
    }

    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) const fn live(&self) -> u32 {
        self.live
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.live >= self.limit
    }

    /// Adds the object that `make` returns for its identity. Returns its handle, or `None` if the
    /// table is full.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Id) -> T) -> Option<u64> {
        if self.is_full() {
            return None;
        }
        let index = match self.places.iter().position(|p| p.item.is_none()) {
            Some(index) => index,
            None => {
                self.places.push(Place {
                    generation: 1,
                    item: None,
                });
                self.places.len().saturating_sub(1)
            }
        };
        let place = self.places.get_mut(index)?;
        let id = Id {
            place: u16::try_from(index).ok()?.checked_add(1)?,
            generation: place.generation,
        };
        place.item = Some(make(id));
        self.live = self.live.saturating_add(1);
        Some(id.handle(self.kind))
    }

    fn index(&self, handle: u64) -> Option<usize> {
        if Kind::of(handle) != Some(self.kind) {
            return None;
        }
        let id = Id::from_handle(handle);
        let index = usize::from(id.place).checked_sub(1)?;
        let place = self.places.get(index)?;
        // This also refuses handles with bits that no handle has.
        (place.generation == id.generation && id.handle(self.kind) == handle).then_some(index)
    }

    pub(crate) fn get(&self, handle: u64) -> Option<&T> {
        self.places.get(self.index(handle)?)?.item.as_ref()
    }

    pub(crate) fn get_mut(&mut self, handle: u64) -> Option<&mut T> {
        let index = self.index(handle)?;
        self.places.get_mut(index)?.item.as_mut()
    }

    pub(crate) fn contains(&self, handle: u64) -> bool {
        self.get(handle).is_some()
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Option<T> {
        let index = self.index(handle)?;
        let place = self.places.get_mut(index)?;
        let item = place.item.take()?;
        // 0 is not a generation, so that every handle has one.
        place.generation = place.generation.checked_add(1).unwrap_or(1);
        self.live = self.live.saturating_sub(1);
        Some(item)
    }

    fn at(&self, place: u16) -> Option<(Id, &T)> {
        let index = usize::from(place).checked_sub(1)?;
        let found = self.places.get(index)?;
        let id = Id {
            place,
            generation: found.generation,
        };
        found.item.as_ref().map(|item| (id, item))
    }

    /// Returns the handle of the object with the number `number`.
    pub(crate) fn by_number(&self, number: u32) -> Option<u64> {
        let (id, _) = self.at(Id::place_of_number(number))?;
        (id.number() == number).then(|| id.handle(self.kind))
    }

    /// Returns the object with the key `key`.
    pub(crate) fn by_key(&self, key: u32) -> Option<&T> {
        let (id, item) = self.at(Id::place_of_number(key))?;
        (id.key(self.kind) == key).then_some(item)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (1u16..).zip(&self.places).filter_map(|(place, p)| {
            let id = Id {
                place,
                generation: p.generation,
            };
            p.item.as_ref().map(|item| (id.handle(self.kind), item))
        })
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|p| p.item.as_ref())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().filter_map(|p| p.item.as_mut())
    }

    pub(crate) fn handles(&self) -> Vec<u64> {
        self.iter().map(|(handle, _)| handle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_freed_objects_find_nothing() {
        let mut table = Table::new(Kind::Mr, 2);
        let a = table.insert(|_| 'a').unwrap();
        let b = table.insert(|_| 'b').unwrap();
        assert_eq!(table.insert(|_| 'c'), None);
        assert_eq!(table.remove(a), Some('a'));
        assert_eq!((table.get(a).copied(), table.remove(a)), (None, None));
        let c = table.insert(|_| 'c').unwrap();
        assert_ne!(a, c);
        assert_eq!((table.get(c), table.get(b)), (Some(&'c'), Some(&'b')));
        assert_eq!(table.live(), 2);
    }

    #[test]
    fn only_exact_handles_count() {
        let mut table = Table::new(Kind::Qp, 4);
        let handle = table.insert(|id| id).unwrap();
        let id = *table.get(handle).unwrap();
        for bit in 0..64 {
            assert!(!table.contains(handle ^ (1 << bit)), "bit {bit}");
        }
        assert_eq!(table.by_number(id.number()), Some(handle));
        assert_eq!(table.by_number(id.number() ^ 0x1_0000), None);
        assert!(id.number() < 1 << 24 && id.number() != 0);
        assert!(table.by_key(id.key(Kind::Qp)).is_some());
        assert!(table.by_key(id.key(Kind::Mr)).is_none());
        assert_eq!(table.by_number(0), None);
    }

    #[test]
    fn generations_wrap_without_zero() {
        let mut table = Table::new(Kind::Eq, 1);
        for _ in 0..0x2_0000 {
            let handle = table.insert(|id| id).unwrap();
            let id: Id = table.remove(handle).unwrap();
            assert_ne!(id.generation, 0);
        }
    }
}
