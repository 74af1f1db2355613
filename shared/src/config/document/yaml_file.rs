//! A YAML file that is not the settings' own.

use std::path::{Path, PathBuf};

use config::Value;

use super::node::Node;
use super::yaml::{Document, read};
use crate::config::error::{SettingError, SettingErrors};

/// A file of its own beside the settings, such as what belongs to one model.
#[derive(Debug)]
pub struct YamlFile {
    path: PathBuf,
    document: Result<Document, SettingError>,
}

impl YamlFile {
    /// Reads `content`, the text or the bytes of the file at `path`.
    pub fn read(content: impl AsRef<[u8]>, path: &Path) -> Self {
        Self {
            document: read(content.as_ref(), path, &path.display().to_string()),
            path: path.to_owned(),
        }
    }

    /// The result of `parse`, unless the file or `parse` has errors.
    pub fn take<T>(self, parse: impl FnOnce(&Node<'_>) -> T) -> Result<T, SettingErrors> {
        let document = self.document.map_err(|fault| SettingErrors(vec![fault]))?;
        let root = Value::from(document.values);
        let origin = self.path.display().to_string();
        let root = Node::new(String::new(), origin, Some(&root), Some(&document.positions));
        let parsed = parse(&root);
        let faults: Vec<SettingError> = document.faults.into_iter().chain(root.take_faults()).collect();
        if faults.is_empty() {
            Ok(parsed)
        } else {
            Err(SettingErrors(faults))
        }
    }
}
