//! A disk that keeps apart what was flushed and what was not, and that fails and falls when it is told to.
//!
//! When the power fails, of each file's unflushed 512-byte sectors any may be on the platter and any not, its length may be
//! the old one or the new one or between, and entries of a folder that was not flushed may be there or not.

use super::Dice;
use event_store_embedded::disk::{Disk, DiskFile, DiskLock};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const SECTOR: usize = 512;

/// What goes wrong, and when. Operations are counted from 0: writes, cuts, flushes, and changes of folders.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// From this operation on nothing reaches the disk any more, and every operation fails: the power is gone. A write
    /// is cut off in its middle.
    pub power_off_at: Option<u64>,
    /// This one operation fails with an I/O error: a write leaves a part, a flush loses what it was to save.
    pub fail_at: Option<u64>,
    /// How many bytes all files may have together; a write that needs more leaves a part and says that there is no space.
    pub space: Option<usize>,
}

/// The disk. Cloning gives another handle on it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    /// Names as they are now, and as they were when their folder was last flushed.
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    faults: Faults,
    operations: u64,
    locked: bool,
}

#[derive(Debug, Default, Clone)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// The sectors that the next flush saves.
    dirty: BTreeSet<usize>,
}

/// What an operation is to do.
enum Go {
    Whole,
    /// Fail, and leave a part of what was to be written.
    Fail,
}

impl SimulatedDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on; operations are counted from 0 again.
    pub fn set(&self, faults: Faults) {
        let mut state = self.state();
        state.faults = faults;
        state.operations = 0;
    }

    /// How many operations there were since the faults were set.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// What the next process finds when this one is killed and the machine goes on: everything, flushed or not.
    pub fn after_kill(&self) -> Self {
        let state = self.state();
        let (names, safe_names) = (state.names.clone(), state.safe_names.clone());
        let after = State { files: state.files.clone(), names, safe_names, ..State::default() };
        Self(Arc::new(Mutex::new(after)))
    }

    /// What a machine finds when the power comes back.
    pub fn after_power_loss(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        let mut names = state.safe_names.clone();
        let all: BTreeSet<_> = state.names.keys().chain(state.safe_names.keys()).cloned().collect();
        for name in all {
            let (now, safe) = (state.names.get(&name), state.safe_names.get(&name));
            if now != safe && dice.coin() {
                match now {
                    Some(file) => names.insert(name, *file),
                    None => names.remove(&name),
                };
            }
        }
        let files = state.files.iter().map(|file| file.after_power_loss(dice)).collect();
        let after = State { files, safe_names: names.clone(), names, ..State::default() };
        Self(Arc::new(Mutex::new(after)))
    }
}

impl State {
    fn begin(&mut self) -> io::Result<Go> {
        let operation = self.operations;
        self.operations += 1;
        match self.faults {
            Faults { power_off_at: Some(at), .. } if operation > at => {
                Err(io::Error::other("the power is off"))
            }
            Faults { power_off_at: Some(at), .. } if operation == at => Ok(Go::Fail),
            Faults { fail_at: Some(at), .. } if operation == at => Ok(Go::Fail),
            _ => Ok(Go::Whole),
        }
    }

    /// Begins an operation that is done at once or not at all.
    fn begin_small(&mut self) -> io::Result<()> {
        match self.begin()? {
            Go::Whole => Ok(()),
            Go::Fail => Err(io::Error::other("the disk failed")),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|file| self.files[*file].now.len()).sum()
    }
}

impl File {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(data);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    /// Saves the sectors that are to be saved. Those lost by a failed flush stay what they were.
    fn flush(&mut self) {
        self.safe.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let end = ((sector + 1) * SECTOR).min(self.now.len());
            if let Some(from) = self.now.get(sector * SECTOR..end) {
                self.safe[sector * SECTOR..end].copy_from_slice(from);
            }
        }
    }

    fn after_power_loss(&self, dice: &mut Dice) -> Self {
        // Everything unflushed lost, everything kept, or each sector by the toss of a coin.
        let mode = dice.below(4);
        let (short, long) = (self.now.len().min(self.safe.len()), self.now.len().max(self.safe.len()));
        let len = match mode {
            0 => self.safe.len(),
            1 => self.now.len(),
            _ if dice.coin() => self.now.len(),
            _ => short + dice.below((long - short + 1) as u64) as usize,
        };
        let mut after = self.safe.clone();
        after.resize(len, 0);
        for (sector, place) in after.chunks_mut(SECTOR).enumerate() {
            if mode == 1 || mode > 1 && dice.coin() {
                let start = sector * SECTOR;
                let from = self.now.get(start..).unwrap_or_default();
                let common = from.len().min(place.len());
                place[..common].copy_from_slice(&from[..common]);
            }
        }
        Self { now: after.clone(), safe: after, dirty: BTreeSet::new() }
    }
}

struct Held(SimulatedDisk);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Disk for SimulatedDisk {
    fn lock(&self) -> io::Result<DiskLock> {
        if std::mem::replace(&mut self.state().locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(self.clone())))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.names.keys().filter(|name| folder_of(name) == folder);
        Ok(names.map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.begin_small()?;
        let file = state.files.len();
        state.files.push(File::default());
        state.names.insert(name.to_owned(), file);
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin_small()?;
        state.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin_small()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin_small()?;
        let State { names, safe_names, .. } = &mut *state;
        safe_names.retain(|name, _| folder_of(name) != folder);
        let inside = names.iter().filter(|(name, _)| folder_of(name) == folder);
        safe_names.extend(inside.map(|(name, file)| (name.clone(), *file)));
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: SimulatedDisk,
    file: usize,
}

impl DiskFile for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = state.files[self.file].now.get(offset as usize..).unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let go = state.begin()?;
        let part = &data[..data.len() * 2 / 3];
        let grows = (offset as usize + data.len()).saturating_sub(state.files[self.file].now.len());
        if state.faults.space.is_some_and(|space| state.used() + grows > space) {
            state.files[self.file].write(offset as usize, part);
            return Err(io::ErrorKind::StorageFull.into());
        }
        match go {
            Go::Whole => {
                state.files[self.file].write(offset as usize, data);
                Ok(())
            }
            Go::Fail => {
                state.files[self.file].write(offset as usize, part);
                Err(io::Error::other("the disk failed"))
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.begin()? {
            Go::Whole => {
                state.files[self.file].flush();
                Ok(())
            }
            Go::Fail => {
                // As on Linux: what could not be saved counts as clean afterwards, and no later flush saves it.
                state.files[self.file].dirty.clear();
                Err(io::Error::other("the flush failed"))
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin_small()?;
        let file = &mut state.files[self.file];
        let (old, new) = (file.now.len(), len as usize);
        file.now.resize(new, 0);
        file.dirty.extend(old.min(new) / SECTOR..new.div_ceil(SECTOR));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].now.len() as u64)
    }
}
