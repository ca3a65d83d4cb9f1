//! What the name of a file in a shard or folder says.

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A picture, a sound, or anything unknown: bytes as they are.
    Bytes,
    /// UTF-8 text.
    Text,
    /// A JSON object whose members are fields.
    Json,
    /// One number or word: WebDataset's class files.
    Cell,
}

/// A file that belongs to a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// Path and name up to the first dot of the name.
    pub key: &'a str,
    /// The rest, after that dot.
    pub suffix: &'a str,
}

/// Key and suffix of a file; nothing for hidden files and those without extension.
pub(crate) fn member(path: &str) -> Option<Member<'_>> {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    // Upward steps are no hidden folders. They are harmless: keys are never used as paths.
    if path.split('/').any(|part| part.starts_with('.') && part != "..") {
        return None;
    }
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name + path[name..].find('.')?;
    let suffix = &path[dot + 1..];
    (!suffix.is_empty()).then_some(Member { key: &path[..dot], suffix })
}

/// The field that a file's suffix names, and what the file holds. The field of a JSON file is
/// where its members go: empty for the sample itself.
pub(crate) fn field(suffix: &str) -> (String, Content) {
    let (inner, extension) = match suffix.rsplit_once('.') {
        Some((inner, extension)) => (Some(inner), extension),
        None => (None, suffix),
    };
    let extension = extension.to_ascii_lowercase();
    let (name, content) = match extension.as_str() {
        extension if PICTURES.contains(&extension) => ("image", Content::Bytes),
        extension if SOUNDS.contains(&extension) => ("audio", Content::Bytes),
        "txt" => ("text", Content::Text),
        "json" => ("", Content::Json),
        "cls" => ("cls", Content::Cell),
        other => (other, Content::Bytes),
    };
    (inner.unwrap_or(name).to_owned(), content)
}

const PICTURES: &[&str] = &["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "dcm"];
const SOUNDS: &[&str] = &["wav", "flac", "mp3", "ogg"];

/// Extensions by which a cell of a table is taken for a path.
const MEDIA: &[&str] = &["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "wav", "dcm"];

/// Whether a cell is the path of a picture.
pub fn is_picture_path(text: &str) -> bool {
    is_media_path(text) && !is_sound_path(text)
}

/// Whether a cell is the path of a sound.
pub fn is_sound_path(text: &str) -> bool {
    is_media_path(text) && text.to_ascii_lowercase().ends_with(".wav")
}

/// Whether a cell is the path of a picture or sound. An address on the web is not: it stays text.
pub(crate) fn is_media_path(text: &str) -> bool {
    let Some((stem, extension)) = text.rsplit_once('.') else {
        return false;
    };
    let known = MEDIA.iter().any(|media| media.eq_ignore_ascii_case(extension));
    known && !stem.is_empty() && text.len() <= 1024 && !text.contains(['\n', '\0']) && !text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_at_the_first_dot_of_the_last_part() {
        let split = |path| member(path).map(|member| (member.key, member.suffix));
        assert_eq!(split("./a.b/c.caption.txt"), Some(("a.b/c", "caption.txt")));
        assert_eq!(split("../../etc/passwd.png"), Some(("../../etc/passwd", "png")));
        assert_eq!(split("/abs.png"), Some(("/abs", "png")));
        for ignored in [".DS_Store", "a/._b.png", ".git/x.png", "README", "a/"] {
            assert_eq!(split(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn extensions_name_fields() {
        assert_eq!(field("JPG"), ("image".into(), Content::Bytes));
        assert_eq!(field("caption.txt"), ("caption".into(), Content::Text));
        assert_eq!(field("left.eye.png"), ("left.eye".into(), Content::Bytes));
        assert_eq!(field("json"), (String::new(), Content::Json));
        assert_eq!(field("npy"), ("npy".into(), Content::Bytes));
    }

    #[test]
    fn cells_that_are_paths() {
        assert!(is_media_path("images/a b.JPEG"));
        assert!(!is_media_path("https://example.org/a.png"));
        assert!(!is_media_path(".png"));
        assert!(!is_media_path("A photo of a cat."));
    }
}
