//! The dated revisions of the protocol: their facts as data, compared nowhere else.
//!
//! Refuses behaviour: who needs to know "may this peer send batches?" asks the fact by its name.

mod v2024_11_05;
mod v2025_03_26;
mod v2025_06_18;
mod v2025_11_25;

/// The two ways in which parties meet (the specification's words).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// With a handshake: `initialize`.
    Legacy,
    /// Stateless: every request carries what it needs.
    Modern,
}

/// The facts of one revision.
#[derive(Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its name on the wire.
    pub date: &'static str,
    /// Whether it opens with a handshake.
    pub era: Era,
    /// Whether a message may be an array of messages.
    pub batches: bool,
    /// Whether an error response may come without an id.
    pub errors_without_id: bool,
    /// Whether an elicitation says how it is answered: by a form or at a URL.
    pub elicitation_modes: bool,
}

/// All revisions, oldest first.
pub const ALL: &[&Revision] =
    &[&v2024_11_05::REVISION, &v2025_03_26::REVISION, &v2025_06_18::REVISION, &v2025_11_25::REVISION];

/// The newest revision that is negotiated by a handshake (ERA-8).
pub const NEWEST_LEGACY: &Revision = &v2025_11_25::REVISION;

/// The first revision of the stateless era; later ones sort behind it.
pub const FIRST_MODERN: &str = "2026-07-28";

/// Returns the revision of this name.
pub fn named(date: &str) -> Option<&'static Revision> {
    ALL.iter().find(|revision| revision.date == date).copied()
}

/// Returns the newest of the named revisions that we speak (LEG-13: `data.supported`).
pub fn newest_of<'a>(dates: impl Iterator<Item = &'a str>) -> Option<&'static Revision> {
    dates.filter_map(named).max_by_key(|revision| revision.date)
}

/// Returns the revision before this one (LEG-13: stepping down).
pub fn before(date: &str) -> Option<&'static Revision> {
    ALL.iter().rev().find(|revision| revision.date < date).copied()
}
