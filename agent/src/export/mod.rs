//! Room 5: [`crate::enrich::Span`] in; acknowledged or counted out.
