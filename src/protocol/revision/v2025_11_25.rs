//! Revision 2025-11-25, and nothing of any other.

use super::{Era, Revision};

pub(super) const REVISION: Revision = Revision {
    date: "2025-11-25",
    era: Era::Legacy,
    batches: false,
    errors_without_id: true,
    elicitation_modes: true,
};
