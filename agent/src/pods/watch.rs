//! Touches the API server: follows this node's pods and what they need. Out: updates.

use tokio::sync::mpsc;

use super::model::Update;

/// Where updates come in; ends never.
pub type Updates = mpsc::Receiver<Vec<Update>>;
