//! Sorting as the peer sorts: its comparisons are no total orders in all cases, so what comes out depends on how it is done.

use std::cmp::Ordering;

/// Merges halves, the first one being the smaller one. Any comparison ends, and gives what GLib's `g_list_sort` gives.
pub(super) fn merge_sort<T: Copy>(items: &mut Vec<T>, compare: &mut impl FnMut(&T, &T) -> Ordering) {
    if items.len() < 2 {
        return;
    }
    let mut second = items.split_off(items.len() / 2);
    merge_sort(items, compare);
    merge_sort(&mut second, compare);
    let mut merged = Vec::with_capacity(items.len() + second.len());
    let (mut a, mut b) = (items.iter().peekable(), second.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let from = if compare(x, y).is_le() { &mut a } else { &mut b };
        merged.extend(from.next());
    }
    merged.extend(a);
    merged.extend(b);
    *items = merged;
}

/// How a table of GLib makes a number of a key: GLib's own way, or that of Pacemaker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hash {
    GLib,
    Pacemaker,
}

impl Hash {
    fn of(self, key: &str) -> u32 {
        let (start, factor) = match self {
            Self::GLib => (5381u32, 33),
            Self::Pacemaker => (0, 31),
        };
        let add =
            |hash: u32, c: u8| hash.wrapping_mul(factor).wrapping_add_signed(i32::from(c.cast_signed()));
        key.bytes().fold(start, add)
    }
}

/// The order in which a table of GLib with these keys, put in one after another, is walked: one result depends on it.
pub(super) fn glib_order<'a>(keys: impl ExactSizeIterator<Item = &'a str>, by: Hash) -> Vec<usize> {
    let count = keys.len();
    // It grows as soon as one place in seventeen is left.
    let mut size = 8usize;
    while size <= count + count / 16 {
        size *= 2;
    }
    let shift = size.trailing_zeros() as usize;
    let modulus = PRIMES.get(shift).copied().unwrap_or(u32::MAX);
    let mut places: Vec<Option<usize>> = vec![None; size];
    for (at, key) in keys.enumerate() {
        let hash = by.of(key);
        // Two values mean that a place is free, or was used.
        let mut place = (hash.max(2).wrapping_mul(11) % modulus) as usize;
        let mut step = 0;
        while places[place].is_some() {
            step += 1;
            place = (place + step) & (size - 1);
        }
        places[place] = Some(at);
    }
    places.into_iter().flatten().collect()
}

/// For each power of two from the first on, the prime below it that GLib takes.
const PRIMES: [u32; 20] = [
    1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071, 262_139,
    524_287,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_is_stable_and_ends_whatever_is_compared() {
        let mut items = vec![(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd'), (0, 'e')];
        merge_sort(&mut items, &mut |a, b| a.0.cmp(&b.0));
        assert_eq!(items, [(0, 'e'), (1, 'b'), (1, 'd'), (2, 'a'), (2, 'c')]);
        merge_sort(&mut items, &mut |_, _| Ordering::Greater);
        assert_eq!(items.len(), 5);
    }

    #[test]
    fn every_key_has_its_place() {
        for count in [0usize, 1, 7, 8, 40, 1000] {
            let keys: Vec<String> = (0..count).map(|n| format!("node{n}")).collect();
            let mut order = glib_order(keys.iter().map(String::as_str), Hash::GLib);
            order.sort_unstable();
            assert_eq!(order, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn amounts_are_listed_in_the_order_of_the_peers_table() {
        // As crm_simulate -U of 2.1.5 lists them.
        for (keys, listed) in
            [(&["cpu", "ram"][..], &[0, 1][..]), (&["x", "y", "z"], &[1, 0, 2]), (&["a", "b"], &[1, 0])]
        {
            assert_eq!(glib_order(keys.iter().copied(), Hash::Pacemaker), listed);
        }
    }
}
