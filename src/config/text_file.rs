//! Reads a small text file, whole and within a bound.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

/// Why a text file cannot be used. The text goes on from the file's path, and never has content.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is larger than {0} octets")]
    TooLarge(usize),
    #[error("is not UTF-8")]
    NotUtf8,
}

/// Reads the file, without its byte order mark if it has one.
///
/// # Errors
/// [`TextError`], among them a file of more than `bound` octets: a wrong path may well lead to
/// something endless.
pub(super) fn read(path: &Path, bound: usize) -> Result<String, TextError> {
    let mut octets = Vec::new();
    let limit = u64::try_from(bound).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut octets)?;
    if octets.len() > bound {
        return Err(TextError::TooLarge(bound));
    }
    let text = String::from_utf8(octets).map_err(|_| TextError::NotUtf8)?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_never_ends_is_refused() {
        let error = read(Path::new("/dev/zero"), 1024).unwrap_err();
        assert_eq!(error.to_string(), "is larger than 1024 octets");
    }

    #[test]
    fn a_byte_order_mark_is_not_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}a = 1").unwrap();
        assert_eq!(read(file.path(), 1024).unwrap(), "a = 1");
    }
}
