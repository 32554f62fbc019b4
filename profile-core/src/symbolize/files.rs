//! The open files of one module, for as long as a batch lasts.

use super::bytes::FileIdentity;
use super::image::{Image, Refusal};
use crate::modules::Module;
use std::path::Path;

/// The files of one module, from batch to batch.
#[derive(Default)]
pub(super) enum Files {
    /// Nobody has asked for them yet.
    #[default]
    Unknown,
    /// Open for this batch.
    Open(OpenFiles),
    /// Closed; they must be the same when they are opened again for what was read from them to stay valid.
    Closed(Identities),
    /// They cannot be used; not tried again.
    Refused,
}

/// What opening the files came to.
pub(super) enum Opening {
    /// They are open, and the same as ever.
    Ready,
    /// They are open, but not what they were: forget what was read from them.
    Changed,
    /// They cannot be used. The reason comes with the first attempt.
    Refused(Option<Refusal>),
}

/// The module's own file and the separate debug file, if there is one.
pub(super) struct OpenFiles {
    main: Image,
    debug: Option<Image>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Main,
    Debug,
}

type Identities = [Option<FileIdentity>; 2];

impl Files {
    /// Opens the files of `module` unless they are open.
    pub(super) fn open(&mut self, module: &Module, debug_directory: &Path) -> Opening {
        let before = match self {
            Self::Open(_) => return Opening::Ready,
            Self::Refused => return Opening::Refused(None),
            Self::Unknown => None,
            Self::Closed(identities) => Some(std::mem::take(identities)),
        };
        match Image::open(module) {
            Ok(main) => {
                let debug = main.open_debug_file(module, debug_directory);
                let files = OpenFiles { main, debug };
                let changed = before.is_some_and(|before| before != files.identities());
                *self = Self::Open(files);
                if changed { Opening::Changed } else { Opening::Ready }
            }
            Err(refusal) => {
                *self = Self::Refused;
                Opening::Refused(Some(refusal))
            }
        }
    }

    /// The open files.
    pub(super) fn get(&self) -> Option<&OpenFiles> {
        match self {
            Self::Open(files) => Some(files),
            Self::Unknown | Self::Closed(_) | Self::Refused => None,
        }
    }

    /// Closes them until the next batch.
    pub(super) fn close(&mut self) {
        if let Self::Open(files) = self {
            *self = Self::Closed(files.identities());
        }
    }
}

impl OpenFiles {
    /// The first file for which `has` is true.
    pub(super) fn find(&self, has: impl Fn(&Image) -> bool) -> Option<Which> {
        if has(&self.main) {
            return Some(Which::Main);
        }
        self.debug.as_ref().filter(|debug| has(debug)).map(|_| Which::Debug)
    }

    /// The file.
    pub(super) fn image(&self, which: Which) -> Option<&Image> {
        match which {
            Which::Main => Some(&self.main),
            Which::Debug => self.debug.as_ref(),
        }
    }

    fn identities(&self) -> Identities {
        [self.main.identity.clone(), self.debug.as_ref().and_then(|debug| debug.identity.clone())]
    }
}
