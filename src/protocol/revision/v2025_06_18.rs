//! Revision 2025-06-18, and nothing of any other.

use super::{Era, Revision};

pub(super) const REVISION: Revision = Revision {
    date: "2025-06-18",
    era: Era::Legacy,
    batches: false,
    errors_without_id: false,
    elicitation_modes: false,
};
