//! Files that only their owner may read.
//!
//! Refuses to write into a file of somebody else that others can read: it is made private first.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file to write at its end, 0600; returns whether it was open to others until now.
///
/// # Errors
/// What the system says; [`io::ErrorKind::PermissionDenied`] where it cannot be made private.
pub fn append_private(path: &Path) -> io::Result<(File, bool)> {
    open_private(path, File::options().append(true))
}

/// Opens an emptied file to write, 0600; returns whether it was open to others until now.
///
/// # Errors
/// As [`append_private`].
pub fn create_private(path: &Path) -> io::Result<(File, bool)> {
    let (file, mended) = open_private(path, File::options().write(true))?;
    // Pipes and terminals have no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    Ok((file, mended))
}

/// Says what [`append_private`] and [`create_private`] have changed.
pub fn mended(path: &Path) -> String {
    format!("note: {} was readable by other users; it is now readable by you only", path.display())
}

#[cfg(unix)]
fn open_private(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<(File, bool)> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = options.create(true).mode(0o600).open(path)?;
    let metadata = file.metadata()?;
    let is_open = metadata.is_file() && metadata.permissions().mode() & 0o077 != 0;
    if is_open {
        file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(|e| {
            io::Error::new(e.kind(), format!("other users can read it, and it cannot be closed to them: {e}"))
        })?;
    }
    Ok((file, is_open))
}

#[cfg(not(unix))]
fn open_private(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<(File, bool)> {
    Ok((options.create(true).open(path)?, false))
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_closed_to_them_and_the_caller_hears_of_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let (mut file, mended) = append_private(&path).unwrap();
        assert!(mended);
        assert_eq!(mode(), 0o600);
        file.write_all(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
        assert!(!append_private(&path).unwrap().1);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
        assert!(create_private(&path).unwrap().1);
        assert_eq!((mode(), std::fs::read_to_string(&path).unwrap().as_str()), (0o600, ""));
        assert!(!append_private(Path::new("/dev/null")).unwrap().1);
    }
}
