//! A list that nearly always has one element or none, and then needs no memory of its own. In: elements. Out: a slice.

/// See the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Few<T> {
    #[default]
    None,
    One(T),
    More(Vec<T>),
}

impl<T: Copy + PartialEq> Few<T> {
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Adds it at the end.
    #[inline]
    pub fn push(&mut self, element: T) {
        match self {
            Self::None => *self = Self::One(element),
            Self::One(one) => *self = Self::More(vec![*one, element]),
            Self::More(more) => more.push(element),
        }
    }

    /// Takes out all that are the same.
    pub fn remove(&mut self, element: T) {
        match self {
            Self::One(one) if *one == element => *self = Self::None,
            Self::More(more) => more.retain(|other| *other != element),
            _ => {}
        }
    }
}

impl<T: Copy + PartialEq> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut few = Self::None;
        elements.into_iter().for_each(|element| few.push(element));
        few
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        let mut few = Few::default();
        let mut list = Vec::new();
        for number in [1, 2, 3, 2] {
            few.push(number);
            list.push(number);
            assert_eq!(few.as_slice(), list);
        }
        for number in [2, 5, 1, 3] {
            few.remove(number);
            list.retain(|other| *other != number);
            assert_eq!(few.as_slice(), list);
        }
        assert!(few.is_empty());
        few.push(7);
        assert_eq!(few.as_slice(), [7]);
        few.remove(7);
        assert!(few.is_empty());
    }
}
