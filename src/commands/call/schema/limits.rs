//! A schema's constraints on a value in words: bounds, format, pattern, its fields.
//!
//! Refuses to check: what is shown here may be left to the service.

use serde_json::Value;

use super::Schema;

impl<'a> Schema<'a> {
    /// Returns the bounds, the format and the pattern, those of alternatives too.
    pub fn limits(self) -> Vec<String> {
        let mut limits: Vec<String> = Vec::new();
        let bound = |name: &str| self.here[name].as_f64();
        for (least, most, unit) in [
            ("minimum", "maximum", ""),
            ("minLength", "maxLength", " characters"),
            ("minItems", "maxItems", " items"),
        ] {
            limits.extend(match (bound(least), bound(most)) {
                (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
                (Some(least), None) => Some(format!("at least {least}{unit}")),
                (None, Some(most)) => Some(format!("at most {most}{unit}")),
                (None, None) => None,
            });
        }
        let words = [
            ("exclusiveMinimum", "more than"),
            ("exclusiveMaximum", "less than"),
            ("multipleOf", "a multiple of"),
            ("format", "format"),
            ("pattern", "pattern"),
        ];
        limits.extend(words.iter().filter_map(|(name, about)| match self.word(name)? {
            Value::String(text) => Some(format!("{about} {text}")),
            value => Some(format!("{about} {value}")),
        }));
        for branch in self.alternatives() {
            for limit in branch.limits() {
                if !limits.contains(&limit) {
                    limits.push(limit);
                }
            }
        }
        limits
    }

    /// Returns the fields of an object, of the items of an array, or of the first alternative that has any; and which
    /// of them are required.
    pub fn nested(self) -> (Vec<(&'a str, Self)>, Vec<&'a str>) {
        let holders = [Some(self), self.items()].into_iter().flatten().chain(self.alternatives());
        let mut holders = holders.map(|holder| (holder.properties(), holder.required()));
        holders.find(|(properties, _)| !properties.is_empty()).unwrap_or_default()
    }
}
