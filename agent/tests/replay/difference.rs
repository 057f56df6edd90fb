//! Two texts compared. In: what is expected and what is found. Out: `None`, or the lines that differ and some around.

/// Equal lines shown around those that differ.
const AROUND: usize = 4;

/// A line of a comparison: in which of the texts it is, and what it says.
type Line<'a> = (char, &'a str);

/// What must be taken out (`-`) of `expected` and put in (`+`) to make `found`.
pub fn difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let lines = compare(
        &expected.lines().collect::<Vec<_>>(),
        &found.lines().collect::<Vec<_>>(),
    );
    let differs = |index: usize| {
        let around = index.saturating_sub(AROUND)..lines.len().min(index + AROUND + 1);
        lines[around].iter().any(|(mark, _)| *mark != ' ')
    };
    let shown = (0..lines.len()).filter(|index| differs(*index));
    let text = shown.map(|index| format!("{} {}\n", lines[index].0, lines[index].1));
    Some(text.collect())
}

/// By the longest common subsequence of lines.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, left) in old.iter().enumerate().rev() {
        for (j, right) in new.iter().enumerate().rev() {
            common[i][j] = match left == right {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    lines
}

#[test]
fn lines_that_differ_are_shown_with_those_around() {
    assert_eq!(difference("a\nb\n", "a\nb\n"), None);
    let changed = difference("1\n2\n3\n4\n5\n6\n7\n", "1\n2\n3\n4\n5\n6\nx\n");
    assert_eq!(changed.as_deref(), Some("  3\n  4\n  5\n  6\n- 7\n+ x\n"));
    let grown = difference("a\nc\n", "a\nb\nc\n");
    assert_eq!(grown.as_deref(), Some("  a\n+ b\n  c\n"));
}
