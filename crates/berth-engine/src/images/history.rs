//! How an image came to be, step by step, the youngest first.

use crate::Engine;
use berth_oci::{Digest, History, Platform, Reference, Result};
use jiff::Timestamp;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image, for its youngest step.
    pub id: Option<Digest>,
    /// When.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: String,
    /// Bytes of the uncompressed layer, 0 where the step made none.
    pub size: u64,
    /// Free words.
    pub comment: String,
    /// The image's names, for its youngest step.
    pub names: Vec<Reference>,
}

impl Engine {
    /// The steps of an image.
    ///
    /// # Errors
    /// `NotFound`: no such image, or not here for that platform.
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryEntry>> {
        let store = self.store()?;
        let record = store.resolve(name)?;
        let image = store.platform_image(&record.target, platform)?;
        let sizes = store.layer_sizes(&image.diff_ids)?;
        let mut entries = steps(&image.config.history, &sizes);
        if let Some(youngest) = entries.first_mut() {
            youngest.id = Some(record.target);
            youngest.names = record.names;
        }
        Ok(entries)
    }
}

/// Steps with the sizes of the layers they made. Layers that no step claims get steps of their own, so that the
/// sizes add up whatever the image says.
fn steps(history: &[History], sizes: &[u64]) -> Vec<HistoryEntry> {
    let mut left = sizes.iter().copied();
    let mut entries: Vec<HistoryEntry> = history
        .iter()
        .map(|step| HistoryEntry {
            id: None,
            created: step.created.as_deref().and_then(|text| text.parse().ok()),
            created_by: step.created_by.clone().unwrap_or_default(),
            size: if step.empty_layer { 0 } else { left.next().unwrap_or(0) },
            comment: step.comment.clone().unwrap_or_default(),
            names: Vec::new(),
        })
        .collect();
    let blank = |size| HistoryEntry {
        id: None,
        created: None,
        created_by: String::new(),
        size,
        comment: String::new(),
        names: Vec::new(),
    };
    entries.extend(left.map(blank));
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_to_the_steps_that_made_layers() {
        let step = |by: &str, empty_layer| History {
            created_by: Some(by.into()),
            empty_layer,
            ..History::default()
        };
        let history = [step("ADD", false), step("ENV", true), step("RUN", false)];
        let shown = |sizes: &[u64]| {
            steps(&history, sizes).into_iter().map(|entry| (entry.created_by, entry.size)).collect::<Vec<_>>()
        };
        let row = |by: &str, size| (by.to_owned(), size);
        assert_eq!(shown(&[5, 7]), [row("RUN", 7), row("ENV", 0), row("ADD", 5)]);
        assert_eq!(shown(&[5]), [row("RUN", 0), row("ENV", 0), row("ADD", 5)]);
        assert_eq!(shown(&[5, 7, 9]), [row("", 9), row("RUN", 7), row("ENV", 0), row("ADD", 5)]);
    }
}
