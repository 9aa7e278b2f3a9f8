//! Revision 2024-11-05, and nothing of any other.

use super::{Era, Revision};

pub(super) const REVISION: Revision = Revision {
    date: "2024-11-05",
    era: Era::Legacy,
    batches: false,
    errors_without_id: false,
    elicitation_modes: false,
};
