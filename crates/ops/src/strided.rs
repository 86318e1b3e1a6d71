//! Loops over strided views: the machinery of broadcasting and of moving elements.

use quantc_tensor::{Tensor, with_data};

use crate::OpError;

/// The view's dimensions without those of size 1, adjacent ones merged where all operands allow it.
fn collapse<const N: usize>(shape: &[usize], strides: [&[isize]; N]) -> Vec<(usize, [isize; N])> {
    let mut out: Vec<(usize, [isize; N])> = Vec::new();
    for (d, &size) in shape.iter().enumerate() {
        if size == 1 {
            continue;
        }
        let step: [isize; N] = std::array::from_fn(|i| strides[i][d]);
        match out.last_mut() {
            Some((outer, outer_step)) if (0..N).all(|i| outer_step[i] == step[i] * size as isize) => {
                *outer *= size;
                *outer_step = step;
            }
            _ => out.push((size, step)),
        }
    }
    out
}

/// Visits the elements of `N` views of one shape in row-major order, as runs: `f(starts, steps, length)`, where element `j` of operand `i`
/// is at `starts[i] + j * steps[i]`.
pub fn runs<const N: usize>(
    shape: &[usize],
    strides: [&[isize]; N],
    offsets: [isize; N],
    mut f: impl FnMut([isize; N], [isize; N], usize),
) {
    if shape.contains(&0) {
        return;
    }
    let mut dims = collapse(shape, strides);
    let (len, steps) = dims.pop().unwrap_or((1, [0; N]));
    let mut index = vec![0usize; dims.len()];
    let mut at = offsets;
    loop {
        f(at, steps, len);
        let mut d = dims.len();
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            let (size, step) = dims[d];
            index[d] += 1;
            if index[d] < size {
                (0..N).for_each(|i| at[i] += step[i]);
                break;
            }
            index[d] = 0;
            (0..N).for_each(|i| at[i] -= step[i] * (size as isize - 1));
        }
    }
}

/// Row-major strides, signed.
pub fn signed_strides(shape: &[usize]) -> Vec<isize> {
    crate::dims::strides(shape).into_iter().map(|s| s as isize).collect()
}

/// Strides that read a tensor of `shape` as if it had been broadcast to `target`.
pub fn signed_broadcast(shape: &[usize], target: &[usize]) -> Vec<isize> {
    crate::dims::broadcast_strides(shape, target).into_iter().map(|s| s as isize).collect()
}

/// The elements of a strided view, copied in row-major order. The view lies inside `source`.
pub fn gather<T: Copy>(source: &[T], shape: &[usize], strides: &[isize], offset: isize) -> Vec<T> {
    let mut out = Vec::with_capacity(shape.iter().product());
    runs(shape, [strides], [offset], |[start], [step], len| match step {
        1 => out.extend_from_slice(&source[start as usize..start as usize + len]),
        0 => out.resize(out.len() + len, source[start as usize]),
        _ => out.extend((0..len as isize).map(|j| source[(start + j * step) as usize])),
    });
    out
}

/// A strided view of a tensor as a tensor of `shape`.
///
/// # Errors
/// If the shape is too large.
pub fn view(t: &Tensor, shape: &[usize], strides: &[isize], offset: isize) -> Result<Tensor, OpError> {
    crate::dims::numel(shape)?;
    with_data!(t, |data| {
        let source = data.as_slice().unwrap_or(&[]);
        Ok(Tensor::from_vec(shape, gather(source, shape, strides, offset))?)
    })
}

/// `f` of every pair of elements of two tensors broadcast to `shape`.
pub fn map2<A: Copy, B: Copy, C>(
    (a, a_shape): (&[A], &[usize]),
    (b, b_shape): (&[B], &[usize]),
    shape: &[usize],
    f: impl Fn(A, B) -> C,
) -> Vec<C> {
    let mut out = Vec::with_capacity(shape.iter().product());
    let strides = [&*signed_broadcast(a_shape, shape), &*signed_broadcast(b_shape, shape)];
    runs(shape, strides, [0; 2], |[i, j], steps, len| {
        let (i, j) = (i as usize, j as usize);
        match steps {
            [1, 1] => out.extend(a[i..i + len].iter().zip(&b[j..j + len]).map(|(&x, &y)| f(x, y))),
            [1, 0] => {
                let y = b[j];
                out.extend(a[i..i + len].iter().map(|&x| f(x, y)));
            }
            [0, 1] => {
                let x = a[i];
                out.extend(b[j..j + len].iter().map(|&y| f(x, y)));
            }
            [s, t] => out.extend((0..len).map(|l| f(a[i + l * s as usize], b[j + l * t as usize]))),
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_read_in_any_direction() {
        let x: Vec<i32> = (0..6).collect();
        // The transpose, and the rows backwards.
        assert_eq!(gather(&x, &[3, 2], &[1, 3], 0), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(&x, &[2, 3], &[-3, 1], 3), [3, 4, 5, 0, 1, 2]);
        assert_eq!(gather(&x, &[2, 0], &[3, 1], 0), [0i32; 0]);
        assert_eq!(gather(&x[4..5], &[], &[], 0), [4]);
    }

    #[test]
    fn broadcasting_pairs() {
        let (a, b) = ([1, 2, 3], [10, 20]);
        assert_eq!(map2((&a, &[3, 1]), (&b, &[2]), &[3, 2], |x, y| x + y), [11, 21, 12, 22, 13, 23]);
    }
}
