//! NumPy's `.npy` files as tensors.

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;

use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement};
use quantc_tensor::{Element, Tensor};

fn read<T: Element + ReadableElement>(bytes: &[u8]) -> Result<Option<Tensor>, ReadNpyError> {
    match ndarray::ArrayD::<T>::read_npy(Cursor::new(bytes)) {
        Ok(array) => Ok(Some(Tensor::from_array(array))),
        Err(ReadNpyError::WrongDescriptor(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads a tensor of any of our element types.
///
/// # Errors
/// If the file can't be read, is no npy file, or has another element type.
pub fn load_npy(path: &Path) -> io::Result<Tensor> {
    let named = |e: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display()));
    let bytes = fs::read(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    let readers =
        [read::<f32>, read::<u8>, read::<i8>, read::<i64>, read::<i32>, read::<i16>, read::<f64>, read::<bool>];
    for reader in readers {
        if let Some(tensor) = reader(&bytes).map_err(|e| named(e.to_string()))? {
            return Ok(tensor);
        }
    }
    Err(named("unsupported element type".to_owned()))
}
