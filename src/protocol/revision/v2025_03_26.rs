//! Revision 2025-03-26, and nothing of any other.

use super::{Era, Revision};

pub(super) const REVISION: Revision = Revision {
    date: "2025-03-26",
    era: Era::Legacy,
    batches: true,
    errors_without_id: false,
    elicitation_modes: false,
};
